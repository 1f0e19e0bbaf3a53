"""What a pass came to, what is tried again and when, and what GitHub is told of it."""

import io
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from backends.contract.jobs import JobState
from controller.apply.context import Outcome
from controller.errors import ExitCode
from controller.lockfile.model import Lockfile
from controller.plan.actions import Blocked, BlockReason, Record, Train
from controller.plan.observed import Observed
from controller.plan.plan import make_plan
from controller.run.result import RunResult
from controller.spec.settings import Settings
from controller.watch.approval import MergeApproval
from controller.watch.clone.upstream import GitHubRepository
from controller.watch.health import Health, HealthBoard
from controller.watch.log import EventLog
from controller.watch.metrics import Metrics
from controller.watch.outlook import outlook_of
from controller.watch.pauses import Pauses
from controller.watch.reports import CommitReports
from controller.watch.statuses import Sent, Status, StatusReporter
from tests.servers.git_http_server import TOKEN, GitServer


def planned(*desired, unresolved=None):
    declared = {one.name: one for one in desired}
    return make_plan(declared, Lockfile(), Observed(), unresolved=unresolved or {})


def blocked(name, reason=BlockReason.INPUT):
    return Blocked(name=name, reason="no column 문의", remedy="Add it.", block_reason=reason)


def outlook(plan, *outcomes, waiting=(), left=(), paused=None):
    result = RunResult(outcomes=list(outcomes), waiting=dict.fromkeys(waiting), left=left)
    return outlook_of(plan, result, paused=paused or {}, left=(), finetunes=3)


def test_a_commit_is_green_when_everything_is_as_declared():
    found = outlook(planned())
    assert (found.state, found.description) == ("success", "3 fine-tunes as declared")


def test_a_commit_is_pending_while_jobs_are_open(make):
    plan = planned(make.desired("faq"))
    done = Outcome(action=plan.actions[0], message="submitted", exit_code=ExitCode.DONE)
    found = outlook(plan, done, waiting=["faq"])
    assert (found.state, found.description) == ("pending", "1 fine-tune in progress")


def test_a_commit_is_red_while_a_person_has_to_act():
    plan = planned(unresolved={"faq": blocked("faq")})
    found = outlook(plan, waiting=["triage"])
    assert found.state == "failure"
    assert found.stopped == {"faq": "no column 문의\nAdd it."}
    told = "1 fine-tune to be looked at: `ftctl plan` tells why; 1 fine-tune in progress"
    assert found.description == told
    # Who suspended a fine-tune knows of it.
    suspended = planned(unresolved={"faq": blocked("faq", BlockReason.SUSPENDED)})
    assert outlook(suspended).state == "success"


def test_what_failed_is_tried_again_after_a_pause_that_grows(make):
    plan, pauses = planned(make.desired("faq")), Pauses()
    [action] = plan.actions
    assert isinstance(action, Train)
    failed = Outcome(action=action, message="quota exceeded", exit_code=ExitCode.ERROR)
    assert pauses.paused(plan, 0) == {}
    pauses.note(plan, [failed], 0)
    assert pauses.paused(plan, 29) == {"faq": "quota exceeded"}
    assert outlook(plan, paused=pauses.paused(plan, 29)).state == "failure"
    assert pauses.paused(plan, 30) == {}
    pauses.note(plan, [failed], 30)
    assert pauses.paused(plan, 89) == {"faq": "quota exceeded"}
    assert pauses.paused(plan, 90) == {}
    # Another spec is tried at once.
    edited = planned(make.desired("faq", hyperparameters={"learning_rate": 1e-5}))
    assert pauses.paused(edited, 40) == {}
    pauses.note(plan, [replace(failed, exit_code=ExitCode.DONE)], 90)
    pauses.note(plan, [failed], 100)
    assert pauses.paused(plan, 131) == {}


SHA = "1" * 40


@pytest.fixture
def hub(tmp_path):
    with GitServer(tmp_path) as server:
        yield server


def reporter(tmp_path, url):
    repository = GitHubRepository(api=f"{url}/api/v3", name="acme/models")
    found = StatusReporter(repository=repository, token=TOKEN, memory=tmp_path / "s.json")
    found.load()
    return found


def test_a_status_is_sent_once_also_by_the_next_process(tmp_path, hub):
    status = Status(state="pending", description="모델 " * 60)
    one = reporter(tmp_path, hub.url)
    one.set(SHA, status)
    assert (one.send().count, one.send().count) == (1, 0)
    [(commit, state, description)] = hub.statuses
    assert (commit, state, len(description), description[-1]) == (SHA, "pending", 140, "…")
    two = reporter(tmp_path, hub.url)
    two.set(SHA, status)
    assert two.send().count == 0
    # A newer merge ends the wait of the older one, too.
    two.set("2" * 40, Status(state="success", description="as declared"))
    assert two.send().count == 2
    assert {state for _, state, _ in hub.statuses[1:]} == {"success"}
    assert json.loads((tmp_path / "s.json").read_bytes()).keys() == {SHA, "2" * 40}


