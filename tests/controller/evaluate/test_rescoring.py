"""Whether the newest version of scoring may change recorded scores, and why."""

import json
from pathlib import Path

import pytest

from backends.contract.capabilities import Capabilities
from backends.testing.words import WordInspector
from controller.evaluate.rescoring import with_scoring
from controller.plan.fingerprint import EVALUATION_SCHEME, fingerprint
from controller.plan.versions import newest_inputs

CAN = Capabilities(methods=frozenset({"supervised"}), remote=False, paid=False)
SILENT = Capabilities(
    methods=frozenset({"supervised"}), remote=True, paid=True, measures_loss=False
)
CALL = {"type": "function", "function": {"name": "예약", "arguments": "{}"}}


def held_out(tmp_path: Path, *answers: dict, pairs: bool = False) -> Path:
    """Write examples as the dataset's build writes them: canonical JSON, a line each."""
    asked = {"role": "user", "content": 'tool_calls? "thinking": <b>'}
    examples = [
        {
            "input": {"messages": [asked]},
            "preferred_output": [answer],
            "non_preferred_output": [{"role": "assistant", "content": "몰라요."}],
        }
        if pairs
        else {"messages": [asked, answer]}
        for answer in answers
    ]
    path = tmp_path / "held_out.jsonl"
    lines = [json.dumps(one, ensure_ascii=False, separators=(",", ":")) for one in examples]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def said(content, **keys) -> dict:
    return {"role": "assistant", "content": content, **keys}


def reason(make, path: Path, *, thinks: bool = False, newest: bool = False) -> str:
    desired = make.desired()
    build = make.build(desired)
    if newest:
        inputs = newest_inputs(desired.evaluation_inputs)
        key = fingerprint(EVALUATION_SCHEME, inputs)
        evaluation = build.evaluation.model_copy(update={"inputs": inputs, "fingerprint": key})
        build = build.model_copy(update={"evaluation": evaluation})
    inspector = WordInspector(thinks=thinks)
    return with_scoring(desired, make.entry(build), path, inspector, CAN).rescore_reason


CALLS = "calls of tools are compared as calls"
PARTS = "answers in several parts are compared as one text"
THOUGHTS = "thoughts before an answer are not scored any more"


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (said("네, 가능합니다."), ""),
        (said(""), ""),
        (said('{"tool_calls": []}'), ""),
        (said(None, tool_calls=[CALL]), CALLS),
        (said(None, tool_calls=[]), ""),
        (said([{"type": "text", "text": "네"}]), PARTS),
        (said("<think>음</think>네"), THOUGHTS),
        (said("네", reasoning_content="음"), THOUGHTS),
        (said("네", thinking="음"), THOUGHTS),
    ],
)
def test_older_scores_may_change_by_what_the_answers_hold(make, tmp_path, pairs, answer, expected):
    path = held_out(tmp_path, said("네"), answer, said("아니요"), pairs=pairs)
    assert reason(make, path) == expected


def test_the_first_answer_that_matters_gives_the_reason(make, tmp_path):
    path = held_out(tmp_path, said("<think>음</think>네"), said(None, tool_calls=[CALL]))
    assert reason(make, path) == THOUGHTS


def test_scores_of_the_newest_version_never_change(make, tmp_path):
    missing = tmp_path / "never read"
    assert reason(make, missing, newest=True, thinks=True) == ""


def test_a_model_that_thinks_is_scored_without_its_thoughts(make, tmp_path):
    assert "may begin with thoughts" in reason(make, tmp_path / "never read", thinks=True)


@pytest.mark.parametrize("can", [CAN, SILENT])
def test_a_backend_that_measures_no_loss_is_noted(make, tmp_path, can):
    desired = make.desired()
    found = with_scoring(desired, make.entry(), tmp_path / "never read", WordInspector(), can)
    assert found.measures_loss == can.measures_loss
    assert (found is desired) == can.measures_loss
