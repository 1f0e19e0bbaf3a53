import json

import pytest

from backends.contract.errors import BackendError
from backends.local_gpu.training.checkpoints import (
    STATE,
    TrainingState,
    checkpoints,
    newest_checkpoint,
)

MINE = {"fingerprint": "ft1:a", "attempt": 1}


def save(folder, step, **state):
    made = folder / f"checkpoint-{step}"
    made.mkdir(parents=True)
    (made / STATE).write_text(json.dumps({**MINE, **state}))
    return made


def test_checkpoints_come_in_the_order_of_their_steps(tmp_path):
    made = [save(tmp_path, step) for step in (10, 9, 100)]
    (tmp_path / "partial").mkdir()
    (tmp_path / "checkpoint-7").touch()
    assert checkpoints(tmp_path) == [made[1], made[0], made[2]]
    assert checkpoints(tmp_path / "nowhere") == []


def test_training_continues_from_the_newest_with_its_measurements(tmp_path):
    save(tmp_path, 5, loss_sum=9.0)
    newest = save(tmp_path, 10, loss_sum=12.5, held_out=[3.0, 2.0], seconds=1.5, measuring=0.5)
    path, state = newest_checkpoint(tmp_path, "ft1:a", 1)
    assert path == newest
    assert state == TrainingState(
        "ft1:a", 1, loss_sum=12.5, held_out=[3.0, 2.0], seconds=1.5, measuring=0.5
    )


def test_a_checkpoint_without_a_readable_state_is_passed_over(tmp_path):
    older = save(tmp_path, 5)
    for step, text in ((10, "{"), (11, "[]"), (12, "")):
        (save(tmp_path, step) / STATE).write_text(text)
    (tmp_path / "checkpoint-13").mkdir()
    assert newest_checkpoint(tmp_path, "ft1:a", 1)[0] == older


def test_without_a_checkpoint_training_begins_at_its_beginning(tmp_path):
    assert newest_checkpoint(tmp_path, "ft1:a", 1) is None


@pytest.mark.parametrize("other", [{"fingerprint": "ft1:b"}, {"attempt": 2}])
def test_a_checkpoint_of_another_job_is_refused(tmp_path, other):
    save(tmp_path, 5, **other)
    with pytest.raises(BackendError, match="belongs to another job") as caught:
        newest_checkpoint(tmp_path, "ft1:a", 1)
    assert "Remove that folder" in caught.value.remedy
