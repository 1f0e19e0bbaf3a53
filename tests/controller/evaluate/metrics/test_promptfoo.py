"""Assertions of promptfoo: what they mean, what is refused, and whom they are for."""

import json
import os
import subprocess

import pytest

from backends.contract.completions import Completion
from backends.pydantic_errors import InvalidValue
from controller.evaluate.metrics.promptfoo.assertions import KINDS, read_assertions
from controller.evaluate.metrics.promptfoo.metric import METRIC, Promptfoo
from controller.evaluate.scoring import answered
from controller.spec.load import read_specs

SCHEMA = {"type": "object", "required": ["day"], "properties": {"day": {"type": "integer"}}}
CASES = [
    ("equals", "7일", "7일", True),
    ("equals", "7일", "7일 ", False),
    ("equals", 7, "7", True),
    ("equals", True, "true", True),
    ("equals", {"day": 3, "x": [1]}, '{"x": [1], "day": 3}', True),
    ("equals", {"day": 3}, "day 3", False),
    ("contains", "환불", "네, 환불됩니다.", True),
    ("contains", "Refund", "refund", False),
    ("contains", 7, "in 7 days", True),
    ("icontains", "REFUND", "A refund.", True),
    ("icontains", "ß", "STRASSE", False),
    ("contains-all", ["7일", "환불"], "7일 안에 환불", True),
    ("contains-all", ["7일", "환불"], "7일 안에", False),
    ("contains-any", ["a", "b"], "xbx", True),
    ("contains-any", ["a", "b"], "", False),
    ("icontains-all", ["A", "b"], "aB", True),
    ("icontains-any", ["Z", "b"], "aB", True),
    ("starts-with", "네", "네, 됩니다.", True),
    ("starts-with", "네", " 네", False),
    ("regex", r"\d+일", "약 7일", True),
    ("regex", "^a$", "b\na\nb", False),
    ("is-json", None, '{"day": 3}', True),
    ("is-json", None, "day 3", False),
    ("is-json", None, "NaN", False),
    ("is-json", SCHEMA, '{"day": 3}', True),
    ("is-json", SCHEMA, '{"day": "3"}', False),
    ("is-json", SCHEMA, "[", False),
]


def assertion(kind, value) -> dict:
    return {"type": kind} | ({} if value is None else {"value": value})


def example(text, question="환불되나요?", **reference):
    message = {"role": "assistant", "content": "x", **reference}
    asked = [{"role": "system", "content": "s"}, {"role": "user", "content": question}]
    return answered(message, Completion(text=text, finish_reason="stop"), question=asked)


def results(config, *examples):
    return [
        None if one is None else one[0] == 1
        for one in METRIC.tally(Promptfoo(inline=config), examples)
    ]


@pytest.mark.parametrize(("kind", "value", "text", "holds"), CASES)
def test_each_kind_and_its_opposite(kind, value, text, holds):
    for name, expected in ((kind, holds), (f"not-{kind}", not holds)):
        config = {"defaultTest": {"assert": [assertion(name, value)]}}
        assert results(config, example(text)) == [expected]


def test_every_kind_has_cases():
    assert {kind for kind, *_ in CASES} == KINDS.keys()


def test_all_assertions_must_hold_and_those_of_a_test_are_for_its_question():
    config = {
        "defaultTest": {"assert": [assertion("contains", "요")]},
        "tests": [
            {"vars": {"question": "환불되나요?"}, "assert": [assertion("contains", "7일")]},
            {"vars": {"question": " 환불되나요? "}, "assert": [assertion("not-contains", "?")]},
            {"vars": {"question": "다른 질문"}},
        ],
    }
    given = ["7일이요", "요", "7일", "7일이요?"]
    assert results(config, *map(example, given)) == [True, False, False, False]
    assert results(config, example("요", "영업시간은?")) == [True]


def test_an_example_without_assertions_does_not_count():
    config = {"tests": [{"vars": {"question": "q"}, "assert": [assertion("equals", "a")]}]}
    found = METRIC.tally(Promptfoo(inline=config), [example("a", "q"), example("a", "other")])
    assert found[1] is None
    assert METRIC.score(found) == 1.0


def test_the_question_is_the_last_thing_that_a_user_said():
    tests = [{"vars": {"question": "q"}, "assert": [assertion("equals", "a")]}]
    config = {"tests": tests, "defaultTest": {"assert": [assertion("not-equals", "z")]}}
    user, other = ({"role": "user", "content": text} for text in (" q\n", "r"))
    parts = {"role": "user", "content": [{"type": "text", "text": "q"}]}
    answer = {"role": "assistant", "content": "q"}
    conversations = [[user], [other, answer, user], [user, answer, other], [parts], [answer], []]
    examples = [
        answered(None, Completion(text="b", finish_reason="stop"), question=one)
        for one in conversations
    ]
    # `b` is wrong by the test alone: where it is true, another question was asked, or none.
    assert results(config, *examples) == [False, False, True, False, True, True]


def test_an_answer_without_a_call_is_wrong_where_one_is_expected():
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    config = {"defaultTest": {"assert": [assertion("not-contains", "x")]}}
    assert results(config, example("a", tool_calls=[call])) == [False]


