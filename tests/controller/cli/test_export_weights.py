"""`ftctl export` of weights and `ftctl model --path`, as people type them."""

import json
import shlex
from dataclasses import replace

import pytest

from backends.testing import ScriptedBackend
from tests.servers.hub_server import Hub, hub_server

# The hub client's own call of its HTTP library.
pytestmark = [
    pytest.mark.usefixtures("installed"),
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),
]
GATE = 'gate: ["exact_match >= {}"]\nevaluation: {{metrics: [exact_match]}}\n'


@pytest.fixture
def applied(shell):
    shell.declare(more=GATE.format(0) + "description: Answers of a cafe.\n")
    assert shell("apply", "--auto-approve")[0] == 0
    return shell


@pytest.fixture
def out(applied):
    return applied.root / "out"


def export(shell, out, *more):
    return shell("export", "faq", "--format", "adapter", "--out", str(out), *more)


def fingerprint(shell):
    _, value = shell.json("model", "faq")
    return value["fingerprint"].partition(":")[2]


def test_the_build_in_production_is_exported(applied, out, golden):
    code, text = export(applied, out)
    assert code == 0, text
    digits = fingerprint(applied)
    golden("export/weights.txt", text.replace(digits[:12], "BUILD"))
    manifest = json.loads((out / "export.json").read_text())
    _, model = applied.json("model", "faq")
    assert manifest["model_id"] == model["model_id"]
    assert manifest["files"].keys() == {"README.md", "weights.txt"}
    card = (out / "README.md").read_text()
    assert "Answers of a cafe." in card
    assert "### Scores" in card
    assert "| `exact_match` | " in card
    assert "/data/faq.csv` |" in card
    assert "| not declared |" in card
    assert "hyperparameters.learning" in card
    assert "- scripted: 2 of 3 greedy answers equal, 1 with a near tie" in card
    assert "> It has no weights." in card
    # The same word, and again: an earlier export is replaced.
    assert applied("export", "faq", "--format", "adapter", "--to", str(out))[0] == 0


def test_a_folder_with_blanks_is_one_word_of_the_command(applied):
    target = applied.root / "내 모델" / "it's"
    code, text = export(applied, target)
    assert code == 0, text
    (line,) = [line for line in text.splitlines() if line.startswith("Use it: ")]
    words = shlex.split(line.removeprefix("Use it: "))
    assert (words[0], len(words)) == ("cat", 2)
    assert words[1].endswith("/내 모델/it's/weights.txt")
    assert "cat ./weights.txt" in (target / "README.md").read_text()


def test_it_is_json_for_programs(applied, out):
    code, value = applied.json("export", "faq", "--format", "adapter", "--out", str(out))
    assert code == 0
    assert (value["folder"], value["url"], value["format"]) == ("/repository/out", None, "adapter")
    assert value["checks"][0]["by"] == "scripted"


def test_another_build_is_named_by_its_first_digits(applied, out):
    digits = fingerprint(applied)
    for wanted in (digits[:12], f"ft1:{digits}", digits[0]):
        assert export(applied, out, "--build", wanted)[0] == 0
    code, text = export(applied, out, "--build", "zzz")
    assert (code, "--build: faq: no build begins with 'zzz'" in text) == (1, True)
    assert digits[:12] in text
    assert export(applied, out, "--build", "")[0] == 1


def test_a_prompt_has_no_weights(shell):
    shell.declare(more="method: prompt\n" + GATE.format(0))
    assert shell("apply", "--auto-approve")[0] == 0
    words = "faq has no weights of its own: nothing was trained\n    Use the base model: acme/base."
    code, text = export(shell, shell.root / "out")
    assert (code, words in text) == (1, True), text
    code, text = shell("model", "faq", "--path")
    assert (code, words in text) == (1, True), text


def test_without_a_model_in_production_there_is_nothing(shell):
    shell.declare(more=GATE.format(1.5))
    assert shell("apply", "--auto-approve")[0] == 4
    code, text = export(shell, shell.root / "out")
    assert (code, "faq has no model in production" in text) == (1, True)
    code, text = shell("model", "faq", "--path")
    assert (code, "has no model in production" in text) == (1, True)


