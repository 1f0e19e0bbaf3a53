"""Fine-tunes judged by a model at a server: through `ftctl serve`, and servers that misbehave."""

import json
import re

import pytest

from backends.contract.completions import Completion, text_of
from backends.testing import ScriptedBackend
from tests.controller.server.serve_helpers import TOKEN, serving
from tests.servers.chat_server import ChatServer

pytestmark = pytest.mark.usefixtures("installed")

HELD_OUT = 12
DATA = """\
backend: scripted
base_model: acme/base
data:
  train: [{path: data/train.jsonl}]
  held_out: [{path: data/held.jsonl}]
"""
RUBRIC = (
    "evaluation: {compare_to: [base], metrics: [{judge: {name: helpful, model: judge-ko, endpoint: court, "
    'rubric: "정중하고 정확하게 답한다.", scale: [1, 5]}}]}\n'
    'gate: ["helpful >= 4", "helpful > base.helpful @ 95%"]\n'
)
PAIRS = (
    "evaluation: {compare_to: [base], metrics: [{judge: {model: judge-ko, endpoint: court, rubric: 친절, "
    'against: base}}]}\ngate: ["judge >= 0.6"]\n'
)


def row(number: int, name: str) -> str:
    asked = {"role": "user", "content": f"{name} 질문 {number}: 몇 시에 여나요?"}
    answer = {"role": "assistant", "content": f"{number}시에 엽니다."}
    return json.dumps({"messages": [asked, answer]}, ensure_ascii=False) + "\n"


@pytest.fixture
def court(shell, monkeypatch):
    """Return a repository, and a function that names the server of its judge."""
    monkeypatch.setenv("COURT_KEY", TOKEN)
    for split, count in (("train", 20), ("held", HELD_OUT)):
        lines = "".join(row(number, split) for number in range(count))
        shell.write(f"finetunes/data/{split}.jsonl", lines)

    def at(url: str, more: str = RUBRIC, data: str = DATA) -> None:
        settings = {"kind": "compatible", "base_url": url, "api_key_env": "COURT_KEY"}
        shell.write("ftctl.yaml", json.dumps({"endpoints": {"court": settings}}))
        shell.write("finetunes/faq.yaml", data + more)

    return at


def part(text: str, name: str) -> str:
    """Return what a prompt of a judge shows under a name."""
    found = re.search(rf"\[\[{name} ([0-9a-f]+)\]\]\n(.*?)\n\[\[end \1\]\]", text, re.DOTALL)
    return found[2]


def fair(_model, prompt):
    """Judge as the expected answer says."""
    text = text_of(prompt.messages[-1])
    expected = part(text, "an answer that people expect")
    if "[[answer A" in text:
        best = "A" if part(text, "answer A") == expected else "B"
        said = f"Both are short.\n\n**Better: {best}**"
    else:
        good = 4 + len(expected) % 2  # `3시에 엽니다.` is one shorter than `10시에 엽니다.`
        said = f"판단했습니다.\nScore: {good if part(text, 'the answer') == expected else 2}"
    return Completion(text=said, finish_reason="stop")


def strict(_model, _prompt):
    return Completion(text="Score: 2", finish_reason="stop")


def recorded(shell):
    entry = json.loads((shell.root / "finetunes/ftctl.lock").read_text())["finetunes"]["faq"]
    (build,) = entry["builds"].values()
    return entry, build.get("evaluation")


def kept_opinions(shell) -> int:
    """Return the number of opinions that are kept."""
    files = [path.read_bytes() for path in (shell.root / ".ftctl/answers").glob("*.jsonl")]
    return sum(one.count(b"\n") - 1 for one in files if b"openai@court" in one.split(b"\n")[0])


@pytest.mark.parametrize(
    "case",
    [
        (fair, RUBRIC, 0, {"helpful": 4.166667}),
        (strict, RUBRIC, 4, {"helpful": 2}),
        (fair, PAIRS, 0, {"judge": 1}),
    ],
    ids=["passes", "fails", "is preferred"],
)
def test_a_model_over_ftctl_serve_decides(shell, court, tmp_path, case):
    judge, more, code, score = case
    root = tmp_path / "served"
    root.mkdir()
    backend = ScriptedBackend(root / ".ftctl", answer=judge)
    with serving(root, backend, base_models=["judge-ko"]) as server:
        court(server.url, more)
        said = shell("apply", "--auto-approve")
        assert said[0] == code, said[1]
    entry, evaluation = recorded(shell)
    assert {name: evaluation["scores"]["candidate"][name] for name in score} == score
    assert ("production" in entry) == (code == 0)
    if more is PAIRS:
        assert "0 of 12 verdicts of judge-ko (0%) changed with the order" in said[1]
        assert "judge" not in evaluation["scores"]["base"]
    else:
        assert evaluation["scores"]["base"]["helpful"] == 2
    # The server is gone, and nobody is asked again.
    loose = "gate: []\n" if code else 'gate: ["held_out_loss <= 9"]\n'
    court(server.url, more.partition("gate:")[0] + loose)
    assert shell("apply", "--auto-approve")[0] == 0
    evaluated = shell("evaluate", "faq", "--auto-approve")
    assert evaluated[0] == 0, evaluated[1]
    assert "asks = nobody: all 24 answers are kept, at $0.00" in evaluated[1]


def test_the_plan_warns_of_a_judge_that_decides_alone(shell, court):
    court("http://127.0.0.1:9/v1")
    assert "the gate asks judge-ko alone, and a judge errs as models do" in shell("plan")[1]


