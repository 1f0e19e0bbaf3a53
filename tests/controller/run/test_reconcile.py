"""From specs to production: runs over a real repository and a scripted backend."""

from pathlib import Path

import pytest

from controller.errors import ExitCode
from tests.controller.run.runs import FASTER, declared, production


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_from_nothing_to_production(repo):
    repo.declare(gate=["held_out_loss < base.held_out_loss"])
    seen = []
    for _ in range(8):
        converged = repo.run()
        seen += [type(outcome.action).__name__ for outcome in converged.outcomes]
        if not converged.waiting:
            break
    assert seen == ["Train", "Record", "Evaluate", "Promote"]
    assert converged.exit_code == ExitCode.DONE
    assert production(repo) == declared(repo)
    assert repo.backend.submitted == 1


def test_waiting_goes_to_the_end_in_one_run(repo):
    repo.declare()
    assert repo.run(wait=True).exit_code == ExitCode.DONE
    assert production(repo) == declared(repo)


def test_a_pass_that_finds_nothing_to_do_writes_no_byte(repo):
    repo.declare()
    repo.settle()
    before = files(repo.root)
    before.pop(".ftctl/lock.json")
    stamp = repo.lockfile_path.stat().st_mtime_ns
    assert repo.actions() == []
    repo.run()
    after = files(repo.root)
    after.pop(".ftctl/lock.json")
    assert after == before
    assert repo.lockfile_path.stat().st_mtime_ns == stamp


@pytest.mark.parametrize(
    "words", [{"description": "카페"}, {"owner": "a"}, {"labels": {"a": "b"}}, {"seed": 42}]
)
def test_words_and_defaults_train_nothing(repo, words: dict):
    repo.declare()
    repo.settle()
    repo.declare(**words)
    assert repo.actions() == []


def test_moving_and_reformatting_data_trains_nothing(repo):
    repo.declare()
    repo.settle()
    text = (repo.root / "finetunes/data/faq.csv").read_text()
    repo.write("finetunes/data/moved.csv", "\ufeff" + text.replace("\n", "\r\n"))
    moved = {"path": "data/moved.csv", "columns": {"user": "question", "assistant": "answer"}}
    repo.declare(data={"train": [moved], "held_out": {"fraction": 0.25}})
    assert repo.actions() == []


def test_going_back_is_free_and_keeps_both_builds(repo):
    repo.declare()
    repo.settle()
    first = production(repo)
    repo.declare(hyperparameters=FASTER)
    repo.settle()
    assert production(repo) != first
    repo.declare()
    converged = repo.settle()
    assert [type(o.action).__name__ for o in converged.outcomes] == ["Reuse"]
    assert production(repo) == first
    assert len(repo.lockfile.finetunes["faq"].builds) == 2
    assert repo.backend.submitted == 2


def test_only_what_was_approved_is_submitted(repo):
    repo.declare("a")
    planned = repo.planned()
    repo.declare("b", seed=1)
    repo.reconcile()
    assert repo.backend.submitted == 0
    repo.run(planned=planned)
    assert [job.fingerprint for job in repo.backend.jobs] == [declared(repo, "a")]


def test_one_fine_tune_alone(repo):
    repo.declare("a")
    repo.declare("b", seed=1)
    repo.run(only=["a"])
    assert repo.lockfile.finetunes.keys() == {"a"}
