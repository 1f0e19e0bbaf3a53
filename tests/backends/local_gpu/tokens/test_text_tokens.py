"""Plain texts as tokens: ended, cut into blocks, shown, and refused."""

import json
from importlib import import_module
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


def write_processed(folder, before, behind):
    """Write a tokenizer that puts tokens of its own around each text, as many models' do."""
    tokenizers = import_module("tokenizers")
    write_tokenizer(folder, ["<s>", "</s>"], "</s>")
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single=" ".join([*before, "$A", *behind]),
        special_tokens=[(one, tokenizer.token_to_id(one)) for one in ("<s>", "</s>")],
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return load_documents(folder, 1024)


@pytest.mark.parametrize("before", [[], ["<s>"]])
@pytest.mark.parametrize("behind", [[], ["</s>"]])
def test_a_text_ends_once_whether_or_not_its_tokenizer_ends_it(tmp_path, before, behind):
    documents = write_processed(tmp_path, before, behind)
    found = read(documents, "ab")
    words = [documents.tokenizer.id_to_token(number) for number in found.ids]
    assert words == [*before, "a", "b", "</s>"]
    assert found.learned == [False, *[True] * (len(words) - 1)]
    assert documents.counts([{"text": "ab"}]) == [len(words)]
    shown = documents.show({"text": "ab"})
    assert [piece.text for piece in shown] == words
    # What comes first, of the text or of the tokenizer, is never predicted.
    assert [piece.trained for piece in shown] == found.learned


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        ("", "nothing is learned from an empty text", "Remove it."),
        (
            "글<|im_end|>",
            "the text contains the control token '<|im_end|>'",
            "Remove it from the text.",
        ),
    ],
)
def test_a_refused_text_says_what_to_do(folder, text, message, remedy):
    found = read(load_documents(folder, 1024), text)
    assert (found.message, found.remedy) == (message, remedy)


def test_a_missing_end_is_to_be_named(tmp_path):
    folder = write_tokenizer(tmp_path, ["<s>"])
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(BackendError) as caught:
        load_documents(folder, 9)
    assert caught.value.message == f"the tokenizer in {folder} has no token that ends a text"
    assert caught.value.remedy == "Name one as `eos_token` in its tokenizer_config.json."


@pytest.mark.parametrize(
    ("length", "block", "sizes"),
    [
        (2, 8, [2]),
        (8, 8, [8]),
        (9, 8, [8, 2]),
        (15, 8, [8, 8]),
        (16, 8, [8, 8, 2]),
        (22, 8, [8, 8, 8]),
    ],
)
def test_a_new_block_begins_only_where_a_token_is_left_to_learn(length, block, sizes):
    documents = Documents(tokenizer=None, end=END, end_text="<e>", special=frozenset(), block=block)
    whole = Encoded(ids=list(range(length)), learned=[False] + [True] * (length - 1))
    assert [len(one.ids) for one in documents.blocks(whole)] == sizes
