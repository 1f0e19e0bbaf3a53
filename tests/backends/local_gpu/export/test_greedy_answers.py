"""Answers of two forms of a model: equal, a near tie, or a fault."""

from functools import partial
from importlib import import_module
from inspect import Parameter, Signature
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

        def forward(self, input_ids, **given):
            return logits(input_ids, **given)

        __call__ = forward

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


def test_the_likelihood_of_an_answer_is_that_of_its_own_tokens(greedy, model):
    torch = import_module("torch")
    logs = torch.tensor([0.0, 9.0, 8.9, 4.0]).log_softmax(-1).tolist()
    found = greedy.likelihood(model, [QUESTION, [7]], [[1, 3], [0]])
    assert found == pytest.approx([logs[1], logs[3], logs[0]])
    assert greedy.likelihood(model, [], []) == []


def test_likelihoods_are_read_before_each_token_and_not_behind_it(greedy):
    """A model that is sure of the place: token 0 first, then 1, then 2."""
    torch = import_module("torch")

    class Counting:
        device = torch.device("cpu")

        def __call__(self, input_ids):
            count = input_ids.shape[1]
            return SimpleNamespace(logits=torch.eye(count, 4)[None] * 50)

    assert greedy.likelihood(Counting(), [[9]], [[0, 1, 2]]) == pytest.approx([0, 0, 0], abs=1e-6)
    assert greedy.likelihood(Counting(), [[9, 9]], [[1, 2]]) == pytest.approx([0, 0], abs=1e-6)
    assert greedy.preference(Counting(), [9, 9, 9], 2, 0) == 50
    assert greedy.preference(Counting(), [9], 0, 3) == 50


def test_each_token_is_asked_for_with_what_came_before(greedy):
    """The first call has the question, each later one a token and the cache of the call before."""
    calls = []
    for name in ("cache", "past_key_values"):
        model = remembering(calls, **{name: None})
        assert greedy.answer(model, QUESTION, frozenset({3, 5})) == [1, 2, 3]
        expected = [([QUESTION], {}), ([[1]], {name: 1}), ([[2]], {name: 2})]
        assert calls == [(ids, given | {"use_cache": True}) for ids, given in expected]
        calls.clear()


def test_without_a_cache_each_token_is_asked_for_with_all_before_it(greedy):
    calls = []
    assert greedy.answer(remembering(calls), QUESTION, frozenset({2})) == [1, 2]
    assert calls == [([QUESTION], {"use_cache": False}), ([[*QUESTION, 1]], {"use_cache": False})]


def remembering(calls, **names):
    """Return a model that says 1, 2, 3 …, and takes its cache by the names that are given."""
    torch = import_module("torch")

    class Remembering:
        device = torch.device("cpu")

        def __call__(self, input_ids, **given):
            calls.append((input_ids.tolist(), given))
            row = torch.zeros(1, input_ids.shape[1], 8)
            row[0, -1, len(calls)] = 1.0
            return SimpleNamespace(logits=row, **dict.fromkeys(names, len(calls)))

    model = Remembering()
    taken = [Parameter(name, Parameter.KEYWORD_ONLY) for name in ("input_ids", *names)]
    model.forward = partial(model)
    model.forward.__signature__ = Signature(taken)
    return model


@pytest.mark.parametrize(
    ("near", "text"),
    [
        ([], "PEFT 1: 2 of 2 greedy answers equal"),
        (
            [(2, 5, 0.0012346)],
            (
                "PEFT 1: 1 of 2 greedy answers equal; answer 2 differs from token 5 on, where two "
                "tokens are equally likely within 0.0012 nats"
            ),
        ),
    ],
)
def test_a_comparison_is_a_sentence_and_a_record(greedy, near, text):
    ties = [
        greedy.Difference(question=question, token=token, gap=gap) for question, token, gap in near
    ]
    found = greedy.Comparison(by="PEFT 1", answers=2, equal=2 - len(near), near_ties=ties)
    assert str(found) == text
    assert found.as_json() == {
        "by": "PEFT 1",
        "answers": 2,
        "equal": 2 - len(near),
        "near_ties": [{"answer": 2, "token": 5, "nats": 0.001235}] if near else [],
    }


def test_a_tie_is_judged_at_the_token_that_differs(greedy):
    """Only behind the tokens that both answers share are two of them equally likely."""
    torch = import_module("torch")
    asked = []

    class Model:
        device = torch.device("cpu")

        def __call__(self, input_ids):
            asked.append(input_ids[0].tolist())
            return SimpleNamespace(logits=torch.tensor([[[0.0, 1.0, 1.1, 0.0]]]))

    found = greedy.compare("x", [[7], [8]], [[1, 1, 2], [1]], [[1, 1, 1], [1]], Model, 0.25)
    assert asked == [[7, 1, 1]]
    assert (found.equal, found.near_ties[0].token) == (1, 3)
    assert found.near_ties[0].gap == pytest.approx(0.1)


def test_what_is_not_a_tie_is_to_be_reported(greedy, model):
    with pytest.raises(BackendError) as caught:
        compared(greedy, model, [[1], [1, 1]], [[1], [1, 3]])
    assert caught.value.message == (
        "the exported weights answer otherwise in llama.cpp: answer 2 differs at token 2 (by 5 nats)"
    )
    assert caught.value.remedy == (
        "Report this as a defect of ftctl, with the names of the base model and of the format."
    )
