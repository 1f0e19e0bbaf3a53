"""What data does to a plan: unread sources, policies, warnings, files that git knows."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from controller.plan.actions import Blocked, BlockReason, Deferred, Train
from controller.render.plan import plan_text
from tests.controller.resolve.sources_of_specs import COLUMNS, with_source

DATABASE = {"sql": "select q as question, a as answer from faq", "connection": "FAQ_DATABASE_URL"}


def test_a_source_that_cannot_be_read_defers_its_fine_tune_alone(repo, monkeypatch):
    monkeypatch.delenv("FAQ_DATABASE_URL", raising=False)
    repo.declare("faq")
    repo.declare("sold", **with_source(DATABASE))
    train, deferred = repo.planned().plan.actions
    assert isinstance(train, Train)
    assert isinstance(deferred, Deferred)
    assert deferred.name == "sold"
    assert deferred.reason.startswith("data not read, known at apply: data.train[0]: FAQ_DATABASE")


def test_a_problem_of_a_key_that_is_not_written_has_the_line_around_it(repo):
    repo.declare("faq", **with_source({"path": "data/faq.csv"}))
    (blocked,) = repo.planned().plan.actions
    (problem,) = blocked.problems
    assert problem.field == "data.train[0].columns"
    lines = (repo.root / "finetunes/faq.yaml").read_text().splitlines()
    assert "{" in lines[problem.line - 1]
    assert '"path"' in lines[problem.line]


def test_several_problems_of_data_lead_to_the_command_that_shows_them(repo):
    repo.write("finetunes/data/faq.csv", "question,answer\n반품?,\n교환?,\n배송?,3일\n")
    repo.declare("faq")
    planned = repo.planned()
    (blocked,) = planned.plan.actions
    assert blocked.reason.endswith("and 1 more")
    assert "`ftctl plan`" in blocked.remedy  # `ftctl validate` reads no data
    text = plan_text(planned.plan, planned.resolved.desired)
    assert all(f"finetunes/data/faq.csv:{line}: " in text for line in (2, 3))


def test_one_reason_of_many_sources_is_given_once(repo, monkeypatch):
    monkeypatch.delenv("FAQ_DATABASE_URL", raising=False)
    data = {"train": [DATABASE] * 200, "held_out": {"fraction": 0.25}}
    repo.declare("sold", data=data)
    (deferred,) = repo.planned().plan.actions
    assert deferred.reason.startswith(
        "data not read, known at apply: data.train[0], data.train[1], data.train[2] and 197 more: "
    )
    assert len(deferred.reason) < 300


def test_a_deferred_fine_tune_is_never_forgotten_and_others_go_on(repo, monkeypatch):
    repo.declare("sold")
    repo.settle()
    monkeypatch.delenv("FAQ_DATABASE_URL", raising=False)
    repo.declare("sold", **with_source(DATABASE))
    repo.declare("faq", seed=7)
    before = repo.lockfile.finetunes["sold"]
    converged = repo.settle()
    assert repo.lockfile.finetunes["sold"] == before
    assert repo.lockfile.finetunes["faq"].production is not None
    [outcome] = [one for one in converged.outcomes if one.exit_code]
    assert (outcome.action.name, int(outcome.exit_code)) == ("sold", 1)


def test_offline_no_server_is_asked(repo):
    asked = []

    class Server(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/faq.csv"
        repo.declare(**with_source({"url": url, "columns": COLUMNS}))
        repo.offline = True
        [action] = repo.planned().plan.actions
        assert isinstance(action, Deferred)
        assert "`url` is not queried offline" in action.reason
        assert asked == []
        repo.offline = False
        [action] = repo.planned().plan.actions
        assert isinstance(action, Blocked)
        assert asked
        server.shutdown()


def test_the_plan_counts_what_was_added_on_either_side(repo):
    rows = [f"질문 {n}?,답 {n}." for n in range(10_000)]
    repo.write("finetunes/data/faq.csv", "\n".join(["question,answer", *rows]))
    repo.declare()
    repo.settle()
    added = [f"새 질문 {n}?,답 {n}." for n in range(200)]
    everything = ["question,answer", *rows[:5000], *added, *rows[5000:]]
    repo.write("finetunes/data/faq.csv", "\n".join(everything))
    planned = repo.planned()
    text = plan_text(planned.plan, planned.resolved.desired)
    assert "(+200 examples)" in text


@pytest.mark.parametrize(
    ("text", "license_", "expected"),
    [
        ("policies: {require_license: true}", None, "data.train[0]: has no licence"),
        ("policies: {require_license: true}", "MIT", None),
        ("policies: {licenses: [MIT, CC-BY-4.0]}", "GPL-3.0-only", "'GPL-3.0-only' is not among"),
        ("policies: {licenses: [MIT]}", None, None),
    ],
)
def test_a_licence_can_be_demanded(repo, text, license_, expected):
    repo.write("ftctl.yaml", text)
    source = {"path": "data/faq.csv", "columns": COLUMNS}
    repo.declare(**with_source(source if license_ is None else {**source, "license": license_}))
    [action] = repo.planned().plan.actions
    if expected is None:
        assert isinstance(action, Train)
        return
    assert isinstance(action, Blocked)
    assert action.block_reason is BlockReason.POLICY
    assert expected in action.reason
    assert repo.run().exit_code == 5


def test_a_licence_of_all_data_counts_for_each_source(repo):
    repo.write("ftctl.yaml", "policies: {require_license: true}")
    source = {"path": "data/faq.csv", "columns": COLUMNS}
    repo.declare(**with_source(source, license="CC-BY-4.0"))
    assert isinstance(repo.planned().plan.of("faq"), Train)


def test_one_private_source_keeps_everything_on_the_machine(repo):
    source = {"path": "data/faq.csv", "columns": COLUMNS, "sensitivity": "private"}
    repo.declare(**with_source(source))
    repo.backend.remote = True
    [action] = repo.planned().plan.actions
    assert "private data never leaves the machine" in action.reason
    assert action.problems[0].field == "data.train[0].sensitivity"
