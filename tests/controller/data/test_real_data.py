"""Real data sets, where they are at hand: counts that were checked by other means, real consumers."""

import json
from collections import Counter
from pathlib import Path

import pytest

from controller.cli import run

SHARED = Path(__file__).parents[4] / "shared"
DATA = SHARED / "data"
KOREAN = DATA / "chatbot-ko" / "ChatbotData.csv"
DEMOS = DATA / "llamafactory-demo"
DESCRIPTION = SHARED / "openai" / "openapi-finetuning.yaml"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="no shared/data beside the repository")

KOREAN_DIGEST = "sha256:4deac0d7490831bc7efd1410fc07032c55cb086052ba89307d2790e3c7822c3e"
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
def test_korean_questions_and_answers_are_the_same_however_saved(repository, how):
    place = "moved/elsewhere/대화.csv" if "folder" in how else "chat.csv"
    repository.write(place, WRITTEN[how](KOREAN.read_text()))
    dataset = repository.build(
        {"path": place, "columns": {"user": "Q", "assistant": "A"}}, held_out={"fraction": 0.1}
    )
    assert (dataset.train.examples, dataset.held_out.examples) == (10_603, 1_147)
    assert dataset.train.digest == KOREAN_DIGEST
    (source,) = dataset.report.sources
    assert source.encoding == how.partition(",")[0].partition(" ")[0].upper()
    deduplicate = dataset.report.steps[1]
    assert (source.rows, source.examples, deduplicate.dropped) == (11_823, 11_750, 73)


def test_alpaca(repository):
    content = (DEMOS / "alpaca_en_demo.json").read_text()
    repository.write("alpaca.json", content)
    dataset = repository.build("alpaca.json")
    distinct = {tuple(sorted(row.items())) for row in json.loads(content)}
    assert dataset.train.examples + dataset.held_out.examples == len(distinct) == 985


def test_sharegpt_with_tools(repository):
    content = (DEMOS / "glaive_toolcall_en_demo.json").read_text()
    rows = json.loads(content)
    repository.write("tools.json", content)
    dataset = repository.build("tools.json", prepare={"deduplicate": "off"})
    text = dataset.train.path.read_text() + dataset.held_out.path.read_text()
    examples = [json.loads(line) for line in text.rstrip("\n").split("\n")]
    roles = Counter(message["role"] for one in examples for message in one["messages"])
    assert roles == {"user": 746, "assistant": 746 + 211, "tool": 211}
    calls = sum("tool_calls" in message for one in examples for message in one["messages"])
    assert calls == 211
    assert sum("tools" in one for one in examples) == sum(row["tools"] != "[]" for row in rows)
    once = repository.build("tools.json")
    distinct = len({json.dumps(row) for row in rows})
    assert once.train.examples + once.held_out.examples == distinct


def test_preference_pairs_are_refused_where_answers_are_learnt(repository):
    repository.write("dpo.json", (DEMOS / "dpo_en_demo.json").read_text())
    problems = repository.problems("dpo.json")
    assert "preference pair" in problems[0].message
    assert problems[-1].message == "and 297 more of these problems"


# --- real consumers -----------------------------------------------------------------------------

OPENAI = "backend: openai\nbase_model: gpt-4.1-mini-2025-04-14\n"
LOCAL = "backend: local-gpu\nbase_model: ../models/small\n"
TABLE = """\
data:
  train:
    - path: data/ChatbotData.csv
      columns: {user: Q, assistant: A}
  held_out: {fraction: 0.1}
"""
ONE_FILE = "data:\n  train: [{path: data/FILE}]\n  held_out: {fraction: 0.1}\n"
TEXT = """\
method: continued-pretraining
data:
  train:
    - path: data/wiki_demo.txt
      chunk: 2000
  held_out: {fraction: 0.1}
"""


class Typed:
    """Types commands into a repository with one of the real files."""

    def __init__(self, root, capsys):
        self.root = root
        self._capsys = capsys

    def use(self, path, spec):
        (self.root / "finetunes" / "data").mkdir(parents=True)
        (self.root / "finetunes" / "data" / path.name).write_bytes(path.read_bytes())
        (self.root / "finetunes" / "real.yaml").write_text(spec.replace("FILE", path.name))
        assert len(spec.split("data:\n")[1].split("\nhyper")[0].splitlines()) <= 6

    def __call__(self, *arguments):
        code = run(["--dir", str(self.root), *arguments])
        out, err = self._capsys.readouterr()
        assert code == 0, out + err
        return out

    def json(self, *arguments):
        return json.loads(self(*arguments, "--json"))

    def examples(self, built):
        """Return all lines of both halves, from where the build says its reasons are."""
        folder = Path(built["reasons"]).parent
        texts = [(folder / f"{part}.jsonl").read_text() for part in ("train", "held_out")]
        return [json.loads(line) for text in texts for line in text.rstrip("\n").split("\n")]


