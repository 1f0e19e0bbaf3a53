"""Settings of measuring: they train nothing, and builds that older versions recorded stand."""

import json

import pytest

from backends.testing import INTERRUPTED_ONCE
from controller.plan.actions import Train
from controller.plan.fingerprint import TRAINING_SCHEME, fingerprint, short_id


def declare(repo, steps=None, **settings):
    measuring = {} if steps is None else {"eval_steps": steps}
    repo.declare(hyperparameters={"learning_rate": 1e-4, **measuring, **settings})


def as_older_versions_wrote(repo, steps):
    """Write `eval_steps` into the inputs of everything that is recorded and stored."""
    entry = repo.lockfile.finetunes["faq"]
    made = [*entry.builds.values(), *([entry.job] if entry.job is not None else [])]
    inputs = dict(made[0].inputs) if made else dict(repo.planned().desired["faq"].inputs)
    former = {**inputs, "hyperparameters": {**inputs["hyperparameters"], "eval_steps": steps}}
    now, then = (fingerprint(TRAINING_SCHEME, one) for one in (inputs, former))
    files = [path for path in repo.service.rglob("*") if path.is_file() and path.stat().st_size]
    for path in [repo.lockfile_path, *files]:
        # The backend's IDs have the first digits.
        text = path.read_text().replace(now, then).replace(short_id(now), short_id(then))
        written = _rewritten(json.loads(text), inputs, former)
        path.write_text(json.dumps(written, indent=2, sort_keys=True) + "\n")
    return then


def _rewritten(value, old, new):
    if value == old:
        return new
    if isinstance(value, dict):
        return {key: _rewritten(one, old, new) for key, one in value.items()}
    return [_rewritten(one, old, new) for one in value] if isinstance(value, list) else value


def test_measuring_at_other_steps_trains_nothing(repo):
    declare(repo, 10)
    repo.settle()
    for steps in (20, None, 10):
        declare(repo, steps)
        assert repo.actions() == []
    assert repo.backend.submitted == 1


@pytest.mark.parametrize("steps", [10, 20, None])
def test_a_build_that_an_older_version_recorded_stands(repo, steps):
    declare(repo, 10)
    repo.settle()
    old = as_older_versions_wrote(repo, 10)
    before = repo.lockfile_path.read_bytes()
    declare(repo, steps)
    planned = repo.planned()
    assert planned.plan.actions == ()
    assert planned.desired["faq"].fingerprint == old
    assert repo.planned(replace=["faq"]).plan.actions == ()
    repo.settle()
    assert repo.lockfile_path.read_bytes() == before
    assert repo.backend.submitted == 1


def test_what_forces_a_training_does_not_name_them(repo):
    declare(repo, 10)
    repo.settle()
    as_older_versions_wrote(repo, 10)
    declare(repo, 20, learning_rate=2e-4)
    (action,) = repo.planned().plan.actions
    assert isinstance(action, Train)
    assert [change.field for change in action.changes] == ["hyperparameters.learning_rate"]


def test_a_failure_that_an_older_version_recorded_is_not_tried_again(repo):
    repo.use(script=["failed"])
    declare(repo, 10)
    repo.settle()
    as_older_versions_wrote(repo, 10)
    repo.use()
    assert repo.actions() == ["Blocked faq"]


def test_a_job_that_an_older_version_began_is_followed(repo):
    repo.use(script=INTERRUPTED_ONCE)
    declare(repo, 10)
    repo.run()
    as_older_versions_wrote(repo, 10)
    declare(repo, 20)
    repo.settle()
    assert repo.backend.submitted == 1
    assert repo.actions() == []


def test_a_build_of_an_older_version_comes_back_without_lockfile(repo):
    declare(repo, 10)
    repo.settle()
    as_older_versions_wrote(repo, 10)
    repo.lockfile_path.unlink()
    declare(repo, 20)
    repo.settle()
    assert repo.backend.submitted == 1
    assert repo.actions() == []


def test_going_back_to_a_build_of_an_older_version_costs_nothing(repo):
    declare(repo)
    repo.settle()
    old = as_older_versions_wrote(repo, 10)
    declare(repo, 20, learning_rate=2e-4)
    repo.settle()
    declare(repo, 30)
    assert repo.actions() == ["Reuse faq"]
    repo.settle()
    assert repo.lockfile.finetunes["faq"].production == old
    assert repo.backend.submitted == 2
    assert repo.actions() == []
