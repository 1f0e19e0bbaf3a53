"""`ftctl report` over real runs: files, golden content, what is missing, what is damaged."""

import json
import re
import shutil

import pytest

from controller.cli import run
from controller.evaluate.measure import evaluation_path_of
from controller.lockfile.store import LOCKFILE
from tests.controller.report import cafe

pytestmark = pytest.mark.usefixtures("installed")


@pytest.fixture
def report(repo, tmp_path, capsys):
    """Return a function that writes a report: exit code, screen, and the files by name."""

    def write(*arguments):
        out = tmp_path / "out"
        shutil.rmtree(out, ignore_errors=True)
        code = run(["--dir", str(repo.root), "report", "--out", str(out), *arguments])
        screen = "".join(capsys.readouterr()).replace(str(tmp_path), "")
        files = {path.name: path.read_text("utf-8") for path in sorted(out.glob("*"))}
        return code, screen, files

    return write


def without_times(text):
    return re.sub(
        r"20\d\d(\\?-)\d\d\\?-\d\d([T ])\d\d:\d\d(:\d\dZ| UTC)", r"2026\g<1>11\g<1>20\2 10:00", text
    )


def test_a_report_in_full(repo, report, golden):
    build = cafe.train(repo, rows=60, good=0.9)
    cafe.curve(repo, build, 6)
    code, screen, files = report()
    assert code == 0
    assert list(files) == [
        f"{n}.{end}" for n in ("cafe", "index") for end in ("html", "json", "md")
    ]
    assert screen == "Wrote 6 files. Open /out/index.html\n"
    golden("report/cafe.md", without_times(files["cafe.md"]))
    golden("report/cafe.json", without_times(files["cafe.json"]))
    golden("report/index.md", without_times(files["index.md"]))
    assert "2명 예약하고 싶어요." not in files["index.html"]
    lines = evaluation_path_of(repo.project.state, build).read_text("utf-8").splitlines()
    assert json.loads(files["cafe.json"])["examples"] == list(map(json.loads, lines))
    for line in map(json.loads, lines):
        assert line["messages"][-1]["content"] in files["cafe.html"]


def test_the_same_repository_gives_the_same_bytes(repo, report):
    cafe.train(repo, rows=24)
    assert report() == report()


def test_one_fine_tune_is_written_without_an_index(repo, report):
    cafe.train(repo, rows=24)
    repo.declare("other", **cafe.SPEC)
    code, screen, files = report("cafe", "--format", "markdown", "--format", "json")
    assert (code, screen) == (0, "Wrote 2 files. Open /out/cafe.md\n")
    assert sorted(files) == ["cafe.json", "cafe.md"]
    _, _, files = report("cafe", "--format", "html")
    assert "index.html" not in files["cafe.html"]
    assert "cafe.json" not in files["cafe.html"]


def test_json_says_what_was_written(repo, report):
    repo.declare()
    code, screen, _ = report("faq", "--json")
    assert code == 0
    assert json.loads(screen) == {"folder": "/out", "files": ["faq.html", "faq.md", "faq.json"]}


def test_a_declared_fine_tune_without_a_model(repo, report):
    repo.declare(gate=["stop_rate >= 1"])
    code, _, files = report()
    assert code == 0
    assert "not trained" in files["faq.html"]
    assert """`["stop_rate >= 1"]`""" in files["faq.md"]
    value = json.loads(files["faq.json"])
    assert (value["build"], value["answers"], value["examples"]) == (None, None, [])
    assert [one["examples"] for one in value["data"]["splits"]] == [17, 7]


def test_an_empty_repository_has_an_index(report):
    code, _, files = report()
    assert code == 0
    assert json.loads(files["index.json"]) == {"format": 1, "commit": None, "finetunes": []}


def test_a_gate_that_failed(repo, report):
    cafe.train(repo, rows=48, good=0.4, poor=0.5)
    _, _, files = report()
    assert re.search(
        r"## cafe: ❌ failed\n\naccuracy &gt;= 0.8: accuracy is 0\.\d+", files["cafe.md"]
    )


def test_an_evaluation_of_another_machine(repo, report):
    cafe.train(repo, rows=24)
    shutil.rmtree(repo.project.state)
    code, _, files = report()
    assert code == 0
    assert "Its answers are not on this machine" in files["cafe.html"]
    value = json.loads(files["cafe.json"])
    assert value["scores"][0]["name"] == "accuracy"
    assert value["curve"] is None


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (b'{"messages": [', "line 4: is not JSON"),
        (b'{"messages": 1}', "line 4: Expected `array`"),
        (b"\xff\xfe\xff", "line 4: is not JSON"),
        (b"null", "line 4: Expected `object`, got `null`"),
    ],
)
def test_a_damaged_evaluation_file_is_named_and_hides_no_scores(repo, report, damage, words):
    build = cafe.train(repo, rows=24)
    path = evaluation_path_of(repo.project.state, build)
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([*lines[:3], damage, *lines[3:]]) + b"\n")
    code, screen, files = report()
    assert code == 0
    name = path.relative_to(repo.root)
    assert f"! cafe: {name} is damaged: {words}" in screen
    assert "is damaged" in files["cafe.html"]
    value = json.loads(files["cafe.json"])
    assert (value["answers"], value["examples"]) == (None, [])
    assert value["scores"][0]["rows"][0]["value"] is not None