@pytest.fixture
def typed(tmp_path, capsys, monkeypatch):
    for name in ("FTCTL_STATE_DIR", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return Typed(tmp_path, capsys)


class Official:
    """What the official SDK's types and the official description say of a message."""

    def __init__(self):
        yaml, jsonschema = map(pytest.importorskip, ("yaml", "jsonschema"))
        chat = pytest.importorskip("openai.types.chat")
        pydantic = pytest.importorskip("pydantic")
        self._message = pydantic.TypeAdapter(chat.ChatCompletionMessageParam)
        self._tool = pydantic.TypeAdapter(chat.ChatCompletionFunctionToolParam)
        components = yaml.safe_load(DESCRIPTION.read_text())["components"]
        name = "FineTuneChatCompletionRequestAssistantMessage"
        self._answer = jsonschema.Draft202012Validator(
            {"$ref": f"#/components/schemas/{name}", "components": components}
        )

    def check(self, messages, tools=()):
        for message in messages:
            read = self._message.validate_python(message)
            assert read["role"] == message["role"]
            # The SDK's types read calls one by one, when somebody asks for them.
            assert len(list(read.get("tool_calls", ()))) == len(message.get("tool_calls", ()))
            if message["role"] == "assistant":
                assert [one.message for one in self._answer.iter_errors(message)] == []
        for tool in tools:
            assert self._tool.validate_python(tool)["function"]["name"]


@pytest.mark.skipif(not DESCRIPTION.exists(), reason="the official description is not here")
@pytest.mark.parametrize(
    ("path", "data", "examples", "tools"),
    [
        (KOREAN, TABLE, 11_750, 0),
        (DEMOS / "alpaca_en_demo.json", ONE_FILE, 985, 0),
        (DEMOS / "glaive_toolcall_en_demo.json", ONE_FILE, 265, 172),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_conversations_are_what_the_service_describes(typed, path, data, examples, tools):
    official = Official()
    typed.use(path, OPENAI + data)
    built = typed.json("data", "build", "real")
    lines = typed.examples(built)

    assert len(lines) == examples
    assert built["train"]["tokens"] > 50_000
    assert sum("tools" in one for one in lines) == tools
    for one in lines:
        assert one.keys() <= {"messages", "tools", "parallel_tool_calls"}
        official.check(one["messages"], one.get("tools", ()))
    seen = typed("data", "preview", "real", "-n", "2")
    assert "<|im_start|>assistant\n⟦" in seen


@pytest.mark.skipif(not DESCRIPTION.exists(), reason="the official description is not here")
def test_preference_pairs_are_what_the_service_describes(typed):
    official = Official()
    path = DEMOS / "dpo_en_demo.json"
    typed.use(path, f"{OPENAI}method: dpo\n{ONE_FILE}")
    lines = typed.examples(typed.json("data", "build", "real"))

    assert len(lines) == 295
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
def small_base(tmp_path_factory):
    make = pytest.importorskip("backends.local_gpu.models.small_base").make_small_base
    folder = tmp_path_factory.mktemp("bases") / "small"
    make(folder, steps=1)
    return folder


SHORT = "  prepare: {max_tokens: 900, over_length: drop}\n"
"""The small base model reads 1,024 tokens."""


CALLS = ONE_FILE.replace("0.1", "0.4").replace("FILE", "FILE, limit: 200")


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "data"),
    [
        (KOREAN, TABLE.replace("Q, assistant: A}", "Q, assistant: A}\n      limit: 60")),
        (DEMOS / "alpaca_en_demo.json", ONE_FILE.replace("FILE", "FILE, limit: 40") + SHORT),
        (DEMOS / "glaive_toolcall_en_demo.json", CALLS + SHORT),
        (DEMOS / "wiki_demo.txt", TEXT.replace("2000", "300\n      limit: 40")),
    ],
    ids=lambda value: getattr(value, "name", ""),
)  # fmt: skip
def test_the_local_trainer_learns_from_it(typed, small_base, monkeypatch, path, data):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    spec = LOCAL + data
    spec += "hyperparameters: {num_train_epochs: 1, per_device_train_batch_size: 16}\n"
    if path.suffix != ".txt":  # plain texts are asked nothing
        spec += "evaluation: {max_tokens: 8}\n"
    typed.use(path, spec)
    (typed.root / "models").mkdir()
    (typed.root / "models" / "small").symlink_to(small_base)

    built = typed.json("data", "build", "real")
    assert "⟦" in typed("data", "preview", "real", "-n", "1")
    typed("apply", "--auto-approve")
    (build,) = json.loads((typed.root / "finetunes" / "ftctl.lock").read_text())["finetunes"][
        "real"
    ]["builds"].values()
    assert build["facts"]["trained_tokens"] > 0
    assert build["data"]["train"]["digest"] == built["train"]["digest"]
