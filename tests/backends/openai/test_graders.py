"""Graders read keys of the rows: which ones, and what is refused when a row lacks one."""

import time

import pytest

from backends.contract.backend import Endpoint
from backends.contract.errors import BackendError
from backends.openai.backend import OpenAIBackend
from backends.openai.grader_templates import paths_read, require_paths
from backends.openai.graders import check_grader

USER = {"role": "user", "content": "몇 시?"}
ASKED = "{{ sample.output_text }}"


def string_check(reference="{{ item.answer }}", given=ASKED):
    return {
        "type": "string_check",
        "name": "same",
        "input": given,
        "reference": reference,
        "operation": "eq",
    }


def python(source):
    return {"type": "python", "name": "p", "source": source}


MODEL_INPUT = [
    {"role": "user", "content": "Rate {{ sample.output_text }} by {{ item.rubric }}"},
    {"role": "user", "content": [{"type": "input_text", "text": "{{item.notes.short}}"}]},
]
SCORE = {"type": "score_model", "name": "s", "model": "gpt-4.1", "input": MODEL_INPUT}
LABEL = {
    "type": "label_model",
    "name": "l",
    "model": "gpt-4.1",
    "input": MODEL_INPUT,
    "labels": ["{{ item.no_template }}"],
    "passing_labels": ["a"],
}
SIMILAR = {
    "type": "text_similarity",
    "name": "t",
    "input": ASKED,
    "reference": "{{item.answer}}",
    "evaluation_metric": "bleu",
}
SOURCE = """
def grade(sample, item):
    wanted = item["answer"]
    if "hint" in item:
        return item["hint"]
    return item["never sure to be read"]
"""


@pytest.mark.parametrize(
    ("grader", "paths"),
    [
        (string_check(), [("answer",)]),
        (string_check("{{item.a}} {{ item.b }}{{item.a}}"), [("a",), ("b",)]),
        (string_check("plain"), []),
        (string_check("{{ item.meta.city }}"), [("meta", "city")]),
        (string_check('{{ item["answer"] }}'), [("answer",)]),
        (string_check("{{ item.list[0].x }}"), [("list", "0", "x")]),
        (string_check("{{ item.answer | lower }}"), [("answer",)]),
        (string_check("{{ item.a ~ item.b }}"), [("a",)]),
        (string_check("{{ item }}"), []),
        (SIMILAR, [("answer",)]),
        (SCORE, [("notes", "short"), ("rubric",)]),
        (LABEL, [("notes", "short"), ("rubric",)]),
        (python(SOURCE), [("answer",)]),
        (python("def grade(sample, item): return item['x']['y']"), [("x",)]),
        (python("def grade(sample, item): return item.get('x')"), []),
        (python("def grade(s, i):\n  return [i['x'] for _ in s]"), []),
        (python("this is (no Python"), []),
        (
            {
                "type": "multi",
                "name": "m",
                "graders": {"a": string_check(), "b": SCORE, "c": python(SOURCE)},
                "calculate_output": "a + b",
            },
            [("answer",), ("notes", "short"), ("rubric",)],
        ),
        (None, []),
    ],
)
def test_what_a_grader_reads_of_every_row_is_found(grader, paths):
    assert list(paths_read(grader)) == paths


def open_inspector(tmp_path, grader, **endpoint):
    backend = OpenAIBackend(tmp_path, Endpoint(name="x", **endpoint), environment={})
    base = backend.resolve_base_model("o4-mini-2025-04-16", None, tmp_path)
    return backend.inspector(base, "reinforcement", {"grader": grader})