@pytest.mark.parametrize("left", [0, 3])
def test_an_evaluation_file_that_lost_lines_is_named(repo, report, left):
    build = cafe.train(repo, rows=24)
    path = evaluation_path_of(repo.project.state, build)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:left]))
    code, screen, files = report()
    assert code == 0
    words = f"is damaged: it has {left} of at least {len(lines)} lines"
    assert words in screen
    assert "is damaged" in files["cafe.html"]
    assert "Plain texts" not in files["cafe.html"]


def test_a_damaged_curve_is_named(repo, report):
    build = cafe.train(repo, rows=24)
    cafe.curve(repo, build)
    (path,) = (repo.project.state / "curves").glob("*.jsonl")
    path.write_text('{"step": "x"}\n')
    _, _, files = report()
    assert f"{path.name} is damaged" in files["cafe.html"]


def test_losses_that_are_not_finite_are_left_out(repo, report):
    build = cafe.train(repo, rows=24)
    cafe.curve(repo, build, 1)
    (path,) = (repo.project.state / "curves").glob("*.jsonl")
    path.write_text('{"step": 1, "train_loss": 2.0}\n{"step": 2, "train_loss": "nan"}\n')
    _, _, files = report()
    assert json.loads(files["cafe.json"])["curve"]["points"][1]["train_loss"] is None


def test_data_that_is_gone_is_named(repo, report):
    cafe.train(repo, rows=24)
    (repo.root / "finetunes/data/faq.csv").unlink()
    code, _, files = report()
    assert code == 0
    assert "The data cannot be read here" in files["cafe.html"]
    assert [one["examples"] for one in json.loads(files["cafe.json"])["data"]["splits"]] == [17, 7]


def test_data_that_changed_since_is_named(repo, report):
    cafe.train(repo, rows=24)
    repo.write("finetunes/data/faq.csv", cafe.table(32))
    _, _, files = report()
    assert "The build has other data: 17 examples, 7 held out." in files["cafe.md"].replace(
        "\\", ""
    )


def test_a_spec_with_problems_is_named(repo, report):
    cafe.train(repo, rows=24)
    path = repo.root / "finetunes/cafe.yaml"
    path.write_text(path.read_text().replace('"backend"', '"backends"'))
    code, _, files = report()
    assert code == 0
    assert "The spec has problems, so it is not shown" in files["cafe.html"]
    assert "accuracy" in files["cafe.html"]


def test_a_removed_spec_is_named(repo, report):
    cafe.train(repo, rows=24)
    repo.withdraw("cafe")
    _, _, files = report()
    assert "The spec was removed" in files["cafe.html"]


def test_private_data_is_named_on_the_screen(repo, report):
    value = {"sensitivity": "private", "held_out": {"fraction": 0.25}}
    value["train"] = [
        {"path": "data/faq.csv", "columns": {"user": "question", "assistant": "answer"}}
    ]
    cafe.train(repo, rows=24, data=value)
    _, screen, files = report()
    assert "! cafe: its data is declared private" in screen
    assert "do not publish" in files["cafe.html"]
    assert "예약하고" not in files["cafe.md"]


def test_a_name_that_nothing_has(repo, report):
    repo.declare("cafe")
    code, screen, files = report("caffe")
    assert code == 1
    assert screen == "no fine-tune is called caffe\n    Did you mean `cafe`?\n"
    assert files == {}


def test_a_name_that_leads_out_of_the_folder_is_refused(repo, report):
    cafe.train(repo, rows=24)
    path = repo.root / LOCKFILE
    path.write_text(path.read_text().replace('"cafe": {', '"../cafe": {'))
    code, screen, files = report()
    assert code == 1
    assert "'../cafe' is not a name for a fine-tune" in screen
    assert files == {}


def test_a_folder_that_cannot_be_written(repo, tmp_path, capsys):
    repo.declare()
    (tmp_path / "file").write_text("")
    code = run(["--dir", str(repo.root), "report", "--out", str(tmp_path / "file" / "out")])
    assert code == 1
    assert "Not a directory" in capsys.readouterr().err


def test_without_a_folder_the_option_is_named(repo, capsys):
    assert run(["--dir", str(repo.root), "report"]) == 64
    assert "--out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("damage", "words"), [(b"", "it is empty"), (b'{"messages": [\n', "a line is not JSON")]
)
def test_show_names_a_damaged_evaluation_file_too(repo, capsys, damage, words):
    path = evaluation_path_of(repo.project.state, cafe.train(repo, rows=24))
    path.write_bytes(damage)
    assert run(["--dir", str(repo.root), "show", "cafe"]) == 1
    assert f"is damaged: {words}\n    Delete it" in capsys.readouterr().err
    path.unlink()
    assert run(["--dir", str(repo.root), "show", "cafe"]) == 0
