"""Tokens in files: encoded once, mapped, and never half."""

import errno

import numpy as np
import pytest

from backends.contract.errors import BackendError
from backends.local_gpu.tokens.chat_tokens import Encoded
from backends.local_gpu.training import token_files
from backends.local_gpu.training.token_files import kept_tokens
from backends.local_gpu.training.tokenized_dataset import flatten

pytestmark = pytest.mark.torch


@pytest.fixture
def examples(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text("rows")
    return path


@pytest.fixture
def encode():
    """Return an encoder that counts its calls."""

    def run():
        run.calls += 1
        return flatten(
            [
                Encoded(ids=[5, 6, 7], learned=[False, True, True]),
                Encoded(ids=[8], learned=[True]),
            ]
        )

    run.calls = 0
    return run


def listed(tokens):
    return [(ids.tolist(), learned.tolist()) for ids, learned in map(tokens.__getitem__, range(2))]


def test_a_file_is_encoded_once_and_mapped(tmp_path, examples, encode):
    folder = tmp_path / "tokens" / "train"
    first, second = (kept_tokens(folder, examples, encode) for _ in range(2))
    assert encode.calls == 1
    assert isinstance(second.ids, np.memmap)
    assert listed(first) == listed(second) == listed(encode())
    assert (second.labels, second.lengths.tolist()) == (3, [3, 1])
    assert {one.name for one in folder.parent.iterdir()} == {"train"}


def test_other_examples_are_encoded_again(tmp_path, examples, encode):
    kept_tokens(tmp_path / "tokens", examples, encode)
    examples.write_text("other rows")
    kept_tokens(tmp_path / "tokens", examples, encode)
    assert encode.calls == 2
    kept_tokens(tmp_path / "tokens", examples, encode)
    assert encode.calls == 2


@pytest.mark.parametrize("name", ["ids.npy", "offsets.npy", "source.json"])
@pytest.mark.parametrize("left", [None, 0, 20])
def test_a_damaged_file_is_made_again(tmp_path, examples, encode, name, left):
    folder = tmp_path / "tokens"
    kept_tokens(folder, examples, encode)
    if left is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes((folder / name).read_bytes()[:left])
    assert listed(kept_tokens(folder, examples, encode)) == listed(encode())


def test_what_a_killed_process_left_behind_is_replaced(tmp_path, examples, encode):
    partial = tmp_path / "tokens.partial"
    partial.mkdir()
    (partial / "ids.npy").write_text("half")
    assert listed(kept_tokens(tmp_path / "tokens", examples, encode)) == listed(encode())
    assert not partial.exists()


def test_an_empty_set_is_kept_too(tmp_path, examples):
    for _ in range(2):
        assert len(kept_tokens(tmp_path / "tokens", examples, lambda: flatten([]))) == 0


def test_without_room_on_the_disk_tokens_stay_in_memory(tmp_path, examples, encode, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(token_files.np, "save", full)
    found = kept_tokens(tmp_path / "tokens", examples, encode)
    assert listed(found) == listed(encode())
    assert not isinstance(found.ids, np.memmap)
    assert list(tmp_path.iterdir()) == [examples]


def test_an_error_of_the_encoder_keeps_nothing(tmp_path, examples):
    def refuse():
        raise BackendError("1 example cannot be used", "Fix it.")

    with pytest.raises(BackendError, match="cannot be used"):
        kept_tokens(tmp_path / "tokens", examples, refuse)
    assert list(tmp_path.iterdir()) == [examples]
