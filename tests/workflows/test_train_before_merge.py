"""Training before the merge, by the workflows' own steps: label, training, comment, merge, and the end.

Real git repositories, the package installed by the action, a server that trains, and a stand-in for
GitHub's own endpoints.
"""

import shutil

import pytest

from controller.lockfile.model import parse_lockfile
from tests.controller.server.serve_helpers import serving
from tests.workflows.harness.second import KEY, Second, rows
from tests.workflows.repositories import git

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("bash") is None or shutil.which("git") is None, reason="needs bash and git"
    ),
]


@pytest.fixture
def second(tmp_path, image, trainer):
    """A second repository whose first model is in production, and a pull request for another."""
    with serving(trainer) as server:
        made = Second(tmp_path, image, server.url, options=("--set", "approve=plan"))
        made.trainer = server
        made.repository["people"] |= {"owner": "admin", "reader": "read"}
        made.push("main", "Begin")
        made.write("menu", rows(20, "메뉴 "))
        made.push("menu", "Add the menu")
        made.pull = made.open_pull("menu")
        yield made
        made.close()


def hold(second):
    """Let the trainer's jobs run until `release`."""
    second.trainer.backend.script = ("running",) * 100_000


def release(second):
    backend = second.trainer.backend
    backend.script = ("running", "succeeded")
    for number in range(1, backend.submitted + 1):
        backend.set_script(f"job-{number}", "running", "succeeded")


def jobs(second):
    return second.trainer.client.fine_tuning.jobs.list().data


def reference(second):
    """Return what is recorded for the pull request; None for nothing."""
    ref, path = f"refs/ftctl/pr-{second.pull['number']}", second.repository["path"]
    if not git(path, "for-each-ref", ref):
        return None
    text = git(path, "show", f"{ref}:finetunes/ftctl.lock")
    return parse_lockfile(text.encode(), ref).finetunes


def succeeded(run):
    return set(run.results.values()) == {"success"}


def lose(title):
    def on_step(job, step):
        if step.get("name") == title:
            job.machine.kill()

    return on_step


def test_a_label_trains_and_merging_moves_a_pointer(second):
    pull = second.pull
    second.plan(pull, "menu")
    assert "2 to train" in second.comments(pull)[0]
    labelled = second.label(pull)
    assert labelled.results == {"ftctl / Label": "success"}, second.said(labelled)
    (trained,) = second.follow()
    assert succeeded(trained), second.said(trained)
    assert "FTCTL_ENV" not in second.said(labelled)
    assert KEY not in second.said(trained).replace(f"::add-mask::{KEY}", "")

    # Nothing of the branch has changed, and the comment tells what merging will do.
    assert "hours" not in second.lockfile() if _has_lockfile(second) else True
    assert reference(second)["menu"].candidate
    (comment,) = second.comments(pull)
    assert f"already trained before the merge, for pull request {pull['number']}" in comment
    assert "2 already trained" in comment
    count = len(jobs(second))
    assert count == 2

    applied = second.pushed(second.merge(pull, "menu"))
    assert succeeded(applied), second.said(applied)
    assert "nothing was trained" in second.said(applied)
    assert {name for name, one in second.lockfile().items() if "production" in one} == {
        "hours",
        "menu",
    }
    assert len(jobs(second)) == count
    assert reference(second) is None  # taken over, so it is removed
    assert second.hub.dispatched == []


def _has_lockfile(second):
    files = git(second.repository["path"], "ls-tree", "-r", "--name-only", "main")
    return "finetunes/ftctl.lock" in files


def test_set_twice_it_trains_once_and_a_lost_machine_is_followed(second):
    pull = second.pull
    second.label(pull)
    second.label(pull)
    assert [entry[3]["action"] for entry in second.hub.dispatched] == [
        f"train {pull['number']} {pull['head']['sha']}"
    ] * 2
    again = second.hub.dispatched.pop()
    hold(second)
    (lost,) = second.follow(most=1, on_step=lose("Wait, and measure"))
    assert lost.results["ftctl / train / Train"] == "failure"
    count = len(jobs(second))
    assert count == 2
    assert reference(second)["menu"].job is not None
    assert len(second.hub.dispatched) == 1, second.said(lost)  # by the job `follow`
    second.hub.dispatched.append(again)
    release(second)
    for run in second.follow():
        assert succeeded(run), second.said(run)
    assert len(jobs(second)) == count
    assert reference(second)["menu"].job is None
    assert reference(second)["menu"].candidate


