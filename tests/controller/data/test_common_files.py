"""Files as people have them: small samples, and public data sets where they are at hand.

The samples are our own (`tests/samples`). Public data sets are never part of this repository; a
test that reads one names it when it is skipped.
"""

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.tiny_base import make_base

ROOT = Path(__file__).parents[3]
SAMPLES = ROOT / "tests" / "samples"
PUBLIC = ROOT.parent / "shared" / "data"
[SHIPPED_TEMPLATE] = (ROOT / "backends" / "local_gpu").rglob("chatml.jinja")


def sample(name, *expected):
    return pytest.param(SAMPLES / name, *expected, id=name)


def public(name, *expected):
    path = PUBLIC / name
    reason = f"the public data set {name} is not in shared/data beside the repository"
    skip = pytest.mark.skipif(not path.is_file(), reason=reason)
    return pytest.param(path, *expected, id=path.name, marks=skip)


KOREAN = "chatbot-ko/ChatbotData.csv"
ALPACA = "llamafactory-demo/alpaca_en_demo.json"
TOOLS = "llamafactory-demo/glaive_toolcall_en_demo.json"
PAIRS = "llamafactory-demo/dpo_en_demo.json"
WIKI = "llamafactory-demo/wiki_demo.txt"

WRITTEN = {
    "utf-8": lambda text: text.encode(),
    "utf-8, another folder": lambda text: text.encode(),
    "utf-8 with BOM": lambda text: text.encode("utf-8-sig"),
    "utf-16": lambda text: text.encode("utf-16"),
    "utf-16, CRLF": lambda text: text.replace("\n", "\r\n").encode("utf-16"),
    "cp949": lambda text: text.encode("cp949"),
    "cp949, CRLF": lambda text: text.replace("\n", "\r\n").encode("cp949"),
    "utf-8, CRLF": lambda text: text.replace("\n", "\r\n").encode(),
}
"""Ways in which people save one table."""


@pytest.mark.parametrize("how", WRITTEN)
@pytest.mark.parametrize(
    ("path", "sizes", "counts", "digest"),
    [
        sample(
            "chat.csv",
            (17, 2),
            (20, 19, 1),
            "sha256:82351b688d5701701533c7ca237e7b0b9a8d3890e1316747495c81539db9bb48",
        ),
        public(
            KOREAN,
            (10_603, 1_147),
            (11_823, 11_750, 73),
            "sha256:4deac0d7490831bc7efd1410fc07032c55cb086052ba89307d2790e3c7822c3e",
        ),
    ],
)
def test_questions_and_answers_are_the_same_however_saved(
    repository, path, sizes, counts, digest, how
):
    place = "moved/elsewhere/대화.csv" if "folder" in how else "chat.csv"
    repository.write(place, WRITTEN[how](path.read_text(encoding="utf-8")))
    dataset = repository.build(
        {"path": place, "columns": {"user": "Q", "assistant": "A"}}, held_out={"fraction": 0.1}
    )
    assert (dataset.train.examples, dataset.held_out.examples) == sizes
    assert dataset.train.digest == digest
    (source,) = dataset.report.sources
    assert source.encoding == how.partition(",")[0].partition(" ")[0].upper()
    deduplicate = dataset.report.steps[1]
    assert (source.rows, source.examples, deduplicate.dropped) == counts


@pytest.mark.parametrize(("path", "distinct"), [sample("alpaca.json", 20), public(ALPACA, 985)])
def test_instructions(repository, path, distinct):
    rows = json.loads(path.read_text(encoding="utf-8"))
    repository.write("alpaca.json", path.read_bytes())
    dataset = repository.build("alpaca.json")
    assert len({tuple(sorted(row.items())) for row in rows}) == distinct
    assert dataset.train.examples + dataset.held_out.examples == distinct


@pytest.mark.parametrize(
    ("path", "asked", "answered", "called"),
    [sample("tools.json", 26, 26, 8), public(TOOLS, 746, 746, 211)],
)
def test_sharegpt_with_tools(repository, path, asked, answered, called):
    content = path.read_text(encoding="utf-8")
    rows = json.loads(content)
    repository.write("tools.json", content)
    dataset = repository.build("tools.json", prepare={"deduplicate": "off"})
    text = dataset.train.path.read_text() + dataset.held_out.path.read_text()
    examples = [json.loads(line) for line in text.rstrip("\n").split("\n")]
    roles = Counter(message["role"] for one in examples for message in one["messages"])
    assert roles == {"user": asked, "assistant": answered + called, "tool": called}
    calls = sum("tool_calls" in message for one in examples for message in one["messages"])
    assert calls == called
    assert sum("tools" in one for one in examples) == sum(row["tools"] != "[]" for row in rows)
    once = repository.build("tools.json")
    distinct = len({json.dumps(row) for row in rows})
    assert once.train.examples + once.held_out.examples == distinct