def test_a_format_that_the_backend_lacks_is_named(applied, out):
    code, text = applied("export", "faq", "--format", "gguf", "--out", str(out))
    assert (code, "backend scripted exports no gguf" in text) == (1, True)
    assert "adapter" in text
    assert not out.exists()


def test_a_service_keeps_its_weights(applied, out, monkeypatch):
    can = replace(ScriptedBackend(applied.root).capabilities(), remote=True, exports=frozenset())
    monkeypatch.setattr(ScriptedBackend, "capabilities", lambda _: can)
    monkeypatch.setattr(ScriptedBackend, "weights_folder", lambda *_: None)
    code, text = export(applied, out)
    assert (code, "cannot be exported: the service that trained it keeps them" in text) == (1, True)
    assert "ftctl help migration" in text
    code, text = applied("model", "faq", "--path")
    assert (code, "are not on this machine: scripted keeps them" in text) == (1, True)


@pytest.mark.parametrize(
    ("form", "more", "words"),
    [
        ("adapter", ["--model", "base"], "--model: has no meaning for weights"),
        ("inspect", ["--build", "a"], "--build: has no meaning for logs"),
        ("promptfoo", ["--push-to", "a/b", "--public"], "--push-to, --public: has no meaning"),
        ("adapter", ["--public"], "--public: there is no repository to make public"),
        ("adapter", ["--push-to", "cafe"], "--push-to: 'cafe' is not the ID of a repository"),
    ],
)
def test_options_without_a_meaning_are_refused(applied, out, form, more, words):
    code, text = applied("export", "faq", "--format", form, "--out", str(out), *more)
    assert (code, words in text) == (1, True), text
    assert not out.exists()


def test_a_folder_of_a_person_is_left_alone(applied, out):
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    code, text = export(applied, out)
    assert (code, "exists and is not an export of ftctl" in text) == (1, True)
    assert (out / "notes.txt").read_text() == "mine"


def test_a_model_that_is_gone_is_named(applied, out):
    _, model = applied.json("model", "faq")
    applied.backend.delete(model["model_id"])
    code, text = export(applied, out)
    assert (code, "there is no model" in text) == (1, True)
    assert not out.exists()
    assert [path.name for path in applied.root.glob(".out*")] == []


def test_the_folder_of_the_weights_is_printed(applied):
    assert applied("model", "faq", "--path") == (0, "/repository/.ftctl\n")
    _, value = applied.json("model", "faq", "--path")
    assert value["path"] == "/repository/.ftctl"
    assert applied("model", "faq")[1].startswith("scripted:faq:")


# ---- the hub


@pytest.fixture
def hub(monkeypatch):
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    with hub_server(Hub()) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def test_an_export_is_uploaded(applied, out, hub):
    code, text = export(applied, out, "--push-to", "acme/faq")
    assert (code, f"uploaded to {hub.url}/acme/faq" in text) == (0, True), text
    assert hub.files["acme/faq"] == {path.name: path.read_bytes() for path in out.iterdir()}
    assert hub.commits == [f"faq: build {fingerprint(applied)[:12]}, adapter"]


def test_private_data_goes_to_private_repositories_only(applied, out, hub):
    path = applied.root / "finetunes/faq.yaml"
    path.write_text(path.read_text().replace("data:\n", "data:\n  sensitivity: private\n"))
    code, text = export(applied, out, "--push-to", "acme/faq", "--public")
    assert (code, "the data is declared private" in text) == (1, True)
    assert (out.exists(), hub.asked) == (False, [])
    code, text = export(applied, out, "--push-to", "acme/faq")
    assert (code, "! faq: its data is declared private" in text) == (0, True)
    assert hub.private == {"acme/faq": True}


def test_an_upload_that_fails_keeps_the_export(applied, out, hub):
    hub.status = 403
    code, text = export(applied, out, "--push-to", "acme/faq")
    assert (code, "does not let HF_TOKEN write to acme/faq" in text) == (1, True)
    assert "the export itself is complete in /repository/out" in text
    assert (out / "export.json").exists()
