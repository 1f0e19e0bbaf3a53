"""The workflows as another repository calls them, step by step as they are written.

Real git repositories, the package installed by the action, `ftctl serve` as the trainer, and a stand-in
for GitHub's own endpoints.
"""

import os
import shutil
import subprocess
import sys
import time

import pytest

from tests.children import child, until
from tests.controller.server.serve_helpers import serving
from tests.demos.steps import free_port
from tests.tiny_base import make_base
from tests.workflows.harness.second import KEY, ROOT, Second, rows
from tests.workflows.repositories import git

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("bash") is None or shutil.which("git") is None, reason="needs bash and git"
    ),
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The package, as it would be published."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *options, str(ROOT)], check=True, timeout=100
    )
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture
def make(tmp_path, image):
    """Make second repositories, and close them."""
    made = []

    def second(server, **options):
        made.append(Second(tmp_path, image, server, **options))
        return made[-1]

    yield second
    for one in made:
        one.close()


@pytest.mark.torch
def test_the_story_of_a_model(tmp_path, make):
    """Pull request, comment, merge, apply; the machine is lost while training; another one finishes."""
    trainer = tmp_path / "trainer"
    make_base(trainer / "models/small-ko")
    (trainer / "finetunes").mkdir()
    (trainer / "ftctl.yaml").write_text("serve: {base_models: [../models/small-ko]}\n")
    port = free_port()
    command = [sys.executable, "-m", "controller", "--dir", trainer, "serve", "--port", str(port)]
    # A device works for one process of the machine at a time, and other tests train too.
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "FTCTL_SERVE_TOKEN": KEY}
    environment |= {"TMPDIR": str(temporary), "CUDA_VISIBLE_DEVICES": "-1"}
    with child(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        second = make(f"http://127.0.0.1:{port}/v1")
        until(lambda: _jobs(second) is not None, 60)
        _story(second)


def _jobs(second):
    """Return the number of jobs that the trainer was ever given; None if it gives no answer."""
    script = (
        "import openai, sys; c = openai.OpenAI(base_url=sys.argv[1], api_key=sys.argv[2]);"
        "print(len(list(c.fine_tuning.jobs.list())))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, second.server, KEY],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return int(done.stdout) if done.returncode == 0 else None


def _story(second):
    laps = _Laps()
    pull = _plan_and_comment(second, laps)
    first = _lose_the_machine_and_finish(second, pull, laps)

    second.update()
    second.write("hours", rows(32, "또 "), epochs=1)
    second.push("again", "Train on other data")
    pull = second.open_pull("again")
    second.plan(pull, "again")
    second.pushed(second.merge(pull, "again"))
    second.follow()
    laps("a second build")
    assert second.lockfile()["hours"]["production"] != first

    _revert(second, first, laps)


def _plan_and_comment(second, laps):
    """Plan a pull request of the branch `more`, and return it."""
    second.push("main", "Begin")
    second.write("hours", rows(30, "새 "), epochs=2)
    second.push("more", "Train on more")
    pull = second.open_pull("more")

    planned, commented = second.plan(pull, "more")
    laps("plan and comment")
    assert planned is commented
    assert planned.results == {
        "ftctl / plan / Plan": "success",
        "ftctl / comment / Comment": "success",
    }, second.said(planned)
    (comment,) = second.comments(pull)
    assert "1 to train" in comment
    return pull


def _lose_the_machine_and_finish(second, pull, laps):
    """Merge `more`, lose the machine that applies it, and return the build that another promotes."""
    merged = second.merge(pull, "more")
    lost = second.pushed(merged, on_step=_lose("Record what was submitted"))
    laps("apply, machine lost")
    assert lost.results["ftctl / apply / Apply"] == "failure"
    assert _jobs(second) == 1
    assert [entry[3] for entry in second.hub.dispatched] == [{"action": "apply"}]

    runs = second.follow()
    laps(f"{len(runs)} runs until production")
    assert all(set(run.results.values()) == {"success"} for run in runs), second.said(runs[-1])
    assert _jobs(second) == 1  # found again, and not paid for twice
    first = second.lockfile()["hours"]
    assert "job" not in first
    tip = git(second.repository["path"], "rev-parse", "main").strip()
    assert second.repository["statuses"][tip][-1]["state"] == "success"
    assert git(second.repository["path"], "log", "-1", "--format=%an %s", "main") == (
        "github-actions[bot] Record fine-tunes\n"
    )
    return first["production"]


def _revert(second, first, laps):
    """Revert the last merge, which trains nothing and promotes the first build again."""
    second.update()
    merge = git(second.work, "log", "--merges", "-1", "--format=%H").strip()
    git(second.work, "revert", "--no-edit", "--mainline=1", merge)
    git(second.work, "push", "--quiet", "origin", "HEAD:back")
    pull = second.open_pull("back")
    second.plan(pull, "back")
    assert "1 to reuse" in second.comments(pull)[-1]
    reverted = second.pushed(second.merge(pull, "back"))
    second.follow()
    laps("revert")
    assert set(reverted.results.values()) == {"success"}, second.said(reverted)
    assert second.lockfile()["hours"]["production"] == first
    assert _jobs(second) == 2  # going back trains nothing
    tip = git(second.repository["path"], "rev-parse", "main").strip()
    assert second.repository["statuses"][tip][-1]["state"] == "success"


def _lose(title):
    def on_step(job, step):
        if step.get("name") == title:
            job.machine.kill()

    return on_step


class _Laps:
    def __init__(self):
        self.began = time.monotonic()

    def __call__(self, what):
        now = time.monotonic()
        sys.stdout.write(f"{what}: {now - self.began:.1f} s\n")
        self.began = now


def test_a_protected_trunk_below_the_top_with_records_on_a_branch(make, trainer):
    with serving(trainer) as server:
        options = ("--set", "approve=everything")  # the first commits come without a pull request
        second = make(server.url, branch="trunk", below="ml/team a", options=options)
        settings = second.root / "ftctl.yaml"
        settings.write_text(settings.read_text() + "lockfile:\n  branch: ftctl-records\n")
        begun = second.push("trunk", "Begin")
        second.repository["protected"].add("trunk")

        run = second.pushed(begun)

        assert set(run.results.values()) == {"success"}, second.said(run)
        second.follow()
        assert "production" in second.lockfile("ftctl-records")["hours"]
        path = second.repository["path"]
        assert git(path, "rev-parse", "trunk").strip() == begun
        files = git(path, "ls-tree", "-r", "--name-only", "-z", "ftctl-records")
        assert files == "ml/team a/finetunes/ftctl.lock\0"

        # A second fine-tune, and a person's clone that has fetched.
        second.update()
        assert "No changes" in second.ftctl("--dir", str(second.root), "plan")
        second.write("menu", rows(20, "메뉴 "))
        second.push("menu", "Add the menu")
        pull = second.open_pull("menu")
        second.plan(pull, "menu")
        assert "1 to train" in second.comments(pull)[0]
        second.pushed(second.merge(pull, "menu"))
        second.follow()
        recorded = second.lockfile("ftctl-records")
        assert {name: "production" in one for name, one in recorded.items()} == {
            "hours": True,
            "menu": True,
        }


def test_two_merges_at_once_a_queue_and_a_protected_branch(make, wheel, trainer):
    with serving(trainer) as server:
        # One of the models comes without a pull request, and no pull request is planned.
        options = ("--set", f"package=tools/{wheel.name}", "--set", "approve=everything")
        second = make(server.url, options=options)
        (second.work / "tools").mkdir()
        shutil.copy(wheel, second.work / "tools")
        second.push("main", "Begin")
        for name in ("one", "two"):
            second.update() if name == "two" else None
            second.write(name, rows(20, name))
            second.push(name, f"Add {name}")
        pulls = {name: second.open_pull(name) for name in ("one", "two")}

        # The queue merges both and asks for the check: it plans, comments nowhere, submits nothing.
        queued = second.run("merge_group", {"merge_group": {}}, second.merged("one", "two"))
        assert queued.results == {"ftctl / plan / Plan": "success"}, second.said(queued)
        assert server.client.fine_tuning.jobs.list().data == []

        # Both are merged within a second. GitHub keeps the newest waiting run; here both run.
        second.repository["protected"].add("main")
        refused = second.pushed(second.merge(pulls["one"], "one"))
        assert refused.results["ftctl / apply / Apply"] == "failure"
        assert "could not be pushed to main" in second.said(refused)
        second.vars["FTCTL_APP_ID"] = "12"
        second.secrets["environment:fine-tunes"]["FTCTL_APP_KEY"] = second.app_key = "pem"
        second.pushed(second.merge(pulls["two"], "two"))
        second.follow()
        recorded = second.lockfile()
        assert {name for name, one in recorded.items() if "production" in one} == {
            "hours",
            "one",
            "two",
        }
        jobs = server.client.fine_tuning.jobs.list().data
        assert len(jobs) == 3  # what the refused run submitted was found


def test_a_plan_with_keys_is_made_on_request_and_applied(make, trainer):
    with serving(trainer) as server:
        second = make(server.url)
        second.push("main", "Begin")
        second.write("menu", rows(20, "메뉴 "))
        second.push("menu", "Add the menu")
        pull = second.open_pull("menu")
        second.repository["people"] |= {"reader": "read", "owner": "admin"}
        keys = {"FTCTL_ENV": f"OWN_KEY={KEY}"}
        second.secrets["environment:fine-tunes-plan"] = keys

        second.ask(pull, "/ftctl plan", by="reader")
        assert second.comments(pull) == []
        asked = second.ask(pull, "/ftctl plan", by="owner")
        assert set(asked.results.values()) == {"success"}, second.said(asked)
        (comment,) = second.comments(pull)
        assert "2 to train" in comment
        assert "Not asked" not in comment  # the server was asked, with the key
        assert KEY not in comment + second.said(asked).replace(f"::add-mask::{KEY}", "")

        applied = second.pushed(second.merge(pull, "menu"))
        assert set(applied.results.values()) == {"success"}, second.said(applied)
        second.follow()
        assert {name for name, one in second.lockfile().items() if "production" in one} == {
            "hours",
            "menu",
        }