@pytest.mark.parametrize(
    ("answer", "pause_s"),
    [
        ((503, {}), 5),
        ((429, {"retry-after": "60"}), 60),
        ((403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1090"}), 90),
        ((401, {}), 5),
    ],
)
def test_a_status_that_does_not_arrive_is_sent_later(tmp_path, hub, answer, pause_s):
    hub.status_answers, now = [answer], [1000.0]
    one = reporter(tmp_path, hub.url)
    one.now = lambda: now[0]
    one.set(SHA, Status(state="success", description="as declared"))
    assert one.send().failure.startswith(f"{answer[0]} ")
    now[0] += pause_s - 1
    assert one.send() == Sent()
    now[0] += 1
    assert one.send().count == 1
    assert hub.statuses == [(SHA, "success", "as declared")]


def test_a_commit_that_github_does_not_know_is_dropped(tmp_path, hub):
    hub.status_answers = [(422, {})]
    one = reporter(tmp_path, hub.url)
    one.set(SHA, Status(state="success", description="as declared"))
    assert one.send().dropped == (SHA,)
    assert one.send() == Sent()


def test_what_fails_again_and_again_uses_up_no_statuses(tmp_path, hub):
    """A commit takes a thousand statuses at most."""
    board = HealthBoard(Health(started_s=0))
    log = EventLog(as_json=True, secrets=(), stream=io.StringIO())
    reports = CommitReports(reporter(tmp_path, hub.url), board, log, Metrics(lambda: board.now))
    for _ in range(5):
        reports.begin(SHA, "1 actions to carry out")
        reports.report(SHA, "failure", "1 fine-tune to be looked at")
    assert [state for _, state, _ in hub.statuses] == ["pending", "failure"]
    reports.report(SHA, "success", "1 fine-tune as declared")
    assert hub.statuses[-1][1] == "success"
    hub.status_answers = [(500, {})]
    reports.begin(SHA, "1 actions to carry out")
    assert "500" in board.now.outages["status"].message


@pytest.mark.parametrize(
    "text",
    [b"[1, 2", b"", b"\xff", b"5", b'{"a": 5}', b'{"commit": "a"}', b"[" * 100_000],
    ids=lambda text: repr(text[:20]),
)
def test_a_memory_that_cannot_be_read_is_begun_anew(tmp_path, text):
    (tmp_path / "s.json").write_bytes(text)
    assert reporter(tmp_path, "http://127.0.0.1").known == {}
    approval = MergeApproval(memory=tmp_path / "s.json")
    approval.load()
    assert (approval.commit, approval.decisions, approval.costly) == (None, {}, {})


def prepared(plan, **budget):
    settings = Settings(budget=budget)
    return SimpleNamespace(plan=plan, loaded=SimpleNamespace(settings=settings))


def test_a_cost_that_needs_an_approval_of_its_own_is_not_approved_by_a_merge(tmp_path, make):
    declared = make.desired("faq"), make.desired("triage", seed=2)  # of up to $2.25 each
    approval = MergeApproval(memory=tmp_path / "approved.json")
    found = approval(prepared(planned(*declared), approve_above_usd=3), "c1")
    assert set(found.approval.actions) == {"faq"}
    assert "exceed budget.approve_above_usd: 3" in found.held["triage"]
    assert "ftctl apply --approve-cost 5" in found.held["triage"]
    # The next pass, and the next process, find the second job alone: it waits all the same.
    again = MergeApproval(memory=tmp_path / "approved.json")
    again.load()
    for later in (approval, again):
        found = later(prepared(planned(declared[1]), approve_above_usd=3), "c1")
        assert (found.approval.actions, set(found.held)) == ({}, {"triage"})
    # Another merge decides anew.
    found = again(prepared(planned(declared[1]), approve_above_usd=3), "c2")
    assert (set(found.approval.actions), found.held) == ({"triage"}, {})
    assert again(prepared(planned(*declared)), "c3").held == {}


def test_what_changes_without_a_merge_is_not_approved(tmp_path, make):
    declared, elsewhere = make.desired("faq"), make.desired("triage")
    drifted = make.desired("faq", facts=make.data(train="sha256:" + "3" * 64))

    def approved(*desired, commit, approval):
        return set(approval(prepared(planned(*desired)), commit).approval.actions)

    first = MergeApproval(memory=tmp_path / "approved.json")
    assert approved(declared, commit="c1", approval=first) == {"faq"}
    # A database answers otherwise: that trains nothing, also after a restart.
    second = MergeApproval(memory=tmp_path / "approved.json")
    second.load()
    assert approved(drifted, commit="c1", approval=second) == set()
    assert "without a merge" in second(prepared(planned(drifted)), "c1").held["faq"]
    # What needs no approval goes on: the end of a job is recorded.
    job = make.job(declared, JobState.SUCCEEDED)
    entry = make.entry(job=make.open_job(declared))
    plan = make_plan(
        {"faq": drifted}, Lockfile(finetunes={"faq": entry}), Observed(jobs={job.id: job})
    )
    [(seen,)] = second(prepared(plan), "c1").approval.actions.values()
    assert isinstance(seen, Record)
    # What could not be read at first is approved when it can be; the next merge approves all.
    assert approved(drifted, elsewhere, commit="c1", approval=second) == {"triage"}
    assert approved(declared, elsewhere, commit="c1", approval=second) == {"faq", "triage"}
    assert approved(drifted, commit="c2", approval=second) == {"faq"}
