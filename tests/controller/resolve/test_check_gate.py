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
        "Remove this model, or compare with one on this machine.",
    )


def test_a_rival_needs_a_backend_with_endpoints(told):
    local = SPEC.replace("name: luna,", "name: luna, backend: local-gpu,")
    assert told(spec=local)[0][2] == "the local-gpu backend has no endpoints"
