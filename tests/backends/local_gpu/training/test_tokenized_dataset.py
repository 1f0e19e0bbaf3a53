"""Examples as token arrays, and problems with their places."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.contract.errors import BackendError
from backends.local_gpu.tokens.chat_tokens import Encoded
from backends.local_gpu.training.tokenized_dataset import SHOWN, encode_file, flatten

pytestmark = pytest.mark.torch

EXAMPLES = st.lists(
    st.lists(st.tuples(st.integers(0, 2**31 - 1), st.booleans()), min_size=1, max_size=5),
    max_size=6,
)


class Words:
    """A tokenizer of examples that are lists of numbers, or a text that is refused."""

    def encode(self, examples):
        for example in examples:
            if isinstance(example, str):
                yield BackendError(example, f"Fix {example}.")
            else:
                yield Encoded(ids=example, learned=[True] * len(example))

    def blocks(self, one):
        return [one] if len(one.ids) < 10 else [one, one]


@pytest.fixture
def encode(tmp_path):
    """Return a function that writes examples to a file and encodes it."""

    def run(*examples, origins=None, longest=None, batch=None):
        file = tmp_path / "train.jsonl"
        file.write_text("".join(json.dumps(example) + "\n\n" for example in examples))
        named = None
        if origins is not None:
            named = tmp_path / "train.origins"
            named.write_text("".join(f"{origin}\n" for origin in origins))
        return encode_file(Words(), file, named, longest, batch)

    return run


@given(examples=EXAMPLES)
def test_examples_are_found_again_in_the_arrays(examples):
    tokens = flatten(
        Encoded(ids=[number for number, _ in one], learned=[on for _, on in one])
        for one in examples
    )
    assert len(tokens) == len(examples)
    assert tokens.lengths.tolist() == [len(one) for one in examples]
    assert tokens.labels == sum(on for one in examples for _, on in one)
    for place, one in enumerate(examples):
        ids, learned = tokens[place]
        assert list(zip(ids.tolist(), learned.tolist(), strict=True)) == one


def test_blank_lines_are_no_examples_and_blocks_are_examples_of_their_own(encode):
    tokens = encode([1, 2], [3] * 10)
    assert tokens.lengths.tolist() == [2, 10, 10]
    assert len(encode()) == 0


def test_every_problem_is_named_by_its_origin_and_each_remedy_once(encode):
    with pytest.raises(BackendError) as caught:
        encode([1], "one", [2], "two", "one", origins=[f"a.csv:{n}" for n in range(2, 7)])
    assert caught.value.message == (
        "3 examples of train.jsonl cannot be used:\na.csv:3: one\na.csv:5: two\na.csv:6: one"
    )
    assert caught.value.remedy == "Fix one.\nFix two."


@pytest.mark.parametrize("origins", [None, [], ["a.csv:2"]])
def test_without_an_origin_the_line_is_named(encode, origins):
    with pytest.raises(BackendError, match=r"1 example of .*\nline 2: one"):
        encode([1], "one", origins=origins)


def test_problems_beyond_the_first_are_counted(encode):
    with pytest.raises(BackendError) as caught:
        encode(*["one"] * (SHOWN + 5))
    lines = caught.value.message.splitlines()
    assert (len(lines), lines[-1]) == (SHOWN + 2, "… and 5 more")


@pytest.mark.parametrize(("longest", "fits"), [(None, True), (5, True), (4, False)])
def test_an_example_that_the_model_cannot_read_is_refused(encode, longest, fits):
    if fits:
        assert len(encode([1] * 5, longest=longest)) == 1
        return
    with pytest.raises(
        BackendError, match="5 tokens, and the base model reads at most 4"
    ) as caught:
        encode([1] * 5, longest=longest)
    assert "{max_tokens: 4}" in caught.value.remedy


@pytest.mark.parametrize(
    ("longest", "batch", "limit", "whose"),
    [
        (4, None, 4, "the base model reads"),
        (None, 5, 5, "a batch has (max_tokens_per_batch)"),
        # What is shorter has to be kept to.
        (4, 5, 4, "the base model reads"),
        (5, 4, 4, "a batch has (max_tokens_per_batch)"),
        (6, None, None, ""),
        (None, None, None, ""),
    ],
)
def test_an_example_is_as_long_as_the_shorter_limit(encode, longest, batch, limit, whose):
    if limit is None:
        assert encode([1] * 6, longest=longest, batch=batch).lengths.tolist() == [6]
        return
    with pytest.raises(BackendError) as caught:
        encode([1] * 6, [1] * limit, longest=longest, batch=batch)
    assert f"line 1: 6 tokens, and {whose} at most {limit}" in caught.value.message
    assert f"{{max_tokens: {limit}}}" in caught.value.remedy


def test_exactly_as_many_problems_as_are_shown_leave_nothing_to_count(encode):
    with pytest.raises(BackendError) as caught:
        encode(*["카페"] * SHOWN)
    assert "more" not in caught.value.message
    with pytest.raises(BackendError, match="and 1 more"):
        encode(*["카페"] * (SHOWN + 1))


def test_some_examples_are_counted_as_they_are_in_the_whole(encode):
    tokens = encode([1, 2], [3], [4, 5, 6])
    assert tokens.part([2, 0]) == (5, 5)
    some = tokens.some([2, 0])
    assert [ids.tolist() for ids, _ in map(some.__getitem__, range(len(some)))] == [
        [4, 5, 6],
        [1, 2],
    ]
    assert some.offsets.dtype == tokens.offsets.dtype
    # The first token of an example follows none.
    assert tokens.labels_by_row.tolist() == [1, 0, 2]
