"""A held-out set that is too small for the gate is said before anything is trained."""

import pytest

from controller.resolve.gate_size import rough, too_small
from tests.specs import load_specs

SPEC = """\
backend: scripted
base_model: acme/base
data: {train: [{path: a.jsonl}], held_out: {fraction: 0.1}}
evaluation:
  compare_to: [base, production]
  metrics: [{accuracy: {name: right}}, exact_match]
gate:
  - CONDITION
"""


@pytest.fixture
def loaded(tmp_path):
    def load(condition):
        (tmp_path / "finetunes").mkdir(exist_ok=True)
        text = SPEC.replace("CONDITION", repr(condition))
        (tmp_path / "finetunes" / "faq.yaml").write_text(text, encoding="utf-8")
        return load_specs(tmp_path)["faq"]

    return load


@pytest.mark.parametrize(
    ("condition", "examples", "enough"),
    [
        ("right >= production.right - 0.01 @ 95%", 50, 381),
        ("right >= production.right - 0.01 @ 95%", 381, None),
        ("right > production.right @ 95%", 5, 6),
        ("right > production.right @ 95%", 6, None),
        ("right >= 0.9 @ 95%", 20, 35),
        ("right >= 0.9 @ 95%", 35, None),
        ("right >= 0.9", 1, None),
        ("held_out_loss < base.held_out_loss @ 95%", 1, None),
    ],
)
def test_a_condition_that_cannot_hold_is_a_problem_with_the_number_that_would_do(
    loaded, condition, examples, enough
):
    found = list(too_small(loaded(condition), examples))
    assert bool(found) == (enough is not None)
    for problem in found:
        assert (problem.line, problem.field) == (8, "gate[0]")
        assert problem.message.startswith(f"{examples} held-out examples cannot show `{condition}`")
        assert f"Hold out at least {enough}" in problem.remedy


def test_a_condition_that_never_holds_is_a_problem(loaded):
    (problem,) = too_small(loaded("right > 1 @ 95%"), 10_000)
    assert (problem.message, problem.remedy) == (
        "`right > 1 @ 95%` cannot hold, whatever the models answer",
        "Lower the number.",
    )


@pytest.mark.parametrize(
    ("condition", "warned"),
    [
        ("right >= 0.8", "12 held-out examples decide `right >= 0.8` to within ±0.23; 62 would"),
        ("right[lang=ko] >= 0.8", None),
        ("right >= 0.8 @ 95%", None),
        ("right >= base.right", None),
        ("held_out_loss <= 2", None),
    ],
)
def test_a_share_that_is_decided_roughly_is_warned_of(loaded, condition, warned):
    found = list(rough(loaded(condition).spec, 12))
    assert [text[: len(warned)] for text in found] == [warned] if warned else found == []