def test_without_the_label_or_after_a_push_nothing_is_trained(second):
    pull = second.pull
    second.label(pull)
    (begun,) = second.hub.dispatched
    second.hub.dispatched.clear()

    # A push: the label goes, and the run that is on its way finds another commit.
    second.write("menu", rows(20, "다른 "))
    second.push("menu", "Another menu")
    pull["head"]["sha"] = git(second.repository["path"], "rev-parse", "menu").strip()
    pushed = second.target(pull, "synchronize")
    assert succeeded(pushed)
    assert pull["labels"] == []
    second.hub.dispatched.append(begun)
    (run,) = second.follow()
    assert "ftctl / train / Train" not in run.results
    assert "The label was set for another commit." in second.said(run)

    # Somebody who may only read sets it; somebody who may push starts the run by hand.
    refused = second.label(pull, by="reader")
    assert refused.results == {"ftctl / Label": "failure"}
    assert "reader may not push to acme/models" in second.said(refused)
    assert pull["labels"] == []
    second.repository["pulls"][pull["number"]]["labels"] = [{"name": "ftctl/train"}]
    action = f"train {pull['number']} {pull['head']['sha']}"
    second.hub.dispatched.append(("acme/models", "fine-tunes.yml", "main", {"action": action}))
    (run,) = second.follow()
    assert "Nobody who may push to this repository has set the label" in second.said(run)
    assert jobs(second) == []
    assert reference(second) is None


def test_the_end_of_the_label_and_of_the_pull_request(second):
    pull = second.pull
    hold(second)
    second.label(pull)
    second.follow(most=1, on_step=lose("Wait, and measure"))
    second.hub.dispatched.clear()
    assert reference(second)["menu"].job is not None
    second.label(pull, action="unlabeled")
    (cancelled,) = second.follow()
    assert succeeded(cancelled), second.said(cancelled)
    assert "asked job" in second.said(cancelled)
    assert {job.status for job in jobs(second)} == {"cancelled"}
    assert reference(second) is None

    second.trainer.backend.script = ("running", "succeeded")
    second.label(pull)
    second.follow()
    assert reference(second)["menu"].candidate
    pull |= {"state": "closed"}
    second.target(pull, "closed")
    (ended,) = second.follow()
    assert succeeded(ended), second.said(ended)
    assert reference(second) is None


HOSTILE = "$(touch /tmp/owned)`id`\n::add-mask::x\n::set-output name=pull::1"


@pytest.mark.parametrize("fork", ["mallory/models", None], ids=["fork", "fork that is gone"])
def test_a_hostile_fork_is_refused_by_name_and_nothing_of_it_runs(second, fork):
    """Its ftctl.yaml would send the keys away, its specs and names are not even read."""
    second.update()
    settings = second.root / "ftctl.yaml"
    settings.write_text(settings.read_text().replace("http://", "http://evil.invalid/"))
    second.write("evil", rows(20, HOSTILE))
    second.push("x-$(id)-`id`", HOSTILE)
    branch = "x-$(id)-`id`"
    pull = second.open_pull(branch, owner="mallory")
    pull["head"]["repo"] = None if fork is None else {"full_name": fork}
    pull |= {"title": HOSTILE, "body": HOSTILE, "user": {"login": "mallory"}}
    before = len(second.runs)

    run = second.label(pull)

    assert run.results == {"ftctl / Label": "failure"}
    who = fork or "a repository that is gone"
    assert f"comes from the fork {who}; only branches of acme/models" in second.said(run)
    assert pull["labels"] == []
    assert second.hub.dispatched == []
    # Started by hand all the same, by somebody who may push.
    pull["labels"] = [{"name": "ftctl/train"}]
    action = f"train {pull['number']} {pull['head']['sha']}"
    second.hub.dispatched.append(("acme/models", "fine-tunes.yml", "main", {"action": action}))
    (by_hand,) = second.follow()
    assert by_hand.results == {"ftctl / train / Request": "success"}, second.said(by_hand)
    assert f"It comes from the fork {who}" in second.said(by_hand)
    everything = "".join(second.said(one) for one in second.runs[before:])
    assert KEY not in everything
    assert not any(step.get("uses", "").startswith("actions/checkout") for step in _steps(by_hand))
    assert jobs(second) == []
    assert second.comments(pull) == []


def _steps(run):
    return [step for job in run.jobs for step in job.job["steps"]]


@pytest.mark.parametrize("name", ["ftctl.yaml", ".env"])
def test_what_decides_where_keys_are_sent_is_not_trained(second, name):
    pull, path = second.pull, second.root / name
    path.write_text((path.read_text() if path.exists() else "") + "# changed\n")
    second.push("menu", "Change where keys go")
    pull["head"]["sha"] = git(second.repository["path"], "rev-parse", "menu").strip()
    second.label(pull)
    (run,) = second.follow(most=1)
    assert run.results["ftctl / train / Train"] == "failure"
    assert "it changes ftctl.yaml or .env" in second.said(run)
    assert KEY not in second.said(run)  # no step with keys has run
    assert jobs(second) == []
    assert reference(second) is None


@pytest.mark.parametrize(
    "request_text", ["train 1", "train 1 main", "cancel 1; id", "train 1 $(id)", "train"]
)
def test_a_run_by_hand_with_another_text_does_nothing(second, request_text):
    second.hub.dispatched.append(
        ("acme/models", "fine-tunes.yml", "main", {"action": f"{request_text} "})
    )
    (run,) = second.follow()
    assert run.results == {"ftctl / train / Request": "failure"}
    assert jobs(second) == []