REFUSED = [
    ({}, (), "has no assertions"),
    ({"tests": "file://tests.csv"}, ("tests",), "must be a list"),
    ({"tests": ["file://a.yaml"]}, ("tests", 0), "must be a mapping"),
    ({"defaultTest": {"threshold": 0.5}}, ("defaultTest", "threshold"), "is not read"),
    ({"defaultTest": {"options": {}}}, ("defaultTest", "options"), "is not read"),
    ({"defaultTest": {"assert": {}}}, ("defaultTest", "assert"), "must be a list"),
    (
        {"tests": [{"assert": [assertion("equals", "a")]}]},
        ("tests", 0, "vars"),
        "has no text 'question'",
    ),
]
WRONG = [
    ("llm-rubric", "polite", "type", "ftctl reads no assertion 'llm-rubric'"),
    ("not-similar", "a", "type", "ftctl reads no assertion 'not-similar'"),
    ("javascript", "output.length", "type", "ftctl reads no assertion 'javascript'"),
    ("assert-set", None, "type", "ftctl reads no assertion 'assert-set'"),
    ("contains", None, "value", "must be a text"),
    ("contains", "{{expected}}", "value", "is a template or a file"),
    ("is-json", "file://schema.json", "value", "is a template or a file"),
    ("is-json", "type: object", "value", "must be a JSON Schema"),
    ("contains-all", "a,b", "value", "must be a list of texts"),
    ("contains-any", [], "value", "must be a list of texts"),
    ("regex", "(", "value", "not a regular expression"),
    ("equals", None, "value", "is missing"),
]


@pytest.mark.parametrize(
    ("config", "path", "message"),
    [
        *REFUSED,
        *(
            (
                {"defaultTest": {"assert": [assertion(kind, value)]}},
                ("defaultTest", "assert", 0, key),
                message,
            )
            for kind, value, key, message in WRONG
        ),
        (
            {"defaultTest": {"assert": [{**assertion("equals", "a"), "weight": 2}]}},
            ("defaultTest", "assert", 0, "weight"),
            "is not read",
        ),
    ],
)
def test_what_is_not_read_is_refused_by_name(config, path, message):
    with pytest.raises(InvalidValue) as raised:
        read_assertions(config, "question")
    assert raised.value.at == path
    assert message in str(raised.value)
    assert raised.value.remedy


# ---- in a spec

CONFIG = """\
prompts: ["{{question}}"]
providers: [openai:gpt-5-mini]
defaultTest:
  assert:
    - type: not-icontains
      value: sorry
tests:
  - vars: {question: 환불되나요?}
    assert:
      - {type: contains, value: 7일}
"""


def loaded(repo, config=CONFIG, **settings):
    repo.write("finetunes/evals/promptfooconfig.yaml", config)
    metric = {"promptfoo": {"file": "evals/promptfooconfig.yaml", **settings}}
    repo.declare(evaluation={"metrics": [metric]})
    return read_specs(repo.root)


def test_a_file_is_read_and_its_assertions_are_part_of_the_evaluation(repo):
    inputs = []
    for config in (CONFIG, CONFIG.replace("7일", "8일"), CONFIG.replace("gpt-5-mini", "gpt-5")):
        specs, problems = loaded(repo, config)
        assert problems == {}
        (chosen,) = specs["faq"].spec.evaluation.metrics
        inputs.append(chosen.inputs)
    assert inputs[0] != inputs[1]
    assert inputs[0] == inputs[2]


def test_a_refusal_names_file_and_line(repo):
    _, problems = loaded(repo, CONFIG.replace("contains, value", "similar, value"))
    (problem,) = problems["faq"]
    assert "evals/promptfooconfig.yaml:10: tests[0].assert[0].type: ftctl reads no" in str(problem)
    assert problem.field == "evaluation.metrics[0].promptfoo.file"
    assert problem.file == "finetunes/faq.yaml"


@pytest.mark.parametrize(
    ("config", "settings", "message"),
    [
        ("a: [", {}, "evals/promptfooconfig.yaml:2: is not YAML"),
        ("[]", {}, "must hold a mapping"),
        (CONFIG, {"file": "../out.yaml"}, "must be a path below"),
        (CONFIG, {"file": "gone.yaml"}, "there is no file"),
        (CONFIG, {"inline": {"defaultTest": {}}}, "has two configurations"),
        (CONFIG, {"question": "frage"}, "has no text 'frage'"),
    ],
)
def test_wrong_files(repo, config, settings, message):
    _, problems = loaded(repo, config, **settings)
    assert message in "\n".join(map(str, problems["faq"]))


@pytest.mark.slow
def test_promptfoo_itself_agrees(tmp_path):
    program = os.environ.get("PROMPTFOO")
    if program is None:
        pytest.skip("PROMPTFOO does not name promptfoo: its own verdicts are not compared here")
    tests = [
        {"vars": {"answer": text}, "assert": [assertion(name, value)]}
        for kind, value, text, _ in CASES
        for name in (kind, f"not-{kind}")
        if text.strip() == text and text
    ]
    config = {"prompts": ["{{answer}}"], "providers": ["echo"], "tests": tests}
    (tmp_path / "promptfooconfig.yaml").write_text(json.dumps(config))
    environment = {
        **os.environ,
        "PROMPTFOO_CONFIG_DIR": str(tmp_path / "config"),
        "PROMPTFOO_DISABLE_TELEMETRY": "1",
        "PROMPTFOO_DISABLE_UPDATE": "1",
    }
    command = [program, "eval", "--no-cache", "--no-write", "-o", str(tmp_path / "out.json")]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    value = json.loads((tmp_path / "out.json").read_bytes())
    found = sorted(value["results"]["results"], key=lambda one: one["testIdx"])
    assert len(found) == len(tests), done.stdout + done.stderr
    for one, test in zip(found, tests, strict=True):
        mine = results({"defaultTest": {"assert": test["assert"]}}, example(test["vars"]["answer"]))
        assert mine == [one["success"]], (test, one["response"])
