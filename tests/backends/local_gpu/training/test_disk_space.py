import errno
import shutil
from importlib import import_module

import pytest

from backends.contract.errors import BackendError

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
room = import_module("backends.local_gpu.training.disk_space")


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0.0 MB"),
        (50_000, "0.1 MB"),
        (1_500_000, "1.5 MB"),
        (99_900_000, "99.9 MB"),
        (100_000_000, "0.1 GB"),
        (14_100_000_000, "14.1 GB"),
    ],
)
def test_sizes_in_words(size, words):
    assert room.in_words(size) == words


@pytest.mark.parametrize(
    ("trained", "frozen", "checkpoint", "model"),
    [
        # Weights of four bytes, and eight bytes of moments for each trained number.
        (["weight", "bias"], [], (6 + 3) * (4 + 8), (6 + 3) * 4),
        (["weight"], ["bias"], 6 * (4 + 8), 6 * 4),
        ([], ["weight", "bias"], 0, 0),
    ],
)
def test_only_trained_weights_are_written(trained, frozen, checkpoint, model):
    layer = torch.nn.Linear(2, 3)
    for name in (*trained, *frozen):
        getattr(layer, name).requires_grad_(name in trained)
    assert room.checkpoint_size(layer) == checkpoint
    assert room.trained_size(layer) == model


def test_the_size_follows_the_precision():
    layer = torch.nn.Linear(2, 3, dtype=torch.bfloat16)
    assert room.trained_size(layer) == 9 * 2
    assert room.checkpoint_size(layer) == 9 * (2 + 8)


@pytest.mark.parametrize(("left", "enough"), [(1000, True), (999, False)])
def test_a_model_needs_room_before_it_is_trained(tmp_path, monkeypatch, left, enough):
    usage = shutil.disk_usage(tmp_path)._replace(free=left)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    if enough:
        room.require_room(tmp_path, 1000)
        return
    with pytest.raises(BackendError, match=r"the trained model needs 0\.0 MB"):
        room.require_room(tmp_path, 1000)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_known_by_its_number(number):
    assert room.is_about_room(OSError(number, "words"))
    assert not room.is_about_room(OSError(errno.EACCES, "Permission denied"))


@pytest.mark.parametrize(
    ("error", "is_room"),
    [
        # Libraries write the words, and not always the number.
        (RuntimeError("[enforce fail] . PytorchStreamWriter failed writing file data/3"), True),
        (RuntimeError("I/O error: No space left on device (os error 28)"), True),
        (OSError("Disk quota exceeded"), True),
        (OSError(errno.EIO, "Input/output error"), False),
        (RuntimeError("sizes do not match"), False),
    ],
)
def test_a_full_disk_is_known_by_the_words_of_libraries(error, is_room):
    assert room.is_about_room(error) is is_room


def test_a_disk_without_room_is_told_with_what_it_has(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=3_500_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert room.without_checkpoint(tmp_path, 2_500_000_000).startswith(
        "no room for a checkpoint of 2.5 GB beside the model to come: 3.5 MB are left;"
    )
    with pytest.raises(BackendError) as caught:
        room.require_room(tmp_path, 14_100_000_000)
    assert caught.value.message == (
        f"the trained model needs 14.1 GB, and the disk of {tmp_path} has 3.5 MB left"
    )
    assert caught.value.remedy.endswith("then `ftctl retry NAME`.")


def test_the_speed_of_a_disk_is_measured_for_large_checkpoints(tmp_path):
    assert room.write_speed(tmp_path, 10**6) is None
    assert 1e4 < room.write_speed(tmp_path, 10**10) < 1e13
    assert not list(tmp_path.iterdir())
    assert room.write_speed(tmp_path / "gone", 10**10) is None
