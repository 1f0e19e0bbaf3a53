"""Everything people read, as golden files: `--update-golden` rewrites them, the diff is the review."""

import pytest
from rich.cells import cell_len

from backends.contract.jobs import Progress
from controller.lockfile.model import Lockfile
from controller.plan.actions import Blocked, BlockReason
from controller.plan.observed import Observed
from controller.plan.plan import Plan, make_plan
from controller.render.comment.comment import plan_comment
from controller.render.plan import plan_text
from controller.render.status import build_text
from controller.render.summary import no_changes
from controller.render.text import (
    duration,
    escape_control,
    number,
    one_line,
    pad,
    table,
)

HOSTILE = "`code` </details> <script> @team |cell| \x1b[31mred\x1b[0m \u202eevil 카페\nnew # line"


def test_a_first_plan_for_a_pull_request(make, golden):
    desired = {"faq": make.desired("faq")}
    plan = make_plan(desired, Lockfile(), Observed())
    golden("render/first.txt", plan_text(plan, desired))
    golden("render/first.md", plan_comment(plan, desired))


def test_only_waiting_is_nothing_to_do(make, golden):
    waits = make.desired("faq")
    entry = make.entry(job=make.open_job(waits))
    job = make.job(waits, progress=Progress(step=4, total_steps=0))
    plan = make_plan(
        {"faq": waits}, Lockfile(finetunes={"faq": entry}), Observed(jobs={"job-1": job})
    )
    golden("render/waiting.txt", plan_text(plan, {"faq": waits}))


@pytest.mark.parametrize(
    ("specs", "expected"),
    [
        (0, "No changes. No fine-tune is declared yet: add finetunes/NAME.yaml."),
        (1, "No changes. The one fine-tune matches its spec."),
        (12, "No changes. All 12 fine-tunes match their specs."),
    ],
)
def test_no_changes(specs: int, expected: str):
    plan = Plan(actions=(), specs=specs)
    assert no_changes(plan) == plan_text(plan, {}) == expected
    assert expected.replace("finetunes/NAME.yaml", "`finetunes/NAME.yaml`") in plan_comment(
        plan, {}
    )


def test_one_fine_tune_in_full(make, golden):
    desired = make.desired(gate=["held_out_loss < base.held_out_loss", "stop_rate >= 0.9"])
    newer = make.desired(seed=7, gate=["held_out_loss < 1"])
    speed = {"tokens_per_s": 8123.4, "padding": 0.12, "tflops_per_s": 402.3, "mfu": 0.4067}
    facts = {"trained_tokens": 123456, "seconds": 61.5, "attention": "varlen", **speed}
    production = make.build(desired, facts=facts)
    candidate = make.build(newer, finished="2026-11-21T08:00:00Z", model_id="ft:카페:2", facts={})
    entry = make.entry(
        production,
        candidate,
        production=production,
        candidate=candidate.fingerprint,
        protect=True,
        job=make.open_job(make.desired(seed=8), id="job-3"),
        failures={make.desired(seed=9).fingerprint: make.failure()},
    )
    answers = [
        {
            "messages": [
                {"role": "system", "content": "카페 상담원입니다."},
                {"role": "user", "content": "주말에도 문 여나요?"},
            ],
            "reference": "네, 손님! 주말에도 열어요.",
            "answers": {"candidate": "네, 열어요.\n" * 20, "base": HOSTILE},
        }
    ]
    golden("render/show.txt", build_text("카페-faq", entry, answers))


@pytest.fixture
def hostile(make):
    desired = make.desired("faq", base_model=HOSTILE)
    blocked = Blocked(name="faq", reason=HOSTILE, remedy=HOSTILE, block_reason=BlockReason.FAILURE)
    return Plan(actions=(blocked,), specs=1), {"faq": desired}


def test_hostile_text_in_a_terminal(hostile, golden):
    text = plan_text(*hostile)
    golden("render/hostile.txt", text)
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_hostile_text_cannot_forge_a_line_of_the_plan(make):
    """A failure's text, written by a job's log, must not look like another action."""
    forged = 'oops\n+ finetune "prod" (scripted, base x)\n  # prod will be trained'
    blocked = Blocked(name="faq", reason=forged, remedy="", block_reason=BlockReason.FAILURE)
    text = plan_text(Plan(actions=(blocked,), specs=1), {"faq": make.desired("faq")})
    assert '\n+ finetune "prod"' not in text


# --- small pieces -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain 카페", "plain 카페"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\tb\nc", "a\tb\nc"),
        ("\x9b31m", "\\x9b31m"),
        ("\r", "\\r"),
        ("\u202e", "\\u202e"),
        ("\u200b\ufeff", "\\u200b\\ufeff"),
        ("\u2028", "\\u2028"),
    ],
)
def test_control_characters_are_shown(text: str, expected: str):
    assert escape_control(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("ab", 2), ("카페", 4), ("é", 1), ("e\u0301", 1), ("한a", 3), ("", 0)]
)
def test_korean_letters_take_two_cells(text: str, expected: int):
    assert cell_len(text) == expected
    assert cell_len(pad(text, 8)) == 8


def test_columns_stand_under_each_other():
    lines = table([["NAME", "X"], ["카페-창업", "1"], ["a", "2"]]).splitlines()
    assert {cell_len(line[: line.rindex(line.split()[-1])]) for line in lines} == {11}


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [("abc", 3, "abc"), ("abcd", 3, "ab…"), ("카페창업", 5, "카페…"), ("a\n\n b", 9, "a b")],
)
def test_text_is_cut_by_cells(text: str, width: int, expected: str):
    assert one_line(text, width) == expected
    assert cell_len(expected) <= width


def test_numbers_and_times():
    spans = [duration(s) for s in (0, 59.6, 61, 3599, 3600, 7860)]
    assert spans == ["0 s", "1 min 0 s", "1 min 1 s", "59 min 59 s", "1 h 0 min", "2 h 11 min"]
    assert [number(x) for x in (1.0, 0.123456, 12345.6, 0)] == ["1", "0.1235", "1.235e+04", "0"]
