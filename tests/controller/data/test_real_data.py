"""Real data sets, where they are at hand: counts that were checked by other means."""

import json
from collections import Counter
from pathlib import Path

import pytest

SHARED = Path(__file__).parents[4] / "shared" / "data"
KOREAN = SHARED / "chatbot-ko" / "ChatbotData.csv"
DEMOS = SHARED / "llamafactory-demo"

pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="no shared/data beside the repository")


@pytest.mark.parametrize("encoding", ["utf-8", "cp949", "utf-16"])
def test_korean_questions_and_answers(repository, encoding):
    repository.write("chat.csv", KOREAN.read_text().encode(encoding))
    dataset = repository.build(
        {"path": "chat.csv", "columns": {"user": "Q", "assistant": "A"}}, held_out={"fraction": 0.1}
    )
    assert (dataset.train.examples, dataset.held_out.examples) == (10_603, 1_147)
    assert dataset.train.digest == (
        "sha256:4deac0d7490831bc7efd1410fc07032c55cb086052ba89307d2790e3c7822c3e"
    )
    (source,) = dataset.report.sources
    assert source.encoding == encoding.upper()
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


def test_preference_pairs_are_refused(repository):
    repository.write("dpo.json", (DEMOS / "dpo_en_demo.json").read_text())
    problems = repository.problems("dpo.json")
    assert "preference pair" in problems[0].message
    assert problems[-1].message == "and 297 more of these problems"
