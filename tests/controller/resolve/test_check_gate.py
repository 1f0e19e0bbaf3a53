"""Gates and rivals: what could not be judged or asked is refused, with its line."""

import pytest

from backends.contract.backend import Endpoint
from backends.local_gpu.backend import LocalGpuBackend
from backends.openai.backend import create
from controller.resolve.answers import Answers
from controller.resolve.validate import check_spec
from tests.specs import load_specs

SPEC = """\
backend: local-gpu
base_model: ./base
data:
  train: [{path: data/rows.jsonl}]
  held_out: {fraction: 0.1}
  sensitivity: SENSITIVITY
evaluation:
  metrics: [exact_match, {accuracy: {name: labels_right}}]
  compare_to: [base, {name: luna, endpoint: default, model: gpt-4.1-mini, few_shot: 4}]
"""


@pytest.fixture
def told(tmp_path):
    """Return a function that checks a spec and returns lines, fields, messages and remedies."""

    def check(more="", sensitivity="internal", spec=SPEC):
        (tmp_path / "finetunes").mkdir(exist_ok=True)
        text = spec.replace("SENSITIVITY", sensitivity) + more
        (tmp_path / "finetunes" / "cafe.yaml").write_text(text, encoding="utf-8")
        opened = {
            "local-gpu": lambda _: LocalGpuBackend(tmp_path / "state"),
            "openai": lambda endpoint: create(
                tmp_path / "state",
                Endpoint(name=endpoint or "default", base_url="https://api.example.com/v1"),
            ),
        }

        def open_backend(place):
            backend, _, endpoint = place.partition("@")
            return opened[backend](endpoint)

        found = check_spec(load_specs(tmp_path)["cafe"], open_backend, Answers())
        return [(one.line, one.field, one.message, one.remedy) for one in found]

    return check


@pytest.mark.parametrize(
    ("condition", "message", "remedy"),
    [
        ("exact_match >= luna.exact_match", None, None),
        ("labels_right[lang=ko] > base.labels_right[lang=ko] @ 95%", None, None),
        ("accuracy >= 1", "accuracy is not measured", "Use one of: held_out_loss, stop_rate, exact_match, labels_right, or add it to evaluation.metrics."),
        ("exact_mach[lang=ko] >= 1", "exact_mach is not measured", "Did you mean `exact_match`?"),
        ("exact_match > lune.exact_match", "nothing is compared with lune", "Did you mean `luna`?"),
        ("exact_match > production.exact_match", "nothing is compared with production", "Add production to evaluation.compare_to."),
        ("exact_match >= 1s", "exact_match is not measured in seconds", "Remove `s`."),
        ("exact_match > base.labels_right @ 95%", "exact_match and labels_right are two scores, and only the difference of one can be sure", "Compare exact_match with base.exact_match, or remove `@ 95%`."),
    ],
)  # fmt: skip
def test_a_gate_that_could_not_be_judged_is_refused(told, condition, message, remedy):
    found = told(f"gate:\n  - {condition!r}\n")
    assert found == ([(11, "gate[0]", message, remedy)] if message else [])


def test_a_rival_elsewhere_is_refused_for_private_data(told):
    (first,) = told(sensitivity="private")
    assert first == (
        9,
        "evaluation.compare_to[1]",
        "private data never leaves the machine, and openai is elsewhere",
        "Remove this model, or name one on this machine.",
    )


def test_a_rival_needs_a_backend_with_endpoints(told):
    local = SPEC.replace("name: luna,", "name: luna, backend: local-gpu,")
    assert told(spec=local)[0][2] == "the local-gpu backend has no endpoints"


RETAINED = (
    SPEC
    + """\
  retain: [json, refusals, {name: faq_old, path: data/old.jsonl, metric: exact_match}]
"""
)
COUNTED = "Add it to evaluation.retain; the suites are arithmetic, json, instructions, tool_calls, refusals, language and all."