@pytest.mark.parametrize(
    "endpoint",
    [{}, {"kind": "compatible", "base_url": "http://127.0.0.1:9/v1"}, {"kind": "azure"}],
)
def test_a_row_without_what_the_grader_reads_is_refused(tmp_path, endpoint):
    inspector = open_inspector(tmp_path, string_check(), **endpoint)
    inspector.check({"messages": [USER], "answer": None})
    assert not inspector.all_pass(b"")

    with pytest.raises(BackendError) as caught:
        inspector.check({"messages": [USER], "anwser": "9", "hour": 9})

    assert caught.value.message == (
        "the grader reads {{ item.answer }}, and the row has no 'answer'"
    )
    assert caught.value.remedy == ("Did you mean `anwser`? Use one of: anwser, hour, messages.")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"meta": {"city": "서울"}}, None),
        ({"meta": {"town": "서울"}}, "no 'city'"),
        ({"meta": "서울"}, "no 'city'"),
        ({}, "no 'meta'"),
    ],
)
def test_nested_keys_are_followed(tmp_path, row, said):
    inspector = open_inspector(tmp_path, string_check("{{ item.meta.city }}"))
    if said is None:
        inspector.check({"messages": [USER], **row})
        return
    with pytest.raises(BackendError, match=said):
        inspector.check({"messages": [USER], **row})


def test_lists_are_followed_by_number(tmp_path):
    inspector = open_inspector(tmp_path, string_check("{{ item.parts[1] }}"))
    inspector.check({"messages": [USER], "parts": ["a", "b"]})
    for parts in (["a"], [], "ab", None):
        with pytest.raises(BackendError, match="no '1'"):
            inspector.check({"messages": [USER], "parts": parts})


def test_another_grader_is_another_identity(tmp_path):
    one, two = (open_inspector(tmp_path, string_check(f"{{{{item.{key}}}}}")) for key in "ab")
    assert one.identity != two.identity


@pytest.mark.parametrize(
    ("grader", "field", "message", "remedy"),
    [
        (string_check("{{ items.answer }}"), "grader.reference", "neither item nor sample", "KEY"),
        (string_check("{{ answer }}"), "grader.reference", "neither item nor sample", "KEY"),
        (string_check("{{}}"), "grader.reference", "neither item nor sample", "KEY"),
        (string_check("{{ item.answer"), "grader.reference", "has {{ without }}", "Write {{"),
        (
            string_check(given="{{ sample.ouput_text }}"),
            "grader.input",
            "which no answer has",
            "Did you mean `{{ sample.output_text }}`?",
        ),
        (
            {**SCORE, "input": [{"role": "user", "content": "{{ response }}"}]},
            "grader.input[0].content",
            "neither item nor sample",
            "KEY",
        ),
        (
            {
                "type": "multi",
                "graders": {"a": string_check("{{ x }}")},
                "calculate_output": "a",
            },
            "grader.graders.a.reference",
            "neither item nor sample",
            "KEY",
        ),
        (
            {"type": "multi", "graders": {"same": string_check()}, "calculate_output": "sane * 2"},
            "grader.calculate_output",
            "names 'sane', which is not a grader",
            "Did you mean `same`?",
        ),
    ],
)
def test_templates_that_name_nothing_are_refused_without_rows(grader, field, message, remedy):
    (problem,) = check_grader("grader", grader)
    assert problem.field == field
    assert message in problem.message
    assert remedy in problem.remedy


def test_formulas_may_use_numbers_and_functions():
    grader = {
        "type": "multi",
        "graders": {"a": string_check(), "b_2": string_check()},
        "calculate_output": "min(1e3, a) ^ 2 + 0.5 * sqrt(b_2) / 1.5e-3",
    }
    assert check_grader("grader", grader) == []


def test_long_templates_take_linear_time():
    started = time.monotonic()
    for text in ("{{" * 200_000, "{{ " + " " * 400_000, "{{ item." + ".a" * 200_000 + " }}"):
        check_grader("grader", string_check(text))
        paths_read(string_check(text))
    formula = {
        "type": "multi",
        "graders": {"a": string_check()},
        "calculate_output": "a " * 200_000,
    }
    check_grader("grader", formula)
    names = [f"{'a' * 50_000}{number}" for number in range(30)]
    grader = string_check(f"{{{{ item.{'a' * 50_000} }}}}")
    with pytest.raises(BackendError) as caught:
        require_paths(dict.fromkeys(names, 1), paths_read(grader))
    assert len(caught.value.message + caught.value.remedy) < 1000
    many = {"type": "multi", "graders": dict.fromkeys(names, string_check())}
    (problem,) = check_grader("grader", {**many, "calculate_output": "a" * 50_000})
    assert len(problem.message + problem.remedy) < 1000
    assert time.monotonic() - started < 5