def test_a_judge_that_is_down_leaves_the_verdict_open_and_answers_kept(shell, court):
    with ChatServer(answer=lambda *_: "Score: 5") as server:
        server.credit = 9
        court(server.url)
        code, text = shell("apply", "--auto-approve")
        assert code == 1
        assert "no credit left" in text
        entry, evaluation = recorded(shell)
        assert evaluation is None
        assert "production" not in entry
        assert server.count == 9
        had, first = kept_opinions(shell), {*server.asked}
        assert 0 < had <= 9  # an answer that was under way when another failed may be lost
        server.credit = None
        code, text = shell("apply", "--auto-approve")
        # The judge likes both as much, so nothing shows that the candidate is better.
        assert code == 4, text
        # The server may read what was sent before the failure only now.
        assert len(server.asked) == 2 * HELD_OUT
        assert sum(server.asked[one] > 1 for one in first) == 9 - had


def test_a_judge_at_its_rate_limit_is_waited_for(shell, court):
    with ChatServer(answer=lambda *_: "Score: 4", per_s=40, burst=2) as server:
        court(server.url, RUBRIC.replace(', "helpful > base.helpful @ 95%"', ""))
        code, text = shell("apply", "--auto-approve")
        assert code == 0, text
        assert server.limited > 0
        assert server.count == 2 * HELD_OUT


@pytest.mark.parametrize(
    ("bad", "code", "said"),
    [
        (24, 1, "helpful: 24 of 24 opinions of judge-ko hold no verdict, so there is no score; the first: 'I would rather not.'"),
        (3, 1, "3 of 24 opinions of judge-ko hold no verdict, so there is no score"),
        (2, 0, "helpful: 2 of 24 opinions of judge-ko hold no verdict, not counted"),
    ],
)  # fmt: skip
def test_nonsense_is_not_counted_and_much_of_it_gives_no_score(shell, court, bad, code, said):
    left = iter(range(10**6))

    def answer(_model, _text):
        return "I would rather not." if next(left) < bad else "Score: 4"

    with ChatServer(answer=answer) as server:
        court(server.url, RUBRIC.replace(', "helpful > base.helpful @ 95%"', ""))
        found, text = shell("apply", "--auto-approve")
        assert found == code, text
        assert said in text
        entry, evaluation = recorded(shell)
        assert ("production" in entry) == (code == 0)
        if code:
            assert evaluation is None
            assert "Write a clearer rubric" in text
            shell("apply", "--auto-approve")
        else:
            assert evaluation["remarks"] == [said]
        assert server.count == 24  # nobody is asked twice


def test_private_data_never_goes_to_a_judge_elsewhere(shell, court):
    private = DATA.replace("  train:", "  sensitivity: private\n  train:")
    court("https://court.example/v1", data=private)
    code, text = shell("validate")
    assert code == 1
    assert "private data never leaves the machine, and openai@court is elsewhere" in text
    assert "evaluation.metrics[0].judge" in text
    court("http://127.0.0.1:9/v1", data=private)
    assert shell("validate")[0] == 0


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("against: base", "against: luna", "nothing is compared with luna"),
        ("judge >= 0.6", "judge >= base.judge", "judge compares with base already"),
        ("endpoint: court", "endpoint: cuort", "no endpoint is called 'cuort'"),
        ("against: base", "against: base, scale: [1, 3]", "has no scale"),
        ("rubric: 친절, against: base", "rubric: 친절, scale: [5, 1]", "a scale from 5 to 1 has no scores"),
        ("rubric: 친절, ", "", "rubric"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_before_training(shell, court, old, new, said):
    court("http://127.0.0.1:9/v1", PAIRS.replace(old, new))
    code, text = shell("validate")
    assert code == 1, text
    assert said in text


def test_a_comparison_with_production_holds_while_there_is_none(shell, court):
    beside = PAIRS.replace("compare_to: [base]", "compare_to: [base, production]").replace(
        "against: base", "against: production"
    )
    with ChatServer(answer=lambda *_: "Better: A") as server:
        court(server.url, beside)
        code, text = shell("apply", "--auto-approve")
        assert code == 0, text
        first = recorded(shell)[0]["production"]
        assert server.count == 0
        court(server.url, beside + "seed: 7\n")
        code, text = shell("apply", "--auto-approve")
        # Both models answer the same, which is a tie without a question.
        assert code == 4, text
        assert "judge >= 0.6: judge is 0.5" in text
        entry = json.loads((shell.root / "finetunes/ftctl.lock").read_text())["finetunes"]["faq"]
        assert entry["production"] == first
        assert server.count == 0


def test_a_verdict_that_depends_on_the_order_is_a_tie(shell, court):
    with ChatServer(answer=lambda *_: "Better: A") as server:
        court(server.url, PAIRS)
        code, text = shell("apply", "--auto-approve")
        assert code == 4
        assert "judge is 0.5" in text
        assert "12 of 12 verdicts of judge-ko (100%) changed with the order" in text
        assert server.count == 2 * HELD_OUT


def test_what_is_retained_needs_a_metric_by_rule(shell, court):
    retain = "retain: [{name: old, path: data/held.jsonl, metric: {judge: {model: m, rubric: r}}}]"
    court("http://127.0.0.1:9/v1", PAIRS.replace("evaluation: {", f"evaluation: {{{retain}, "))
    code, text = shell("validate")
    assert code == 1
    assert "judge scores answers to held-out prompts alone" in text