@pytest.mark.parametrize(
    ("condition", "message", "remedy"),
    [
        ("retain.json >= base.retain.json - 0.05", None, None),
        ("retain.faq_old >= base.retain.faq_old - 0.01 @ 95%", None, None),
        ("retain.jsn >= 1", "retain.jsn is not measured", "Did you mean `json`?"),
        ("retain.language >= 1", "retain.language is not measured", "Add language to evaluation.retain."),
        ("retain.poems >= 1", "retain.poems is not measured", COUNTED),
        ("retain.json[lang=ko] >= 1", "retain.json has no slices", "Write retain.json without brackets."),
        ("retain.json <= 800ms", "retain.json is not measured in seconds", "Remove `ms`."),
        ("retain.json > luna.retain.json", "luna does not answer the prompts of evaluation.retain", "Compare with base.retain.json."),
        ("retain.json > base.retain.refusals @ 95%", "retain.json and retain.refusals are two scores, and only the difference of one can be sure", "Compare retain.json with base.retain.json, or remove `@ 95%`."),
    ],
)  # fmt: skip
def test_a_gate_on_what_is_retained(told, condition, message, remedy):
    found = told(f"gate:\n  - {condition!r}\n", spec=RETAINED)
    assert found == ([(12, "gate[0]", message, remedy)] if message else [])


def test_the_base_model_answers_what_is_retained_without_being_compared(told):
    alone = RETAINED.replace("compare_to: [base, ", "compare_to: [")
    assert told("gate: [retain.json >= base.retain.json]\n", spec=alone) == []
    (found,) = told("gate: [retain.json >= base.exact_match]\n", spec=alone)
    assert found[2] == "nothing is compared with base"


def test_plain_texts_retain_nothing(told):
    texts = "method: continued-pretraining\nbackend: local-gpu\nbase_model: ./base\ndata:\n"
    texts += "  train: [{path: data/prose.txt}]\n  held_out: {fraction: 0.1}\n"
    texts += "evaluation: {retain: [json]}\n"
    assert told("gate: [retain.json >= 1]\n", spec=texts) == [
        (
            7,
            "evaluation.retain",
            "a model of continued-pretraining need not answer, and the prompts ask for answers",
            "Remove it.",
        )
    ]


PREFERENCES = """\
backend: BACKEND
base_model: MODEL
method: METHOD
data:
  train: [{path: data/rows.jsonl}]
  held_out: {fraction: 0.1}
gate:
  - preference_margin >= base.preference_margin + 1 @ 95%
  - preference_accuracy > base.preference_accuracy
"""


def of_preferences(method, backend="local-gpu", model="./base"):
    spec = PREFERENCES.replace("METHOD", method)
    return spec.replace("BACKEND", backend).replace("MODEL", model)


def test_gates_name_the_metrics_of_preferences(told):
    assert told(spec=of_preferences("dpo")) == []
    (found,) = told(spec=of_preferences("kto"))
    assert found[:3] == (
        9,
        "gate[1]",
        "base has no preference_accuracy of marked answers, which compares with base already",
    )
    assert "preference_margin >= base.preference_margin" in found[3]
    fields = [one[1:3] for one in told(spec=of_preferences("supervised"))]
    assert ("gate[0]", "preference_margin is not measured") in fields


def test_preferences_are_measured_next_to_the_base_model(told):
    spec = (
        of_preferences("dpo")
        .partition("  - preference_acc")[0]
        .replace("base.preference_margin +", "")
    )
    (found,) = told("evaluation: {compare_to: []}\n", spec=spec)
    assert found[1:] == (
        "gate[0]",
        "preference_margin compares with base, which does not answer",
        "Add base to evaluation.compare_to.",
    )


def test_losses_that_a_backend_does_not_measure_are_refused_by_name(told):
    spec = of_preferences("dpo", "openai", "gpt-4.1-mini-2025-04-14")
    found = told("evaluation: {metrics: [perplexity, {perplexity: {name: again}}]}\n", spec=spec)
    says = "the openai backend measures no losses of answers, which {} needs"
    assert [one[1:3] for one in found] == [
        ("evaluation.metrics[0]", says.format("perplexity")),
        ("evaluation.metrics[1]", says.format("again")),
        ("gate[0]", says.format("preference_margin")),
        ("gate[1]", says.format("preference_accuracy")),
    ]
