"""What data does to a plan: unread sources, policies, warnings, files that git knows."""

import json
import os
import subprocess
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from controller.data.sources.inspect_file import inspect_file
from controller.plan.actions import Blocked, BlockReason, Deferred, Train
from controller.plan.approval import decisions_of
from controller.project.project import known_blobs
from controller.render.plan import plan_text

DATABASE = {"sql": "select q as question, a as answer from faq", "connection": "FAQ_DATABASE_URL"}
COLUMNS = {"user": "question", "assistant": "answer"}


def with_source(source, **more):
    return {"data": {"train": [source], "held_out": {"fraction": 0.25}, **more}}


# --- sources that cannot be read here ------------------------------------------------------------


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


# --- changed data --------------------------------------------------------------------------------


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


# --- policies ------------------------------------------------------------------------------------


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


# --- warnings ------------------------------------------------------------------------------------


def warnings(repo) -> tuple[str, ...]:
    [action] = repo.planned().plan.actions
    return action.warnings


def test_a_held_out_set_too_small_to_decide_the_gate_is_said(repo):
    repo.declare(gate=["exact_match >= 0.8"], evaluation={"metrics": ["exact_match"]})
    [warning] = warnings(repo)
    assert "held-out examples decide `exact_match >= 0.8` to within ±0." in warning
    assert warning.endswith("62 would to within ±0.1")


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["환불", "교환", "배송"], None),
        (["환불 ", "교환", "배송", "기타"], None),
        (["환불", "교환"], "wrong whatever is answered: 2, whose answers are 배송"),
        (["환불", "교환", "배달"], "wrong whatever is answered: 2, whose answers are 배송"),
        (["환불"], "wrong whatever is answered: 4, whose answers are 교환, 배송"),
        (None, None),
    ],
)
def test_held_out_answers_that_are_no_label_are_said(repo, labels, said):
    rows = [f"{name} {n},{name}\n" for n in range(2) for name in ("환불", "교환", "배송")]
    repo.write("finetunes/data/held.csv", "question,answer\n" + "".join(rows))
    rows = [f"train {n} {one}" for n in range(4) for one in rows]
    repo.write("finetunes/data/own.csv", "question,answer\n" + "".join(rows))
    own = {"path": "data/own.csv", "columns": COLUMNS}
    data = {"train": [own], "held_out": [{"path": "data/held.csv", "columns": COLUMNS}]}
    settings = {"labels": labels} if labels else {}
    repo.declare(data=data, evaluation={"metrics": [{"accuracy": settings}]})
    found = warnings(repo)
    if said is None:
        assert found == ()
    else:
        [warning] = found
        assert warning.startswith("held-out examples that `accuracy` counts as")
        assert warning.endswith(said)


def test_leaks_and_personal_data_are_said(repo):
    rows = "question,answer\n" + "".join(f"q{n}?,mail me: a{n}@example.com\n" for n in range(30))
    repo.write("finetunes/data/own.csv", rows)
    repo.write("finetunes/data/held.csv", "question,answer\nq1?,other\nq2?,other\n")
    own = {"path": "data/own.csv", "columns": COLUMNS}
    held_out = [{"path": "data/held.csv", "columns": COLUMNS}]
    data = {"train": [own], "held_out": held_out, "prepare": {"pii": "warn"}}
    repo.declare(data=data)
    said = "\n".join(warnings(repo))
    assert "examples with personal data or secrets, which stay as they are: 30" in said
    assert "examples that ask what a held-out example asks, which flatters the scores: 2" in said


# --- columns of the evaluation -------------------------------------------------------------------


def test_a_column_that_no_row_has_is_a_problem_at_its_line(repo):
    rows = "question,answer,lang\n" + "".join(f"q{n}?,a{n},ko\n" for n in range(30))
    repo.write("finetunes/data/own.csv", rows)
    source = {"path": "data/own.csv", "columns": COLUMNS}
    repo.declare(**with_source(source), evaluation={"slices": ["lang", "lnag"], "group_by": "x"})
    (blocked,) = repo.planned().plan.actions
    slices, group = sorted(blocked.problems, key=lambda one: one.field, reverse=True)
    lines = (repo.root / "finetunes/faq.yaml").read_text().splitlines()
    assert slices.message == "no row that may be held out has 'lnag'"
    assert slices.remedy == "Did you mean `lang`? Use one of: question, answer, lang."
    assert (slices.file, slices.field) == ("finetunes/faq.yaml", "evaluation.slices[1]")
    assert "lnag" in lines[slices.line - 1]
    assert group.field == "evaluation.group_by"
    assert '"group_by"' in lines[group.line - 1]


