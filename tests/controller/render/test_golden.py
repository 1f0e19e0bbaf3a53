"""Everything people read, as golden files: `--update-golden` rewrites them, the diff is the review."""

import json
from dataclasses import replace

import pytest
from rich.cells import cell_len

from backends.contract.jobs import Estimate, JobState, Progress
from controller.errors import Problem
from controller.lockfile.model import Lockfile
from controller.plan.actions import Blocked, BlockReason, Deferred
from controller.plan.desired import DataChange
from controller.plan.fingerprint import short_id
from controller.plan.observed import Lost, Observed
from controller.plan.plan import Plan, make_plan
from controller.render.markdown import LIMIT, cell, plan_markdown
from controller.render.plan import plan_text
from controller.render.plan_json import plan_json
from controller.render.status import build_text, status_json, status_text
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


@pytest.fixture
def everything(make):
    """One fine-tune for each look, in one plan."""
    old = make.desired(hyperparameters={"learning_rate": 1e-4, "chat_template": "chatml"}, seed=1)
    retrained = make.desired(
        "b-retrain",
        facts=make.data(train="sha256:" + "9" * 64),
        hyperparameters={"learning_rate": 2e-4, "target_modules": ["q_proj", "v_proj"]},
        base_model="../models/아주-작은-모델",
        base="sha256:" + "8" * 64,
    )
    retrained = replace(
        retrained,
        data_changes={old.data.train.digest: DataChange(added=214, removed=3)},
        estimate=Estimate(usd=(3.1, 4.7), gpu_hours=(0.2, 0.35), steps=1234),
    )
    local = replace(
        make.desired("a-train", seed=2, backend="local-gpu", base_model="Qwen/Qwen3-0.6B"),
        estimate=Estimate(usd=(0.0, 0.0), steps=270),
        warnings=("12 held-out examples decide `accuracy >= 0.8` to within ±0.23",),
    )
    reused = make.desired("c-reuse", seed=3)
    waits = make.desired("d-wait", seed=4)
    evaluates = make.desired("e-evaluate", seed=5, evaluation={"metrics": ["accuracy"]})
    judged = make.desired("f-judge", seed=6, gate=["held_out_loss < 1"])
    promoted = make.desired("g-promote", seed=7, gate=["held_out_loss < 2"])
    gated = make.desired("h-gate", seed=8, gate=["held_out_loss < 1", "stop_rate > 0.5"])
    failed = make.desired("i-failed", seed=9)
    adopted = make.desired("j-adopt", seed=10)
    recorded = make.desired("k-record", seed=11)
    resumed = make.desired("l-resume", seed=12)
    dear = make.desired("m-budget", seed=13, budget={"max_usd": 1})
    protected = make.desired("n-protect", seed=14, lifecycle={"protect": True})
    superseding = make.desired("o-supersede", seed=15)
    elsewhere = replace(make.desired("q-unpriced", seed=17), estimate=Estimate())
    unwanted = make.desired("o-supersede", seed=16)
    lost = make.desired("s-restore", seed=18)
    suspended = make.desired("t-suspended", seed=19, lifecycle={"suspend": True})
    desired = [
        lost, suspended, retrained, local, reused, waits, evaluates, judged, promoted, gated, failed, adopted,
        recorded, resumed, dear, protected, superseding, elsewhere,
    ]  # fmt: skip
    old_build = make.build(old)
    builds = {
        one.name: make.build(one, evaluated=one is not evaluates)
        for one in (reused, evaluates, promoted, gated, protected)
    }
    progress = Progress(
        step=40, total_steps=96, loss=2.3101, held_out_loss=2.5, tokens_per_s=8123.4, eta_s=125
    )
    jobs = {
        "w": make.job(waits, id="w", progress=progress),
        "r": make.job(recorded, JobState.SUCCEEDED, id="r"),
        "s": make.job(resumed, JobState.INTERRUPTED, id="s"),
        "u": make.job(unwanted, id="u"),
    }
    unjudged = make.build(make.desired("f-judge", seed=6))
    entries = {
        "b-retrain": make.entry(old_build, production=old_build),
        "c-reuse": make.entry(builds["c-reuse"], old_build, production=old_build),
        "d-wait": make.entry(job=make.open_job(waits, id="w")),
        "e-evaluate": make.entry(builds["e-evaluate"], candidate=builds["e-evaluate"].fingerprint),
        "f-judge": make.entry(unjudged, production=unjudged),
        "g-promote": make.entry(builds["g-promote"], candidate=builds["g-promote"].fingerprint),
        "h-gate": make.entry(
            builds["h-gate"],
            old_build,
            candidate=builds["h-gate"].fingerprint,
            production=old_build,
        ),
        "i-failed": make.entry(failures={failed.fingerprint: make.failure()}),
        "k-record": make.entry(job=make.open_job(recorded, id="r")),
        "l-resume": make.entry(job=make.open_job(resumed, id="s")),
        "n-protect": make.entry(builds["n-protect"], production=builds["n-protect"]),
        "o-supersede": make.entry(job=make.open_job(unwanted, id="u", estimate_usd=(40.0, 80.0))),
        "p-retire": make.entry(old_build, production=old_build),
        "r-unread": make.entry(old_build, production=old_build),
        "u-broken": make.entry(old_build, production=old_build),
    }
    observed = Observed(
        jobs=jobs,
        found={adopted.fingerprint: (make.job(adopted, id="job-7"),)},
        lost={
            "s-restore": Lost(
                entry=make.entry(old_build, make.build(lost), production=old_build),
                source="finetunes/ftctl.lock of commit 1f24dc2a55b1",
            )
        },
    )
    declared = {one.name: one for one in desired}
    lockfile = Lockfile(finetunes=entries)
    unread = Deferred(
        name="r-unread",
        reason="data not read, known at apply: data.train[0]: FAQ_DATABASE_URL is not set",
        remedy="export FAQ_DATABASE_URL=postgresql://…",
    )
    problems = tuple(
        Problem(
            file="finetunes/u-broken.yaml", line=line, field=field, message=message, remedy=remedy
        )
        for line, field, message, remedy in (
            (3, "sed", "is not a known key", "Did you mean `seed`?"),
            (7, "gate[0]", "acuracy is not measured", ""),
        )
    )
    broken = Blocked(
        name="u-broken",
        reason="sed: is not a known key; and 1 more",
        remedy="Type `ftctl validate`.",
        block_reason=BlockReason.INPUT,
        problems=problems,
    )
    plan = make_plan(
        declared, lockfile, observed, 100.0, {unread.name: unread, broken.name: broken}
    )
    return plan, declared, lockfile, jobs


