"""Evaluations as logs of other tools: golden files, and the tools themselves where they are."""

import json
import os
import shutil
import subprocess

import pytest

from controller.export.evaluated import overview_of
from controller.export.inspect_log import inspect_lines
from controller.export.promptfoo import promptfoo_lines
from tests.controller.export.cafe import CALL, LINES, cafe

TOOL_S = 100


def text_of(lines) -> str:
    return b"".join(lines).decode()


def with_values(**values):
    """Return lines with other values of the candidate."""
    return [{**line, "values": {"candidate": dict(values)}} for line in LINES]


def test_an_evaluation_for_promptfoo(make, golden):
    text = text_of(promptfoo_lines(cafe(make)))
    golden("export/promptfoo.json", text)
    value = json.loads(text)["results"]
    assert (value["stats"]["successes"], value["stats"]["failures"]) == (2, 2)
    outputs = [one["response"]["output"] for one in value["results"]]
    assert outputs[1] == LINES[0]["answers"]["base"]
    assert [one["success"] for one in value["results"]] == [True, False, False, True]


def test_an_evaluation_for_inspect(make, golden):
    text = text_of(inspect_lines(cafe(make)))
    golden("export/inspect.json", text)
    call = json.loads(text)["samples"][1]["messages"][-1]["tool_calls"][0]
    assert call["parse_error"] == "not a JSON object: [3"


def test_one_model_alone(make):
    value = json.loads(text_of(promptfoo_lines(cafe(make), "base")))["results"]
    assert [one["provider"]["id"] for one in value["results"]] == ["base", "base"]
    assert len(value["prompts"]) == 1
    value = json.loads(text_of(inspect_lines(cafe(make), "base")))
    assert value["eval"]["model"] == "acme/base"
    assert value["samples"][0]["output"]["choices"][0]["stop_reason"] == "max_tokens"


@pytest.mark.parametrize(
    ("values", "judged_by"),
    [
        ({"exact_match": 1, "accuracy": 0}, "exact_match"),  # of the gate
        ({"accuracy": 0, "regex_match": 1}, "accuracy"),
        ({"accuracy": None, "chrf": 0.5}, "accuracy"),
        ({"chrf": 0.5, "held_out_loss": 1, "stop_rate": 1}, ""),
        ({}, ""),
    ],
)
def test_which_metric_tells_right_from_wrong(make, values, judged_by):
    overview = overview_of(cafe(make, with_values(**values)))
    assert overview.judged_by == judged_by


def test_answers_are_compared_as_texts_without_such_a_metric(make):
    overview = overview_of(cafe(make, with_values(chrf=0.5)))
    assert overview.roles["candidate"].right == 1


SAME_CALL = {"type": "function", "function": {"name": "book", "arguments": '{ "day":3 }'}}
OTHER_CALL = {"type": "function", "function": {"name": "book", "arguments": '{"day": 4}'}}


@pytest.mark.parametrize(
    ("changes", "is_right"),
    [
        ({"answers": {"candidate": "예"}, "reference": "예"}, True),
        ({"answers": {"candidate": "예"}, "reference": "아니오"}, False),
        ({"answers": {"candidate": "예"}}, False),
        ({"answers": {"candidate": ""}}, False),  # nothing is expected, and nothing was said
        ({"calls": {"candidate": [SAME_CALL]}, "reference_calls": [CALL]}, True),
        ({"calls": {"candidate": [OTHER_CALL]}, "reference_calls": [CALL]}, False),
        ({"calls": {"base": [SAME_CALL]}, "reference_calls": [CALL]}, False),
        ({"calls": {"candidate": [SAME_CALL]}, "reference": "예"}, False),
    ],
)
def test_without_a_metric_texts_and_calls_are_compared(make, changes, is_right):
    line = {
        **LINES[0],
        "reference": None,
        "answers": {"candidate": ""},
        "values": {"candidate": {"chrf": 0.5}},
        **changes,
    }
    evaluated = cafe(make, [line])
    assert overview_of(evaluated).roles["candidate"].right == is_right
    (result,) = json.loads(text_of(promptfoo_lines(evaluated)))["results"]["results"]
    assert result["success"] is is_right


def test_models_are_written_in_one_order_and_a_verdict_is_the_candidate_s_alone(make):
    answers = {"zeta": "z", "base": "b", "alpha": "a", "candidate": "c"}
    evaluated = cafe(make, [{**LINES[0], "answers": answers}])
    value = json.loads(text_of(promptfoo_lines(evaluated)))["results"]
    found = [one["provider"]["id"] for one in value["results"]]
    assert found == ["candidate", "base", "alpha", "zeta"]
    verdicts = {
        role: json.loads(text_of(inspect_lines(evaluated, role)))["eval"]["metadata"]["verdict"]
        for role in answers
    }
    assert verdicts.pop("candidate")["passed"] is True
    assert set(verdicts.values()) == {None}


def test_a_model_that_answered_some_examples_alone_is_counted_with_those(make):
    lines = [LINES[0], {**LINES[1], "answers": {"candidate": "예"}}]
    evaluated = cafe(make, lines)
    assert overview_of(evaluated, ["base"]).roles["base"].examples == 1
    assert json.loads(text_of(inspect_lines(evaluated, "base")))["results"]["total_samples"] == 1


@pytest.mark.parametrize(
    ("call", "name", "arguments"),
    [
        ({"type": "custom", "custom": {"name": "sql", "input": "SELECT 1"}}, "sql", "SELECT 1"),
        ({"type": "custom", "custom": {"name": "stop"}}, "stop", ""),
        ({"type": "function", "function": {"name": "stop"}}, "stop", None),
        ({"type": "function"}, "None", None),
    ],
)
def test_calls_of_every_form_are_written(make, call, name, arguments):
    line = {**LINES[0], "calls": {"candidate": [call]}}
    (sample,) = json.loads(text_of(inspect_lines(cafe(make, [line]))))["samples"]
    (found,) = sample["messages"][-1]["tool_calls"]
    wanted = {} if arguments is None else {"input": arguments}
    assert found == {"id": "call_0", "type": "function", "function": name, "arguments": wanted}


