"""Answers of two forms of a model: equal, a near tie, or a fault."""

from importlib import import_module
from types import SimpleNamespace

import pytest

from backends.contract.errors import BackendError

pytestmark = pytest.mark.torch
QUESTION = [7, 8]


@pytest.fixture
def greedy():
    return import_module("backends.local_gpu.export.greedy_answers")


@pytest.fixture
def model():
    """A model that likes token 1 best everywhere, then 2 (0.1 less), then 3 (5 less)."""
    torch = import_module("torch")

    def logits(input_ids, **_):
        row = torch.tensor([0.0, 9.0, 8.9, 4.0])
        return SimpleNamespace(logits=row.expand(1, input_ids.shape[1], 4), past_key_values=None)

    class Model:
        device = torch.device("cpu")

        def __call__(self, input_ids, **given):
            return logits(input_ids, **given)

    return Model()


def compared(greedy, model, expected, found, tolerance=0.25):
    return greedy.compare(
        "llama.cpp", [QUESTION] * len(expected), expected, found, lambda: model, tolerance
    )


@pytest.mark.parametrize(
    ("one", "other", "place"),
    [
        ([1, 2], [1, 2], None),
        ([], [], None),
        ([1, 2], [1, 3], 1),
        ([1, 2], [1], 1),
        ([1], [1, 2], 1),
        ([], [1], 0),
    ],
)
def test_where_two_answers_begin_to_differ(greedy, one, other, place):
    assert greedy.first_difference(one, other) == place


def test_equal_answers_ask_no_model(greedy):
    found = greedy.compare("PEFT", [QUESTION], [[1, 2]], [[1, 2]], lambda: 1 / 0, 0.0)
    assert (found.equal, found.answers, found.near_ties) == (1, 1, [])
    assert str(found) == "PEFT: 1 of 1 greedy answers equal"


def test_a_near_tie_is_counted_and_not_hidden(greedy, model):
    found = compared(greedy, model, [[1, 1], [1, 1]], [[1, 1], [1, 2]])
    assert (found.equal, found.answers) == (1, 2)
    assert found.as_json()["near_ties"] == [{"answer": 2, "token": 2, "nats": 0.1}]
    assert "answer 2 differs from token 2 on" in str(found)


@pytest.mark.parametrize(
    ("found", "tolerance", "words"),
    [
        ([1, 3], 0.25, r"answer 1 differs at token 2 \(by 5 nats\)"),
        ([1, 2], 0.05, r"by 0.1 nats"),
        ([1], 0.25, r"token 2 \(llama.cpp stops before the end of the answer\)"),
        ([1, 1, 1], 0.25, r"token 3 \(llama.cpp goes on after the end of the answer\)"),
    ],
)
def test_any_other_difference_is_a_fault(greedy, model, found, tolerance, words):
    with pytest.raises(BackendError, match=words):
        compared(greedy, model, [[1, 1]], [found], tolerance)


def test_a_tie_that_is_not_a_number_is_a_fault(greedy):
    torch = import_module("torch")

    class Broken:
        device = torch.device("cpu")

        def __call__(self, input_ids):
            return SimpleNamespace(logits=torch.full((1, input_ids.shape[1], 4), torch.nan))

    with pytest.raises(BackendError, match="by nan nats"):
        compared(greedy, Broken(), [[1, 1]], [[1, 2]])


def test_an_answer_ends_with_the_token_that_ends_it(greedy, model):
    assert greedy.answer(model, QUESTION, frozenset({1})) == [1]
    assert greedy.answer(model, QUESTION, frozenset()) == [1] * 32
