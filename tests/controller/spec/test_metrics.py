"""Metrics in a spec: forms, their errors, and what enters the evaluation's fingerprint."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.evaluate.metrics import BUILT_IN_METRICS, METRICS, accuracy
from controller.evaluate.metrics.accuracy import Accuracy
from controller.evaluate.metrics.exact_match import ExactMatch
from controller.evaluate.metrics.regex_match import RegexMatch
from controller.spec.evaluation import Evaluation
from controller.spec.load import read_spec
from controller.spec.metrics import ChosenMetric
from controller.spec.model import Spec, spec_schema
from controller.spec.yaml import parse_yaml

ORDER = [metric.name for metric in METRICS]


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
        ({"accuracy": {}}, "accuracy", Accuracy()),
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


GOOD = """\
backend: local-gpu
base_model: acme/base
data: {train: [{path: faq.csv}], held_out: {fraction: 0.1}}
evaluation:
  metrics:
    - exact_match
    - """
MUST = f"must be one of {', '.join(ORDER)}, not"
ALONE = f"must be one of {', '.join(name for name in ORDER if is_right(name))}, not"


def problems_of(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "faq.yaml"
    path.write_text(GOOD + text + "\n", encoding="utf-8")
    loaded, problems = read_spec(tmp_path, path, file="faq.yaml")
    assert (loaded is None) == bool(problems)
    return [str(problem) for problem in problems]


@pytest.mark.parametrize(
    ("written", "field", "message", "remedy"),
    [
        ("exact_mach", "", f"{MUST} the text 'exact_mach'", "Did you mean `exact_match`?"),
        ("정확도", "", f"{MUST} the text '정확도'", ""),
        ("chrf: {}", "", f"{MUST} the text 'chrf'", ""),
        ("regex_mach: {pattern: x}", "", f"{MUST} the text 'regex_mach'", "Did you mean `regex_match`?"),
        ("{accuracy: {}, chrf: {}}", "", f"{MUST} the text 'chrf'", ""),
        # Built-in metrics cannot be asked for: they are always measured.
        ("held_out_loss", "", f"{MUST} the text 'held_out_loss'", ""),
        ("regex_match", "", "regex_match needs settings", "Write `regex_match: {pattern: …}`."),
        ("exact_match: {}", "", "exact_match has no settings", "Write `- exact_match`."),
        ("{accuracy: {}, regex_match: {pattern: x}}", "", "has accuracy and regex_match in one item", "Write each metric as an item of the list."),
        ("3", "", f"{ALONE} 3", ""),
        ("[accuracy]", "", f"{ALONE} a list", ""),
        ("{}", "", f"{ALONE} a mapping", ""),
        ("", "", f"{ALONE} empty", ""),
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
    "written", [*ORDER[:2], "accuracy: {labels: [환불]}", "regex_match: {pattern: 환불}"]
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
    assert forms == [
        {"$ref": f"#/$defs/{metric.settings.__name__}Metric"}
        for metric in METRICS
        if metric.settings.model_fields
    ]
    assert schema["$defs"]["AccuracyMetric"] == {
        "additionalProperties": False,
        "description": "`accuracy` with its settings.",
        "properties": {"accuracy": {"$ref": "#/$defs/Accuracy"}},
        "required": ["accuracy"],
        "title": "AccuracyMetric",
        "type": "object",
    }
    assert schema["$defs"]["Accuracy"]["description"] == accuracy.METRIC.words


def test_the_help_of_metrics_names_those_that_are_always_measured():
    text = Evaluation.model_fields["metrics"].description
    assert all(f"`{metric.name}`" in text for metric in BUILT_IN_METRICS)


def test_metrics_survive_a_copy_of_the_spec():
    document, _ = parse_yaml((GOOD + "accuracy").encode(), "faq.yaml")
    spec = Spec.model_validate(document.value)
    assert spec.model_copy(deep=True).evaluation.metrics == spec.evaluation.metrics