def test_parts_of_a_question_that_are_no_text_are_told(make):
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    asked = [{"role": "user", "content": [{"type": "text", "text": "무엇?"}, image]}]
    call = {"id": "c9", "function": {"name": "book", "arguments": {"day": 3}}}
    line = {**LINES[0], "messages": asked, "calls": {"candidate": [call]}}
    (sample,) = json.loads(text_of(inspect_lines(cafe(make, [line]))))["samples"]
    assert [json.loads(part["text"]) for part in sample["input"][0]["content"][1:]] == [image]
    (found,) = sample["messages"][-1]["tool_calls"]
    assert found == {"id": "c9", "function": "book", "type": "function", "arguments": {"day": 3}}


def test_an_answer_with_a_lone_surrogate_is_written(make):
    odd = [{**LINES[0], "answers": {"candidate": "\ud800"}}]
    assert "?" in text_of(promptfoo_lines(cafe(make, odd)))
    assert "?" in text_of(inspect_lines(cafe(make, odd)))


def refused(constant):
    raise AssertionError(f"{constant} is not JSON")


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        ('{"day": 3, "of": [{"a": null}]}', True),
        (json.dumps({"a": [{"b": [1] * 5000}] * 3}), True),
        ("", True),
        ('{"day": NaN}', False),
        ('{"day": 1e999}', False),
        ('{"day": [-Infinity]}', False),
        ("[" * 100_000, False),  # a model that repeats itself to its last token
        ('{"a":' * 20_000 + "1" + "}" * 20_000, False),
        ('{"a":' * 200 + "1" + "}" * 200, False),
        ("{" + '"day": ' + "9" * 5000 + "}", False),
        ("null", False),
        ("[3]", False),
    ],
)
def test_no_arguments_of_a_call_break_a_log(make, arguments, kept):
    call = {"type": "function", "function": {"name": "book", "arguments": arguments}}
    odd = [{**LINES[1], "calls": {"candidate": [call]}}]
    log = json.loads(text_of(inspect_lines(cafe(make, odd))), parse_constant=refused)
    (found,) = log["samples"][0]["messages"][-1]["tool_calls"]
    if kept:
        assert found["arguments"] == json.loads(arguments or "{}")
        assert "parse_error" not in found
    else:
        assert found["arguments"] == {}
        assert found["parse_error"] == f"not a JSON object: {arguments}"
    json.loads(text_of(promptfoo_lines(cafe(make, odd))), parse_constant=refused)


@pytest.mark.slow
def test_promptfoo_imports_and_shows_it(make, tmp_path):
    program = os.environ.get("PROMPTFOO") or shutil.which("promptfoo")
    if program is None:
        pytest.skip("promptfoo is not installed: npm install --global promptfoo")
    path = tmp_path / "evaluation.json"
    path.write_bytes(b"".join(promptfoo_lines(cafe(make))))
    environment = {
        **os.environ,
        "PROMPTFOO_CONFIG_DIR": str(tmp_path / "config"),
        "PROMPTFOO_DISABLE_TELEMETRY": "1",
        "PROMPTFOO_DISABLE_UPDATE": "1",
        "PROMPTFOO_DISABLE_REMOTE_GENERATION": "true",
    }

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [program, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=TOOL_S,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "successfully imported" in run("import", str(path))
    identity = json.loads(path.read_bytes())["evalId"]
    run("export", "eval", identity, "--output", str(tmp_path / "again.json"))
    again = json.loads((tmp_path / "again.json").read_bytes())["results"]
    given = json.loads(path.read_bytes())["results"]
    kept = ("testIdx", "promptIdx", "response", "success", "namedScores", "latencyMs")
    read = sorted(again["results"], key=lambda one: (one["testIdx"], one["promptIdx"]))
    assert [[one[key] for key in kept] for one in read] == [
        [one[key] for key in kept] for one in given["results"]
    ]
    assert again["stats"]["successes"] == 2
    shown = run("show", "eval", identity)
    assert "환불" in shown


@pytest.mark.slow
def test_inspect_reads_it(make, tmp_path):
    python = os.environ.get("INSPECT_PYTHON")
    if python is None:
        pytest.skip("INSPECT_PYTHON does not name a Python with inspect-ai")
    for role in ("candidate", "base"):
        path = tmp_path / f"{role}.json"
        path.write_bytes(b"".join(inspect_lines(cafe(make), role)))
        program = (
            "import json, sys\n"
            "from inspect_ai.log import read_eval_log\n"
            "log = read_eval_log(sys.argv[1])\n"
            "sample = log.samples[0]\n"
            "print(json.dumps([log.status, log.eval.model, len(log.samples), sample.target,"
            " sample.output.completion, sample.scores['exact_match'].value,"
            " log.results.scores[0].metrics['score'].value, log.samples[1].messages[0].role]))\n"
        )
        done = subprocess.run(
            [python, "-c", program, str(path)],
            capture_output=True,
            text=True,
            check=False,
            timeout=TOOL_S,
        )
        assert done.returncode == 0, done.stderr
        read = json.loads(done.stdout)
        assert read[:4] == ["success", read[1], 2, "7일 안에 됩니다."]
        assert read[4] == LINES[0]["answers"][role]
        assert read[5:] == [LINES[0]["values"][role]["exact_match"], 0.5, "system"]