def test_other_groups_are_another_evaluation_and_no_other_training(repo):
    def declared(customers):
        rows = "".join(f"q{n}?,a{n},{customer}\n" for n, customer in enumerate(customers))
        repo.write("finetunes/data/own.csv", f"question,answer,customer\n{rows}")
        source = {"path": "data/own.csv", "columns": COLUMNS}
        repo.declare(**with_source(source), evaluation={"group_by": "customer"})
        (desired,) = repo.planned().resolved.desired.values()
        return desired

    one, other = declared(range(30)), declared([n // 2 for n in range(30)])
    assert one.fingerprint == other.fingerprint
    assert one.evaluation_inputs["columns"].keys() == {"customer"}
    assert one.evaluation_fingerprint != other.evaluation_fingerprint


def test_rows_without_a_column_and_a_key_that_label_does_not_mean_are_said(repo):
    rows = [{"question": f"q{n}?", "answer": f"a{n}", "label": n} for n in range(30)]
    rows[0]["lang"] = "ko"
    repo.write("finetunes/data/own.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    source = {"path": "data/own.jsonl", "columns": COLUMNS}
    repo.declare(**with_source(source), evaluation={"slices": ["label", "lang"]})
    said = "\n".join(warnings(repo))
    assert "held-out examples have no value" in said
    assert (
        "`label` in `evaluation` and `gate` means the expected answer, not the key `label` of "
        "finetunes/data/own.jsonl; rename that key to use it"
    ) in said


# --- files that git knows ------------------------------------------------------------------------


def git(root, *arguments):
    subprocess.run(
        ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@b", *arguments],
        check=True,
        capture_output=True,
        timeout=110,
    )


def test_only_files_that_are_as_git_knows_them_have_a_blob(tmp_path):
    for name in ("kept.csv", "changed.csv", "flagged.csv"):
        (tmp_path / name).write_text(f"{name}\n")
    (tmp_path / "link.csv").symlink_to("kept.csv")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "all")
    git(tmp_path, "update-index", "--assume-unchanged", "flagged.csv")
    (tmp_path / "changed.csv").write_text("other\n")
    (tmp_path / "new.csv").write_text("new\n")
    found = known_blobs(tmp_path)
    assert set(found) == {tmp_path / "kept.csv"}
    assert known_blobs(tmp_path / "nowhere") == {}


def test_git_is_asked_when_a_file_is_looked_up(tmp_path):
    found = known_blobs(tmp_path)
    path = tmp_path / "a.csv"
    path.write_text("q\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "all")
    assert found.get(tmp_path / "none.csv") is None
    blob = found[path]
    # Once: what is said of one file is said of all at the same moment.
    git(tmp_path, "rm", "-q", "--cached", "a.csv")
    assert dict(found) == {path: blob}


def test_names_of_tracked_files_need_not_be_utf8(tmp_path):
    names = (
        b"\xb0\xa1.csv",
        b" first.csv",
        "질문.csv".encode(),
        b"a\r\nb.csv",
        b"changed\xff",
    )
    for name in names:
        (tmp_path / os.fsdecode(name)).write_text("q\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "all")
    for name in (names[1], names[-1]):
        (tmp_path / os.fsdecode(name)).write_text("other\n")
    found = known_blobs(tmp_path)
    assert {os.fsencode(path.name) for path in found} == {names[0], names[2], names[3]}


def test_a_fresh_clone_reads_no_unchanged_source(tmp_path):
    old, new, memos = tmp_path / "old", tmp_path / "new", tmp_path / "memos"
    old.mkdir()
    (old / "a.csv").write_text("question,answer\n" * 100)
    git(old, "init", "-q")
    git(old, "add", ".")
    git(old, "commit", "-qm", "all")
    time.sleep(0.05)
    info = inspect_file(
        old / "a.csv", memos, file_format="csv", blob=known_blobs(old)[old / "a.csv"]
    )
    # Were the clone read, this would not show.
    (told,) = memos.glob("blob-*")
    told.write_text(told.read_text().replace(info.sha256, "0" * 64))
    subprocess.run(
        ["git", "clone", "-q", str(old), str(new)], check=True, capture_output=True, timeout=110
    )
    time.sleep(0.05)
    blob = known_blobs(new)[new / "a.csv"]
    again = inspect_file(new / "a.csv", memos, file_format="csv", blob=blob)
    assert (again.sha256, again.encoding) == ("0" * 64, info.encoding)
    (new / "a.csv").write_text("question,answeR\n" * 100)
    assert inspect_file(new / "a.csv", memos, file_format="csv", blob=blob).sha256 not in (
        again.sha256,
        info.sha256,
    )


# --- what a plan remembers -----------------------------------------------------------------------


def remembered(repo):
    """Let a plan remember everything: files are old enough two seconds after they were written."""
    time.sleep(2.1)
    assert repo.planned().plan.actions == ()
    memos = [repo.project.state / name for name in ("specs.json", "datasets.json")]
    assert all(memo.exists() for memo in memos)
    return memos


def test_a_plan_by_memos_sees_data_of_the_same_size_and_time(repo):
    repo.declare()
    repo.settle()
    remembered(repo)
    path = repo.root / "finetunes" / "data" / "faq.csv"
    status, content = path.stat(), path.read_text()
    path.write_text(content.replace("1", "2"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    [action] = repo.planned().plan.actions
    assert isinstance(action, Train)
    path.write_text(content)
    assert repo.planned().plan.actions == ()


def test_a_plan_by_memos_sees_a_spec_of_the_same_size_and_time(repo):
    repo.declare(seed=1)
    repo.settle()
    remembered(repo)
    path = repo.root / "finetunes" / "faq.yaml"
    status = path.stat()
    path.write_text(path.read_text().replace('"seed": 1', '"seed": 2'))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    [action] = repo.planned().plan.actions
    assert isinstance(action, Train)


def test_a_plan_by_memos_decides_the_same(repo):
    repo.declare(gate=["held_out_loss < 9"])
    repo.declare("other", seed=7)
    repo.settle()
    first = repo.planned()
    for memo in remembered(repo):
        memo.write_bytes(memo.read_bytes())
    again = repo.planned()
    assert again.plan == first.plan
    assert again.plan.id == first.plan.id
    assert again.resolved.desired == first.resolved.desired
    assert again.resolved.requests == first.resolved.requests
    assert again.resolved.datasets == first.resolved.datasets


def test_decisions_are_those_of_the_readable_specs(repo):
    repo.declare()
    repo.declare("other", seed=7)
    repo.declare("broken", seed="x")
    planned = repo.planned()
    decisions = planned.plan.decisions
    assert dict(decisions) == {
        name: decisions_of(desired) for name, desired in planned.desired.items()
    }
    assert list(decisions) == ["faq", "other"]
    assert (len(decisions), "faq" in decisions, "broken" in decisions) == (2, True, False)
    assert decisions.get("broken") is None
