"""Plain texts as tokens: ended, cut into blocks, shown, and refused."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.contract.errors import BackendError
from backends.local_gpu.tokens.chat_tokens import Encoded
from backends.local_gpu.tokens.text_tokens import Documents, load_documents

pytestmark = pytest.mark.torch

END = 1


def write_tokenizer(folder, special, eos=None):
    """Write a tokenizer of single bytes, with some control tokens."""
    import tokenizers  # noqa: PLC0415 - tests without the training packages import this file too

    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.BPE({letter: place for place, letter in enumerate(alphabet)}, [])
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": eos}))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tokenizer(tmp_path_factory.mktemp("texts"), ["<|endoftext|>", "<|im_end|>"])


def read(documents, text):
    (found,) = documents.encode([{"text": text}])
    return found


@pytest.mark.parametrize("text", ["a", "카페", "two words\n", "<|im_end"])
def test_a_text_is_learned_whole_and_ends(folder, text):
    documents = load_documents(folder, 1024)
    found = read(documents, text)
    assert found.ids[-1] == documents.end
    assert documents.tokenizer.decode(found.ids[:-1]) == text
    # The first token is never predicted.
    assert found.learned == [False] + [True] * (len(found.ids) - 1)
    assert documents.counts([{"text": text}]) == [len(found.ids)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "nothing is learned from an empty text"),
        ("a<|im_end|>b", r"the text contains the control token '<\|im_end\|>'"),
        ("<|endoftext|>", "the text contains the control token"),
    ],
)
def test_a_text_that_cannot_be_learned_from_is_refused(folder, text, message):
    documents = load_documents(folder, 1024)
    found = read(documents, text)
    assert isinstance(found, BackendError)
    with pytest.raises(BackendError, match=message):
        documents.show({"text": text})


def test_texts_are_read_in_order_also_by_the_thousand(folder):
    documents = load_documents(folder, 1024)
    texts = [str(number) for number in range(1100)]
    found = list(documents.encode({"text": text} for text in texts))
    assert [documents.tokenizer.decode(one.ids[:-1]) for one in found] == texts


@given(length=st.integers(2, 400), block=st.integers(8, 60))
def test_blocks_learn_every_token_once_and_read_at_most_their_length(length, block):
    documents = Documents(tokenizer=None, end=END, end_text="<e>", special=frozenset(), block=block)
    whole = Encoded(ids=list(range(length)), learned=[False] + [True] * (length - 1))
    blocks = documents.blocks(whole)
    assert all(1 < len(one.ids) <= block for one in blocks)
    learned = [
        token for one in blocks for token, on in zip(one.ids, one.learned, strict=True) if on
    ]
    assert learned == whole.ids[1:]
    # Each block begins with the last token of the block before.
    for before, after in pairwise(blocks):
        assert after.ids[0] == before.ids[-1]


def test_counts_are_those_of_all_blocks(folder):
    documents = load_documents(folder, 8)
    texts = [{"text": "x" * length} for length in range(1, 40)]
    blocks = [documents.blocks(read(documents, text["text"])) for text in texts]
    assert documents.counts(texts) == [sum(len(one.ids) for one in found) for found in blocks]


def test_a_text_is_shown_with_its_end(folder):
    shown = load_documents(folder, 1024).show({"text": "카a"})
    assert [(piece.text, piece.trained) for piece in shown] == [
        ("카", True),
        ("a", True),
        ("<|endoftext|>", True),
    ]


@pytest.mark.parametrize(
    ("special", "eos", "end"),
    [
        (["<|im_end|>", "<|endoftext|>"], "<|im_end|>", "<|endoftext|>"),
        (["<|eot_id|>", "<|end_of_text|>"], "<|eot_id|>", "<|end_of_text|>"),
        (["</s>"], "</s>", "</s>"),
    ],
)
def test_the_token_that_ends_a_text_is_not_the_end_of_a_turn(tmp_path, special, eos, end):
    assert load_documents(write_tokenizer(tmp_path, special, eos), 9).end_text == end


@pytest.mark.parametrize("eos", [None, "<unknown>"])
def test_a_tokenizer_without_an_end_is_refused(tmp_path, eos):
    with pytest.raises(BackendError, match="has no token that ends a text"):
        load_documents(write_tokenizer(tmp_path, ["<s>"], eos), 9)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"model": {}}'])
def test_a_tokenizer_that_cannot_be_read_is_named(tmp_path, text):
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(BackendError, match=r"tokenizer\.json cannot be read"):
        load_documents(tmp_path, 9)
