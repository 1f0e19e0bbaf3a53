"""The comment as a whole: what stands first, what is cut, and what hostile text comes to."""

import json
from dataclasses import replace

import pytest

from backends.contract.deployments import Hosting
from backends.contract.jobs import Estimate
from controller.data.reports.diff import ChangedExample, Counts, Difference, DiffSamples
from controller.errors import Problem
from controller.plan.actions import Blocked, BlockReason, Deferred
from controller.plan.desired import Shutdown
from controller.plan.plan import Plan
from controller.render.comment.comment import BOUND, LIMIT, plan_comment, problems_comment
from controller.render.comment.escape import length
from controller.render.comment.facts import DataDiff, GateChange, Review
from controller.render.comment.table import HEAD
from tests.controller.render.comment.github import check
from tests.controller.render.comment.test_escape import HOSTILE
from tests.controller.render.situations import SITUATIONS, plan_of

HEAD_COMMIT, BASE_COMMIT = "4d3a31544ea5b4085fa14477580489bfa6429b6a", "01" * 20
EVERYTHING = " ".join(HOSTILE) + "\n" + "\n".join(HOSTILE)


def example(text, *, answer="네, 손님!", before=None, split="train"):
    def line(said):
        messages = [{"role": "user", "content": text}, {"role": "assistant", "content": said}]
        return json.dumps({"messages": messages}, ensure_ascii=False).encode()

    return ChangedExample(
        split=split,
        origin=f"finetunes/data/{text}.csv:3",
        line=line(answer),
        before=None if before is None else line(before),
    )


def review(name, text="영업 시간", **changes):
    samples = DiffSamples(
        added=tuple(example(f"{text} {number}") for number in range(4)),
        removed=(example(f"{text} 옛날", split="held_out"),),
        changed=(example(text, answer=text, before="아니요."),),
    )
    difference = Difference(
        train=Counts(added=214, removed=2, changed=1), held_out=Counts(removed=1)
    )
    return Review(
        head=HEAD_COMMIT,
        base=BASE_COMMIT,
        production={name: f"ft1:{'9e' * 32}"},
        data={name: DataDiff(against=f"build {text}", difference=difference, samples=samples)},
        gates={
            name: GateChange(
                old=("accuracy >= 0.8", text), new=("accuracy >= 0.85",), foreseen=text
            )
        },
        **changes,
    )


def test_a_comment_in_full(make, golden):
    seen = plan_of(make, "retrain", "supersede", "unread", "broken", "retire", "wait")
    ends = {"wait": Shutdown(date="2027-01-14", days_left=46, source="table of ftctl", model="m")}
    plan = replace(seen.plan, shutdowns=ends, skipped={"openai": "no server is asked"})
    text = plan_comment(plan, seen.desired, review("retrain", approve_above_usd=5.0))
    golden("render/comment.md", text)
    check(text)


LOOSE = "gate: [] (promoted even if it is worse than its base model)"
RULE = "(no worse than its base model)"


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        (None, ("a > 1",), None),
        ((), (), None),
        (("a > 1",), ("a > 1",), None),
        (LOOSE, LOOSE, None),
        ((), LOOSE, [f"- {RULE}", f"+ {LOOSE}"]),
        (LOOSE, (), [f"- {LOOSE}", f"+ {RULE}"]),
        (("a > 1",), LOOSE, ["- a > 1", "- (no condition any more)", f"- {RULE}", f"+ {LOOSE}"]),
        (("a > 1",), (), ["- a > 1", "- (no condition any more)"]),
        ((), ("a > 1",), ["+ a > 1", "+ (no condition before)"]),
        (("a > 1", "b > 1"), ("b > 1", "c > 1"), ["- a > 1", "  b > 1", "+ c > 1"]),
    ],
)
def test_a_gate_is_shown_where_it_is_another_one_or_allows_worse(make, old, new, lines):
    seen = plan_of(make, "train")
    change = GateChange(
        old=() if old == LOOSE else old,
        new=() if new == LOOSE else new,
        allowed_worse=old == LOOSE,
        allows_worse=new == LOOSE,
    )
    text = plan_comment(seen.plan, seen.desired, Review(gates={"train": change}))
    check(text)
    assert ("another gate" in text) == (lines is not None)
    shown = text.partition("Gate, before and after:\n\n```diff\n")[2].partition("\n```")[0]
    assert shown.splitlines() == (lines or [])


def test_the_first_lines_bind_it_to_plan_and_commits(make):
    seen = plan_of(make, "train")
    first, second, *_ = plan_comment(seen.plan, seen.desired, review("train")).splitlines()
    assert first == "<!-- ftctl:plan -->"
    assert json.loads(second.removeprefix(BOUND).removesuffix(" -->")) == {
        "plan": seen.plan.id,
        "head": HEAD_COMMIT,
        "base": BASE_COMMIT,
    }


