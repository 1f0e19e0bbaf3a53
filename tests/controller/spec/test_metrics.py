"""Metrics in a spec: forms, their errors, and what enters the evaluation's fingerprint."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.evaluate.metrics import BUILT_IN_METRICS, MODULES, all_metrics, metric_called
from controller.evaluate.metrics.accuracy import Accuracy
from controller.evaluate.metrics.classes.f1 import F1
from controller.evaluate.metrics.exact_match import ExactMatch
from controller.evaluate.metrics.regex_match import RegexMatch
from controller.spec.base import field_texts
from controller.spec.evaluation import Evaluation
from controller.spec.load import read_spec
from controller.spec.metrics import ChosenMetric
from controller.spec.model import Spec, spec_schema
from controller.spec.yaml import parse_yaml

METRICS = all_metrics()
ORDER = list(MODULES)


def chosen(*written) -> list[ChosenMetric]:
    return Evaluation.model_validate({"metrics": list(written)}).metrics


def is_right(written) -> bool:
    try:
        return bool(chosen(written))
    except ValueError:
        return False


@pytest.mark.parametrize(
    ("written", "name", "settings"),
    [
        ("exact_match", "exact_match", ExactMatch()),
        ("accuracy", "accuracy", Accuracy()),
        ({"exact_match": {}}, "exact_match", ExactMatch()),
        ({"exact_match": {"name": "strict"}}, "strict", ExactMatch(name="strict")),
        ({"accuracy": {}}, "accuracy", Accuracy()),
        ({"f1": {"label": "환불"}}, "f1", F1(label="환불")),
        ({"accuracy": {"labels": None}}, "accuracy", Accuracy()),
        ({"accuracy": {"labels": ["환불", "교환"]}}, "accuracy", Accuracy(labels=["환불", "교환"])),
        ({"regex_match": {"pattern": "^네"}}, "regex_match", RegexMatch(pattern="^네")),
    ],
)
def test_a_metric_is_read_with_its_settings(written, name: str, settings):
    (one,) = chosen(written)
    assert (one.name, one.settings) == (name, settings)
    assert any(one.metric is metric for metric in METRICS)


@pytest.mark.parametrize(
    ("written", "inputs"),
    [
        ("exact_match", {"exact_match": {}}),
        ("accuracy", {"accuracy": {}}),
        ({"accuracy": {}}, {"accuracy": {}}),
        ({"accuracy": {"labels": None}}, {"accuracy": {}}),
        ({"accuracy": {"labels": []}}, {"accuracy": {"labels": []}}),
        ({"accuracy": {"labels": ["나", "가"]}}, {"accuracy": {"labels": ["나", "가"]}}),
        ({"regex_match": {"pattern": "x"}}, {"regex_match": {"pattern": "x"}}),
        ({"exact_match": {"normalise": []}}, {"exact_match": {}}),
        ({"exact_match": {"normalise": ["case"]}}, {"exact_match": {"normalise": ["case"]}}),
        (
            {"json_schema": {"inline": {"type": "object"}}},
            {"json_schema": {"inline": {"type": "object"}}},
        ),
        ({"numeric": {"absolute": 0.5}}, {"numeric": {"absolute": 0.5}}),
    ],
)
def test_settings_left_at_their_default_enter_no_fingerprint(written, inputs):
    (one,) = chosen(written)
    assert one.inputs == inputs
    assert json.loads(json.dumps(one.inputs)) == inputs


def test_a_metric_written_in_two_ways_is_the_same():
    assert chosen("accuracy") == chosen({"accuracy": {}})
    assert chosen("accuracy") != chosen({"accuracy": {"labels": ["a"]}})
    assert chosen("accuracy") != chosen("exact_match")
    assert chosen("exact_match") == chosen({"exact_match": {}})


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        (["accuracy", "accuracy"], "accuracy is listed twice"),
        ([{"f1": {"label": "환불"}}, {"f1": {"label": "교환"}}], "f1 is listed twice"),
        (["f1_macro", {"accuracy": {"name": "f1_macro"}}], "f1_macro is listed twice"),
        ([{"f1": {"label": "a", "name": "f1_refund"}}, {"f1": {"label": "b"}}], ""),
    ],
)
def test_two_metrics_have_two_names(written, problem: str):
    if not problem:
        assert [one.name for one in chosen(*written)] == ["f1_refund", "f1"]
        return
    with pytest.raises(ValueError, match=problem):
        chosen(*written)


@pytest.mark.parametrize("name", ["F1", "f1 refund", "환불", "f1-refund", "f1.refund", ""])
def test_a_name_is_one_that_gates_can_write(name: str):
    assert not is_right({"accuracy": {"name": name}})


GOOD = """\
backend: local-gpu
base_model: acme/base
data: {train: [{path: faq.csv}], held_out: {fraction: 0.1}}
evaluation:
  metrics:
    - exact_match
    - """
MUST = f"must be one of {', '.join(ORDER)}, not"


def problems_of(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "faq.yaml"
    (tmp_path / "list.json").write_text("[]", encoding="utf-8")
    path.write_text(GOOD + text + "\n", encoding="utf-8")
    loaded, problems = read_spec(tmp_path, path, file="faq.yaml")
    assert (loaded is None) == bool(problems)
    return [str(problem) for problem in problems]


@pytest.mark.parametrize(
    ("written", "field", "message", "remedy"),
    [
        ("exact_mach", "", f"{MUST} the text 'exact_mach'", "Did you mean `exact_match`?"),
        ("정확도", "", f"{MUST} the text '정확도'", ""),
        ("meteor: {}", "", f"{MUST} the text 'meteor'", ""),
        ("regex_mach: {pattern: x}", "", f"{MUST} the text 'regex_mach'", "Did you mean `regex_match`?"),
        ("{accuracy: {}, meteor: {}}", "", f"{MUST} the text 'meteor'", ""),
        # Built-in metrics cannot be asked for: they are always measured.
        ("held_out_loss", "", f"{MUST} the text 'held_out_loss'", ""),
        ("regex_match", "", "regex_match needs settings", "Write `regex_match: {pattern: …}`."),
        ("exact_match: {normalise: [cases]}", ".exact_match.normalise[0]", "must be one of case, punctuation, blanks, width, not the text 'cases'", "Did you mean `case`?"),
        ("f1", "", "f1 needs settings", "Write `f1: {label: …}`."),
        ("f1: {label: a, labels: [a]}", ".f1.labels", "is not a known key", "Did you mean `label`?"),
        ("cost_per_1000", "", "cost_per_1000 needs settings", "Write `cost_per_1000: {input_per_million: …, output_per_million: …}`."),
        ("numeric: {absolute: -1}", ".numeric.absolute", "must be at least 0, not -1", ""),
        ("numeric: {relative: .nan}", ".numeric.relative", "must be a finite number, not nan", ""),
        ("bleu: {tokenize: morphemes}", ".bleu.tokenize", "must be one of auto, words, characters, not the text 'morphemes'", ""),
        ("json_schema", "", "needs a schema", "Write either `file: schemas/answer.json` or `inline: {type: object, …}`."),
        ("json_schema: {inline: {}, file: a.json}", ".json_schema", "has two schemas", "Write either `file: schemas/answer.json` or `inline: {type: object, …}`."),
        ("json_schema: {file: absent.json}", ".json_schema.file", "there is no file 'absent.json'", "Write it, or correct the path, which starts at finetunes/."),
        ("json_schema: {file: faq.yaml}", ".json_schema.file", "faq.yaml is not JSON: Expecting value: line 1 column 1 (char 0)", "Correct the file."),
        ("json_schema: {file: list.json}", ".json_schema.file", "must hold a JSON object", "Write a JSON Schema into it."),
        ("json_schema: {file: ../../etc/passwd}", ".json_schema.file", "must be a path below finetunes/, not '../../etc/passwd'", "Put the file there."),
        ("{accuracy: {}, regex_match: {pattern: x}}", "", "has accuracy and regex_match in one item", "Write each metric as an item of the list."),
        ("3", "", f"{MUST} 3", ""),
        ("[accuracy]", "", f"{MUST} a list", ""),
        ("{}", "", f"{MUST} a mapping", ""),
        ("", "", f"{MUST} empty", ""),
        ("accuracy:", ".accuracy", "must be a mapping of keys to values, not empty", ""),
        ("accuracy: yes", ".accuracy", "must be a mapping of keys to values, not the text 'yes'", ""),
        ("accuracy: {labels: 환불}", ".accuracy.labels", "must be a list, not the text '환불'", ""),
        ("accuracy: {labels: ['']}", ".accuracy.labels[0]", "must not be empty", ""),
        ("accuracy: {labels: [1]}", ".accuracy.labels[0]", "must be text, not 1", 'Quote it: "1"'),
        ("accuracy: {label: [a]}", ".accuracy.label", "is not a known key", "Did you mean `labels`?"),
        ("regex_match: {}", ".regex_match.pattern", "is missing", "Add `pattern: …`."),
        ("regex_match: {pattern: ''}", ".regex_match.pattern", "must not be empty", ""),
        ("regex_match: {pattern: '[가'}", ".regex_match.pattern", "not a regular expression: unterminated character set at position 0", ""),
        ("regex_match: {patern: x, pattern: y}", ".regex_match.patern", "is not a known key", "Did you mean `pattern`?"),
    ],
)  # fmt: skip
def test_a_wrong_metric_is_one_problem_with_its_line(tmp_path, written, field, message, remedy):
    (problem,) = problems_of(tmp_path, written)
    expected = f"faq.yaml:7: evaluation.metrics[1]{field}: {message}"
    assert problem == "\n    ".join(filter(None, [expected, remedy]))


@pytest.mark.parametrize(
    "written",
    [
        *("chrf", "accuracy", "accuracy: {labels: [환불]}", "regex_match: {pattern: 환불}"),
        *("f1: {label: 환불, name: f1_refund}", "json_schema: {inline: {type: object}}"),
    ],
)
def test_a_right_metric_is_no_problem(tmp_path, written):
    assert problems_of(tmp_path, written) == []


NAMES = st.sampled_from([*ORDER, "held_out_loss", "Accuracy", "accuracy "]) | st.text(max_size=12)
SETTINGS = st.none() | st.dictionaries(
    st.sampled_from(["labels", "pattern"]) | st.text(), st.text()
)


@given(NAMES | st.dictionaries(NAMES, SETTINGS, max_size=2))
def test_an_unknown_metric_is_never_measured_as_another(written):
    try:
        (one,) = chosen(written)
    except ValueError:
        return
    assert one.name == written or [one.name] == list(written)


def test_the_schema_has_a_form_for_each_metric():
    schema = spec_schema()
    field = schema["$defs"]["Evaluation"]["properties"]["metrics"]
    names, *forms = field["items"]["oneOf"]
    assert names == {"enum": [name for name in ORDER if is_right(name)], "type": "string"}
    found = [schema["$defs"][one["$ref"][8:]] if "$ref" in one else one for one in forms]
    assert found == [
        {
            "additionalProperties": False,
            "description": f"`{metric.name}` with its settings.",
            "properties": {metric.name: {"$ref": f"#/$defs/{metric.settings.__name__}"}},
            "required": [metric.name],
            "title": f"{metric.settings.__name__}Metric",
            "type": "object",
        }
        for metric in METRICS
    ]
    assert schema["$defs"]["Accuracy"]["description"] == metric_called("accuracy").description


def test_a_schema_in_a_file_is_measured_by_its_content(tmp_path):
    """Another content is another evaluation; another name of the file is not."""
    for name, content in (("a", "object"), ("b", "object"), ("c", "array")):
        (tmp_path / f"{name}.json").write_text(json.dumps({"type": content}), encoding="utf-8")
    inputs = {}
    for name in "abc":
        path = tmp_path / "faq.yaml"
        path.write_text(GOOD + f"json_schema: {{file: {name}.json}}\n", encoding="utf-8")
        loaded, problems = read_spec(tmp_path, path, file="faq.yaml")
        assert problems == []
        inputs[name] = loaded.spec.evaluation.metrics[1].inputs
    assert inputs["a"] == inputs["b"] == {"json_schema": {"inline": {"type": "object"}}}
    assert inputs["c"] == {"json_schema": {"inline": {"type": "array"}}}
    with pytest.raises(ValueError, match="no file is read here"):
        chosen({"json_schema": {"file": "a.json"}})


def test_the_help_of_metrics_names_those_that_are_always_measured():
    text = field_texts(Evaluation)["metrics"]
    assert all(f"`{metric.name}`" in text for metric in BUILT_IN_METRICS)


def test_metrics_survive_a_copy_of_the_spec():
    document, _ = parse_yaml((GOOD + "accuracy").encode(), "faq.yaml")
    spec = Spec.model_validate(document.value)
    assert spec.model_copy(deep=True).evaluation.metrics == spec.evaluation.metrics
