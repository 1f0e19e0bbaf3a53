"""A record that the disk refuses concerns every fine-tune, whenever it is refused."""

import pytest

from controller.apply.dispatch import apply_action
from controller.errors import FtctlError
from controller.lockfile.store import lock_lockfile
from controller.run.carry_out import context_of


@pytest.mark.parametrize("more", [{}, {"seed": 7}], ids=["protect", "train"])
def test_a_protection_that_cannot_be_recorded_ends_the_run(repo, more):
    repo.declare()
    repo.settle()
    repo.declare(lifecycle={"protect": True}, **more)
    prepared, state = repo.planned(), repo.project.state
    submitted = repo.backend.submitted
    (action,) = prepared.plan.actions
    with lock_lockfile(repo.root, state, timeout_s=5, purpose="test") as lockfile:
        journal = state / "journal.jsonl"
        journal.mkdir()
        with pytest.raises(FtctlError, match=r"journal\.jsonl: cannot be written"):
            apply_action(action, context_of(prepared, lockfile))
        journal.rmdir()
    assert repo.backend.submitted == submitted
    assert not repo.lockfile.finetunes["faq"].protect