def test_what_is_important_comes_first(make):
    seen = plan_of(make, *SITUATIONS)
    text = plan_comment(seen.plan, seen.desired)
    rows = [line.split("`")[1] for line in text.splitlines() if line.startswith("| `")]
    place = rows.index
    assert place("broken") < place("supersede") < place("retrain") < place("train")
    assert place("train") < place("wait")
    assert sorted(rows) == sorted(action.name for action in seen.plan.actions)
    check(text)


def many(make, count, name="cafe-{:03}"):
    seen = plan_of(make, "retrain", "train")
    actions = []
    for number in range(count):
        action = seen.plan.actions[number % 2]
        cost = Estimate(usd=(float(number), float(number)))
        actions.append(replace(action, name=name.format(number), estimate=cost))
    desired = {one.name: seen.desired[seen.plan.actions[0].name] for one in actions}
    shown = review("x")
    shown = replace(
        shown,
        data={one.name: shown.data["x"] for one in actions},
        gates={one.name: shown.gates["x"] for one in actions},
    )
    return Plan(actions=tuple(actions), specs=count), desired, shown


@pytest.mark.parametrize("count", [1, 20, 500])
def test_many_models_are_cut_by_whole_models(make, count):
    plan, desired, shown = many(make, count)
    text = plan_comment(plan, desired, shown)
    page = check(text)
    assert length(text) <= LIMIT
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert set(page.cells) == {HEAD[0].count("|") - 1}
    # The dearest come first, and every row and block is whole.
    costs = [float(row.split("$")[1].split(" ")[0]) for row in rows]
    assert costs == sorted(costs, reverse=True)
    assert costs[0] == count - 1
    assert text.count("<details>") == text.count("</details>")
    if count == 1:
        assert text.count("<details>") == 1
    if count == 500:
        assert 100 < len(rows) < 500
        assert text.count("<details>") > 10
        assert f"**And {500 - len(rows)} more models**" in text
        assert length(text) > 0.9 * LIMIT
    assert text.rstrip().endswith(f"compared with `{BASE_COMMIT[:12]}`.")
    assert "**Merging** carries out this plan and no other" in text


def test_long_words_of_many_models_stay_below_the_limit(make):
    """A Korean name of 60 letters, a reason of 300 and 🙂, which count twice at GitHub."""
    plan, desired, shown = many(make, 300, "카" * 60 + "{:03}")
    reason = "🙂" * 400
    actions = tuple(replace(action, reason=reason) for action in plan.actions)
    text = plan_comment(replace(plan, actions=actions), desired, shown)
    assert length(text) <= LIMIT
    check(text)


def test_hostile_text_everywhere(make):
    """Names, reasons, remedies, problems, places, data, file names, gates, notes, commits."""
    seen = plan_of(make, "retrain", "supersede", "retire", "unread", "train")
    problem = Problem(file=EVERYTHING, field=EVERYTHING, message=EVERYTHING, remedy=EVERYTHING)
    blocked = Blocked(
        name=EVERYTHING,
        reason=EVERYTHING,
        remedy=EVERYTHING,
        block_reason=BlockReason.INPUT,
        problems=(problem,),
    )
    late = Deferred(name=f"late {EVERYTHING}", reason=EVERYTHING, remedy=EVERYTHING)
    renamed = [
        replace(
            action,
            name=f"{action.name} {EVERYTHING}",
            reason=EVERYTHING,
            **(
                {"cancels": replace(action.cancels, job=EVERYTHING, backend=EVERYTHING)}
                if action.cancels is not None
                else {}
            ),
        )
        for action in seen.plan.actions
    ]
    train = next(one for one in renamed if one.name.startswith("train"))
    hosted = replace(train, name="hosted", hosting=Hosting(usd_per_hour=1.7, note=EVERYTHING))
    plan = Plan(
        actions=(*renamed, blocked, late, hosted),
        specs=5,
        skipped={EVERYTHING: EVERYTHING},
        notes=(EVERYTHING,),
        corrected={EVERYTHING: (EVERYTHING,)},
        shutdowns={EVERYTHING: Shutdown(date="2027-01-14", days_left=1, source=EVERYTHING)},
    )
    desired = {
        action.name: make.desired(base_model=EVERYTHING, aliases=["a"]) for action in renamed
    }
    shown = replace(review(renamed[0].name, EVERYTHING), base_note=EVERYTHING)
    shown.gates[blocked.name] = GateChange(old=(EVERYTHING,), new=(), foreseen=EVERYTHING)
    shown.data[blocked.name] = DataDiff(against=EVERYTHING, note=EVERYTHING)
    text = plan_comment(plan, desired, shown)
    page = check(text)
    assert page.tags.count("details") == len(plan.actions)
    assert set(page.cells) == {7}
    for hidden in ("\x1b", "\u202e", "\x00"):
        assert hidden not in text


def test_no_plan_shows_every_problem_as_it_is():
    text = problems_comment(EVERYTHING, Review(head=HEAD_COMMIT))
    page = check(text)
    assert "**There is no plan: the fine-tunes have problems.**" in text
    assert page.tags.count("pre") == 1
    long = problems_comment("가나다라마바사\n" * 9_000)
    assert length(long) <= LIMIT
    assert long.rstrip().endswith("more lines.")
    check(long)
