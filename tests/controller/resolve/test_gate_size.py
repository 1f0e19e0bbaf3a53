"""A held-out set that is too small for the gate is said before anything is trained."""

import pytest

from controller.data.dataset import Split
from controller.resolve.gate_size import empty_slices, rough, too_small
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
        assert problem.remedy == (
            f"Use at least {enough} held-out examples, widen the margin, or lower the level."
        )


def test_prompts_that_are_not_held_out_cannot_become_more(loaded):
    condition = "retain.json >= base.retain.json - 0.01 @ 95%"
    (problem,) = too_small(loaded(condition), 10_000, {"retain.json": 26})
    assert problem.message == (
        f"26 prompts of retain.json cannot show `{condition}`, whatever the models answer"
    )
    assert problem.remedy == "Ask for a wider margin, or be less sure."


@pytest.fixture
def held_out(tmp_path):
    """Offer a held-out split of three examples with a column `lang`."""
    line = '{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]}\n'
    columns = ['{"lang":"korean"}', '{"lang":"korean"}', '{"lang":"english"}']
    texts = {"lines": 3 * line, "origins": "a:1\na:2\na:3\n", "columns": "\n".join([*columns, ""])}
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return Split(
        path=tmp_path / "lines",
        origins=tmp_path / "origins",
        columns=tmp_path / "columns",
        digest="sha256:0",
        examples=3,
        tokens=None,
    )


@pytest.mark.parametrize(
    ("condition", "problems"),
    [
        ("right >= 0.8", []),
        ("right[lang=korean] >= 0.8", []),
        ("right[lang=korean] >= base.right[lang=english]", []),
        ("right[lang=koreen] >= 0.8", [("'koreen' in lang", "Did you mean `korean`?")]),
        (
            "right[lang=koreen] >= base.right[lang=korean]",
            [("'koreen' in lang", "Did you mean `korean`?")],
        ),
        (
            "right[lang=korean] >= base.right[lang=koreen]",
            [("'koreen' in lang", "Did you mean `korean`?")],
        ),
        (
            "right[lang=koreen] >= base.exact_match[lang=koreen]",
            [("'koreen' in lang", "Did you mean `korean`?")],
        ),
        (
            "right[lang=koreen] >= base.right[lang=japanese]",
            [
                ("'koreen' in lang", "Did you mean `korean`?"),
                ("'japanese' in lang", "Use one of: 'korean', 'english'."),
            ],
        ),
    ],
)
def test_every_slice_of_a_condition_needs_an_example(loaded, held_out, condition, problems):
    found = list(empty_slices(loaded(condition), held_out))
    assert [(one.field, one.message, one.remedy) for one in found] == [
        ("gate[0]", f"no held-out example has {what}", remedy) for what, remedy in problems
    ]


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
