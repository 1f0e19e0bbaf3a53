"""Recipes: what is recorded stands after an upgrade, and a newer recipe is used when asked for."""

import pytest

from backends.testing import INTERRUPTED_ONCE
from controller.errors import ExitCode
from controller.plan.actions import Restore, Train
from controller.render.plan import plan_text

EDITED = {"hyperparameters": {"learning_rate": 2e-4}}


def upgrade(repo, **settings):
    repo.use(**settings).recipe = 2


def recipe_of(repo, name: str = "faq"):
    return repo.planned().desired[name].inputs["hyperparameters"].get("recipe", 1)


def test_an_upgrade_trains_nothing_and_says_in_one_line_what_it_would_change(repo):
    repo.declare()
    repo.settle()
    before = repo.lockfile_path.read_bytes()
    upgrade(repo)
    planned = repo.planned()
    assert planned.plan.actions == ()
    assert repo.run().exit_code == ExitCode.DONE
    assert repo.lockfile_path.read_bytes() == before
    lines = plan_text(planned.plan, planned.desired).splitlines()
    assert lines[0].startswith("No changes.")
    assert lines[1:] == [
        (
            "A newer recipe would train faq (hyperparameters.recipe) differently. What is recorded "
            "stands; to train it again: ftctl apply --replace NAME"
        )
    ]


def test_nothing_is_said_where_the_newest_recipe_made_the_build(repo):
    upgrade(repo)
    repo.declare()
    repo.settle()
    assert recipe_of(repo) == 2
    planned = repo.planned()
    assert "recipe" not in plan_text(planned.plan, planned.desired)


def test_replacing_trains_once_and_going_back_costs_nothing(repo):
    repo.declare()
    repo.settle()
    old = repo.lockfile.finetunes["faq"].production
    upgrade(repo)
    planned = repo.planned(replace=["faq"])
    (action,) = planned.plan.actions
    assert isinstance(action, Train)
    assert [change.field for change in action.changes] == ["hyperparameters.recipe"]
    repo.run(planned=planned, wait=True)
    new = repo.lockfile.finetunes["faq"].production
    assert new != old
    assert repo.actions() == []
    assert repo.backend.submitted == 2
    repo.declare(lifecycle={"pin": old})
    repo.settle()
    assert repo.lockfile.finetunes["faq"].production == old
    assert repo.backend.submitted == 2


def test_a_new_training_uses_the_newest_recipe(repo):
    repo.declare()
    repo.settle()
    upgrade(repo)
    repo.declare(**EDITED)
    assert recipe_of(repo) == 2
    repo.settle()
    repo.declare()
    assert repo.actions() == ["Reuse faq"]
    assert recipe_of(repo) == 1


def test_a_job_that_runs_during_the_upgrade_is_followed(repo):
    repo.use(script=["running"] * 4 + ["succeeded"])
    repo.declare()
    repo.run()
    upgrade(repo)
    assert repo.actions() == ["Wait faq"]
    repo.settle()
    assert repo.backend.submitted == 1


def test_an_interrupted_job_continues_under_its_own_recipe(repo):
    repo.use(script=INTERRUPTED_ONCE)
    repo.declare()
    repo.run()
    upgrade(repo)
    repo.settle()
    assert repo.backend.submitted == 1
    assert recipe_of(repo) == 1


def test_inputs_that_failed_are_not_tried_again_because_of_an_upgrade(repo):
    repo.use(script=["failed"])
    repo.declare()
    repo.settle()
    upgrade(repo)
    assert repo.actions() == ["Blocked faq"]
    repo.run()
    assert repo.backend.submitted == 1


def test_a_renamed_spec_keeps_its_build(repo):
    repo.declare("alpha")
    repo.settle()
    upgrade(repo)
    repo.withdraw("alpha")
    repo.declare("beta")
    assert repo.actions() == ["Restore beta"]
    repo.settle()
    assert repo.backend.submitted == 1


@pytest.mark.parametrize("builds", [1, 2])
def test_a_lost_lockfile_comes_back_after_an_upgrade(repo, builds: int):
    if builds == 2:
        repo.declare(**EDITED)
        repo.settle()
    repo.declare()
    repo.settle()
    repo.lockfile_path.unlink()
    upgrade(repo)
    actions = repo.planned().plan.actions
    assert not any(isinstance(action, Train) for action in actions)
    assert isinstance(actions[0], Restore) == (builds == 2)
    repo.settle()
    assert repo.backend.submitted == builds
    assert recipe_of(repo) == 1


def test_a_running_job_is_found_without_lockfile_after_an_upgrade(repo):
    repo.use(script=["running"] * 6 + ["succeeded"])
    repo.declare()
    repo.run()
    repo.lockfile_path.unlink()
    upgrade(repo)
    assert repo.actions() == ["Adopt faq"]
    repo.settle()
    assert repo.backend.submitted == 1