@pytest.mark.parametrize(("path", "more"), [sample("pairs.json", 16), public(PAIRS, 297)])
def test_preference_pairs_are_refused_where_answers_are_learned(repository, path, more):
    repository.write("dpo.json", path.read_bytes())
    problems = repository.problems("dpo.json")
    assert "preference pair" in problems[0].message
    assert problems[-1].message == f"and {more} more of these problems"


# --- real consumers -----------------------------------------------------------------------------

OPENAI = "backend: openai\nbase_model: gpt-4.1-mini-2025-04-14\n"
LOCAL = "backend: local-gpu\nbase_model: ../models/tiny\n"
TABLE = """\
data:
  train:
    - path: data/FILE
      columns: {user: Q, assistant: A}
  held_out: {fraction: 0.1}
"""
ONE_FILE = "data:\n  train: [{path: data/FILE}]\n  held_out: {fraction: 0.1}\n"
FEW = ONE_FILE.replace("0.1", "0.3")
TEXT = """\
method: continued-pretraining
data:
  train:
    - path: data/FILE
      chunk: paragraph
  held_out: {fraction: 0.2}
"""


@pytest.mark.parametrize(
    ("path", "data", "examples", "tools"),
    [
        sample("chat.csv", TABLE, 19, 0),
        sample("alpaca.json", FEW, 20, 0),
        sample("tools.json", FEW, 17, 8),
        public(KOREAN, TABLE, 11_750, 0),
        public(ALPACA, ONE_FILE, 985, 0),
        public(TOOLS, ONE_FILE, 265, 172),
    ],
)
def test_conversations_are_what_the_service_describes(typed, official, path, data, examples, tools):
    typed.use(path, OPENAI + data)
    built = typed.json("data", "build", "real")
    lines = typed.examples(built)

    assert len(lines) == examples
    assert built["train"]["tokens"] > 4 * examples
    assert sum("tools" in one for one in lines) == tools
    for one in lines:
        assert one.keys() <= {"messages", "tools", "parallel_tool_calls"}
        official.check(one["messages"], one.get("tools", ()))
    seen = typed("data", "preview", "real", "-n", "2")
    assert "<|im_start|>assistant\n⟦" in seen


@pytest.mark.parametrize(("path", "examples"), [sample("pairs.json", 19), public(PAIRS, 295)])
def test_preference_pairs_are_what_the_service_describes(typed, official, path, examples):
    typed.use(path, f"{OPENAI}method: dpo\n{FEW}")
    lines = typed.examples(typed.json("data", "build", "real"))

    assert len(lines) == examples
    for one in lines:
        assert one.keys() == {"input", "preferred_output", "non_preferred_output"}
        official.check(one["input"]["messages"], one["input"].get("tools", ()))
        assert one["preferred_output"] != one["non_preferred_output"]
        for key in ("preferred_output", "non_preferred_output"):
            assert [message["role"] for message in one[key]] == ["assistant"]
            official.check(one[key])
    seen = typed("data", "preview", "real", "-n", "1")
    assert "assistant (preferred)\n⟦" in seen
    assert "assistant (not preferred)\n⟦" in seen


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Make a base model that reads long conversations, with the template that ftctl ships."""
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("bases") / "tiny"
    return make_base(folder, SHIPPED_TEMPLATE.read_text(), max_position_embeddings=1 << 16)


@pytest.fixture
def local(typed, base, tmp_path, monkeypatch):
    """Type into a repository whose jobs run here, on devices of its own."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    (typed.root / "models").mkdir()
    (typed.root / "models" / "tiny").symlink_to(base)
    return typed


@pytest.mark.torch
@pytest.mark.parametrize(
    ("path", "data", "examples"),
    [
        public(KOREAN, TABLE, 11_750),
        public(ALPACA, ONE_FILE, 985),
        public(TOOLS, ONE_FILE, 265),
        public(WIKI, TEXT.replace("paragraph", "2000"), 552),
    ],
)
def test_every_row_can_be_trained_on_here(local, path, data, examples):
    local.use(path, LOCAL + data)
    built = local.json("data", "build", "real")
    assert built["train"]["examples"] + built["held_out"]["examples"] == examples
    assert "⟦" in local("data", "preview", "real", "-n", "1")


@pytest.mark.torch
@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize(
    ("path", "data"),
    [
        sample("chat.csv", TABLE),
        sample("alpaca.json", FEW),
        sample("tools.json", FEW),
        sample("text.txt", TEXT),
    ],
)
def test_the_local_trainer_learns_from_it(local, path, data):
    spec = LOCAL + data
    spec += "hyperparameters: {num_train_epochs: 1, per_device_train_batch_size: 16}\n"
    if path.suffix != ".txt":  # plain texts are asked nothing
        spec += "evaluation: {max_tokens: 8}\n"
    local.use(path, spec)

    built = local.json("data", "build", "real")
    assert "⟦" in local("data", "preview", "real", "-n", "1")
    local("apply", "--auto-approve")
    (build,) = json.loads((local.root / "finetunes" / "ftctl.lock").read_text())["finetunes"][
        "real"
    ]["builds"].values()
    assert build["facts"]["trained_tokens"] > 0
    assert build["data"]["train"]["digest"] == built["train"]["digest"]