def test_the_plan_as_text(everything, golden):
    plan, desired, _, _ = everything
    golden("render/plan.txt", plan_text(plan, desired))


def test_the_plan_as_markdown(everything, golden):
    plan, desired, _, _ = everything
    golden("render/plan.md", plan_markdown(plan, desired))


def test_the_plan_as_json(everything, golden):
    plan, desired, _, _ = everything
    golden("render/plan.json", json.dumps(plan_json(plan, desired), ensure_ascii=False, indent=2))


def test_the_status(everything, golden):
    _, desired, lockfile, jobs = everything
    golden("render/status.txt", status_text(lockfile, [*desired, "카페"], jobs, {}, lambda _: 54))


def test_the_status_as_json(everything, golden):
    _, desired, lockfile, jobs = everything
    value = status_json(lockfile, list(desired), jobs, {})
    golden("render/status.json", json.dumps(value, ensure_ascii=False, indent=2))


def test_a_first_plan_for_a_pull_request(make, golden):
    desired = {"faq": make.desired("faq")}
    plan = make_plan(desired, Lockfile(), Observed())
    golden("render/first.txt", plan_text(plan, desired))
    golden("render/first.md", plan_markdown(plan, desired))


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
    assert expected in plan_markdown(plan, {})


def test_one_fine_tune_in_full(make, golden):
    desired = make.desired(gate=["held_out_loss < base.held_out_loss", "stop_rate >= 0.9"])
    newer = make.desired(seed=7, gate=["held_out_loss < 1"])
    production = make.build(desired)
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


def test_hostile_text_in_markdown(hostile, golden):
    text = plan_markdown(*hostile)
    golden("render/hostile.md", text)
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_hostile_text_in_a_terminal(hostile, golden):
    text = plan_text(*hostile)
    golden("render/hostile.txt", text)
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_hostile_text_cannot_close_the_fence(make):
    many = Blocked(name="faq", reason="x", remedy="`" * 9, block_reason=BlockReason.GATE)
    text = plan_markdown(Plan(actions=(many,), specs=1), {"faq": make.desired("faq")})
    fence = "`" * 10
    assert text.count(fence) == 2


def test_hostile_text_cannot_forge_a_line_of_the_plan(make):
    """A failure's text, written by a job's log, must not look like another action."""
    forged = 'oops\n+ finetune "prod" (scripted, base x)\n  # prod will be trained'
    blocked = Blocked(name="faq", reason=forged, remedy="", block_reason=BlockReason.FAILURE)
    text = plan_text(Plan(actions=(blocked,), specs=1), {"faq": make.desired("faq")})
    assert '\n+ finetune "prod"' not in text


def test_a_long_plan_fits_into_a_comment():
    actions = tuple(
        Blocked(name=f"n{n}", reason="한" * 60, remedy="x" * 60, block_reason=BlockReason.GATE)
        for n in range(3000)
    )
    text = plan_markdown(Plan(actions=actions, specs=3000), {})
    assert len(text) < 65_536
    assert "cut; run `ftctl plan`" in text
    assert LIMIT < 65_536


@pytest.mark.parametrize("text", ["@team", "|", "`x`", "<b>", "[a](b)", "a\nb", "*x*", "~~x~~"])
def test_a_cell_is_only_text(text: str):
    shown = cell(text)
    assert "\n" not in shown
    for character in "|<>[]`*~":
        assert character not in shown.replace(f"\\{character}", "")
    assert "@team" not in shown


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


def test_twelve_digits_of_a_build_are_enough(everything):
    plan, desired, _, _ = everything
    assert short_id(desired["c-reuse"].fingerprint) in plan_text(plan, desired)
