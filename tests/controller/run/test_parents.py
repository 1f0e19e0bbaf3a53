"""Fine-tunes that start from another fine-tune's model in production."""

import pytest

from controller.errors import ExitCode
from controller.plan.actions import Blocked, Deferred, Train

PARENT = {"finetune": "cafe"}


@pytest.fixture
def family(repo):
    """A fine-tune and one that starts from it, neither trained yet."""
    repo.declare("cafe", seed=1)
    repo.declare("faq", base_model=PARENT)
    return repo


def action(repo, name="faq"):
    return repo.planned().plan.of(name)


def settled(repo, *names):
    for _ in names:
        assert repo.settle().exit_code == ExitCode.DONE
    return repo.lockfile.finetunes


def test_a_child_waits_for_its_parent_and_fails_no_run(family):
    waiting = action(family)
    assert isinstance(waiting, Deferred)
    assert waiting.parent == "cafe"
    assert waiting.reason == "cafe has no build in production yet"
    result = family.settle()
    assert result.exit_code == ExitCode.DONE
    assert family.lockfile.finetunes["cafe"].production
    assert "faq" not in family.lockfile.finetunes


@pytest.mark.parametrize("adapter", ["merge", "continue"])
def test_a_child_starts_from_the_build_in_production(family, adapter):
    family.declare("faq", base_model={**PARENT, "adapter": adapter})
    entries = settled(family, "cafe", "faq")
    parent = entries["cafe"].builds[entries["cafe"].production]
    (child,) = entries["faq"].builds.values()
    assert child.parent.model_dump() == {
        "finetune": "cafe",
        "build": parent.fingerprint,
        "adapter": adapter,
    }
    own = "acme/base" if adapter == "continue" else parent.model_id
    assert child.base_model == own
    assert child.inputs["base_model"].startswith(f"scripted:{own}@")
    continued = child.inputs.get("adapter", "")
    assert (f"scripted:{parent.model_id}@" in continued) == (adapter == "continue")
    assert family.actions() == []


def test_another_build_of_the_parent_in_production_retrains_the_child(family):
    settled(family, "cafe", "faq")
    before = dict(family.lockfile.finetunes["faq"].builds)
    family.declare("cafe", seed=2)
    assert family.actions() == ["Train cafe"], "the child has nothing to do until then"
    settled(family, "cafe")
    planned = action(family)
    assert isinstance(planned, Train)
    assert planned.retrain
    assert planned.move is None
    assert planned.reason == "the build of cafe in production changed"
    settled(family, "faq")
    assert len(family.lockfile.finetunes["faq"].builds) == len(before) + 1


def test_a_child_that_changes_with_its_parent_is_trained_once(family):
    settled(family, "cafe", "faq")
    family.declare("cafe", seed=2)
    family.declare("faq", base_model=PARENT, seed=2)
    waiting = action(family)
    assert isinstance(waiting, Deferred)
    assert "trained or judged first" in waiting.reason
    settled(family, "cafe", "faq")
    assert len(family.lockfile.finetunes["faq"].builds) == 2


def test_a_parent_whose_next_build_fails_its_gate_keeps_its_child(family):
    settled(family, "cafe", "faq")
    family.declare("cafe", seed=2, gate=["stop_rate >= 2"])
    family.run(wait=True)
    assert family.actions() == ["Blocked cafe"]
    family.declare("faq", base_model=PARENT, seed=3)
    assert isinstance(action(family), Train)


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ({"faq": {"base_model": {"finetune": "faq"}}}, "starts from itself: faq -> faq"),
        (
            {"faq": {"base_model": PARENT}, "cafe": {"base_model": {"finetune": "faq"}}},
            "starts from itself: faq -> cafe -> faq",
        ),
        ({"faq": {"base_model": PARENT}}, "there is no fine-tune cafe"),
        ({"faq": {"base_model": PARENT, "revision": "v1"}, "cafe": {}}, "no revision"),
        (
            {"faq": {"base_model": PARENT}, "cafe": {"method": "prompt"}},
            "cafe trains nothing, so there is no model to start from",
        ),
        (
            {
                "faq": {"base_model": PARENT},
                "cafe": {"backend": "openai", "base_model": "gpt-4.1-mini-2025-04-14"},
            },
            "the model of cafe is at openai, and this fine-tune is at scripted",
        ),
    ],
)
def test_parents_that_cannot_be(repo, specs, message):
    for name, changes in specs.items():
        repo.declare(name, **changes)
    found = action(repo)
    assert isinstance(found, Blocked)
    assert message in " ".join(map(str, found.problems))


def test_a_misspelt_parent_is_named(family):
    family.declare("faq", base_model={"finetune": "caffe"})
    (problem,) = action(family).problems
    assert (problem.field, problem.remedy) == ("base_model.finetune", "Did you mean `cafe`?")
    assert problem.line


def test_a_lost_lockfile_finds_the_parent_again(family):
    settled(family, "cafe", "faq")
    recorded = family.lockfile.finetunes["faq"]
    family.lockfile_path.unlink()
    (family.project.state / "journal").unlink(missing_ok=True)
    for _ in range(3):
        family.settle()
    assert family.lockfile.finetunes["faq"].builds.keys() == recorded.builds.keys()
    (found,) = family.lockfile.finetunes["faq"].builds.values()
    (build,) = recorded.builds.values()
    assert found.parent == build.parent


@pytest.mark.parametrize(
    ("starts_from", "adapter", "message"),
    [
        (["model"], "continue", "scripted itself decides how it trains a model on"),
        (["model"], "merge", "scripted itself decides how it trains a model on"),
        ([], None, "the scripted backend trains from no trained model"),
        (["merge"], "continue", "the scripted backend does not continue adapters"),
    ],
)
def test_what_a_backend_cannot_start_from(family, starts_from, adapter, message):
    settled(family, "cafe")
    family.use(starts_from=starts_from)
    family.declare(
        "faq", base_model={**PARENT, **({} if adapter is None else {"adapter": adapter})}
    )
    (problem,) = action(family).problems
    assert problem.message == message


def test_a_service_trains_from_the_model_of_the_parent(family):
    family.use(starts_from=["model"])
    entries = settled(family, "cafe", "faq")
    (child,) = entries["faq"].builds.values()
    assert child.base_model == entries["cafe"].builds[entries["cafe"].production].model_id
