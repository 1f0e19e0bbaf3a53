"""What people read of their data, as golden files."""

import json
from array import array
from pathlib import Path

import pytest
from rich.cells import cell_len

from backends.contract.inspector import Piece
from controller.data.dataset import Dataset, Split
from controller.data.report import Report, SourceReport, StepReport
from controller.data.reports.diff import ChangedExample, Counts, Difference, DiffSamples
from controller.data.reports.provenance import ExamplePosition, Origin, RowOutcome, TracedRow
from controller.data.reports.statistics import Statistics, labels
from controller.data.reports.token_counts import histogram, length_stats
from controller.render.data import (
    BuildSummary,
    build_json,
    build_text,
    counted,
    difference_json,
    difference_text,
    outcome_json,
    outcome_text,
)
from controller.render.preview import PreviewExample, preview_json, preview_text
from controller.render.stats import Limit, StatsSummary, bar, stats_json, stats_text

CSV = "finetunes/data/카페.csv"
HOSTILE = "\x1b[2J\u202e지움\u200b ⟦가짜⟧\r"


def step(name, kept, dropped=0, changed=0, noted=0, reasons=()):
    return StepReport(
        name=name, kept=kept, dropped=dropped, changed=changed, noted=noted, reasons=tuple(reasons)
    )


@pytest.fixture
def dataset() -> Dataset:
    def split(name: str, digit: str, examples: int) -> Split:
        folder = Path("state/datasets/0123")
        return Split(
            path=folder / f"{name}.jsonl",
            origins=folder / f"{name}.origins",
            digest=f"sha256:{digit * 64}",
            examples=examples,
            tokens=None,
        )

    same = [f"{CSV}:{n}: the same as {CSV}:{n - 1}" for n in range(3, 23)]
    return Dataset(
        train=split("train", "1", 1_044),
        held_out=split("held_out", "2", 114),
        report=Report(
            features=(),
            sources=(
                SourceReport(
                    split="train", path=CSV, encoding="CP949", license="CC-BY-4.0",
                    rows=1_200, dropped=42, examples=1_158,
                    unread={"id": 1_200, "input.metadata": 7, HOSTILE: 1},
                    undefined={"'get_stokc' (did you mean 'get_stock'?)": 12, "'x'": 3},
                ),
                SourceReport(
                    split="train", path="sql faq", encoding="", license=None,
                    rows=0, dropped=0, examples=0,
                ),
            ),
            steps=(
                step("normalise", 1_200, changed=1, reasons=[f"{CSV}:7: spelt in Unicode NFC"]),
                step("drop_empty", 1_199, dropped=1, reasons=[f"{CSV}:9: {HOSTILE}"]),
                step("deduplicate", 1_158, dropped=41, reasons=same),
                step("leak", 1_158),
            ),
            reasons=Path("state/datasets/0123/reasons.txt"),
        ),
    )  # fmt: skip


@pytest.fixture
def summary(dataset) -> BuildSummary:
    return BuildSummary(
        name="cafe",
        dataset=dataset,
        tokens={"train": 98_123, "held_out": 10_456},
        epochs=3,
        warnings=["the chat template drops the system prompt"],
    )


def test_a_build(summary, golden):
    golden("data_report/build.txt", build_text(summary))
    golden("data_report/build.json", json.dumps(build_json(summary), ensure_ascii=False, indent=2))


@pytest.mark.parametrize(
    ("tokens", "epochs", "expected"),
    [
        (None, 3, "Tokens were not counted: counting needs x (pip install x)"),
        (98, None, "Trained on: 98 tokens."),
        (98, "auto", "Trained on: 98 tokens x epochs (auto)."),
        (98, 1, "Trained on: 98 tokens x 1 epoch = 98."),
    ],
)
def test_what_is_trained_on(dataset, tokens, epochs, expected):
    summary = BuildSummary(
        name="cafe",
        dataset=dataset,
        tokens=tokens and {"train": tokens, "held_out": 1},
        note="" if tokens else "counting needs x (pip install x)",
        epochs=epochs,
    )
    assert build_text(summary).splitlines()[-1] == expected
    value = build_json(summary)
    assert value["train"]["tokens"] == tokens
    assert value["billable_tokens"] == (98 if epochs == 1 else None)


@pytest.fixture
def stats(dataset) -> StatsSummary:
    lengths = {
        "train": array("I", [n % 37 + 20 for n in range(1_000)] + [900]),
        "held_out": array("I", [n % 31 + 22 for n in range(100)]),
    }

    def statistics(examples: int, **answers: int) -> Statistics:
        return Statistics(
            examples=examples,
            characters=examples * 60,
            roles={"user": examples, "assistant": examples},
            turns={1: examples - 9, 2: 7, 11: 2},
            with_system=examples,
            with_tools=1,
            answers=answers,
            languages={"ko": 95, "en": 4, "und": 1},
            contradicted=2 if examples > 1_000 else 0,
            contradicting=5 if examples > 1_000 else 0,
        )

    both = {
        "train": statistics(1_001, 배송=600, 환불=400, delivery_of_things=1),
        "held_out": statistics(100, 배송=61, 환불=39),
    }
    return StatsSummary(
        name="cafe",
        statistics=both,
        lengths={name: length_stats(some) for name, some in lengths.items()},
        histogram=histogram(lengths),
        limit=Limit(tokens=512, of="data.prepare.max_tokens"),
        over={"train": 1, "held_out": 0},
        labels=labels(both),
        steps=dataset.report.steps,
        sources=dataset.report.sources,
        contradictions={"train": [[f"{CSV}:3", f"{CSV}:17"], [f"{CSV}:4", f"{CSV}:9"]]},
    )


def test_statistics(stats, golden):
    golden("data_report/stats.txt", stats_text(stats))
    golden("data_report/stats.json", json.dumps(stats_json(stats), ensure_ascii=False, indent=2))


def test_columns_end_under_each_other_beside_korean_labels(stats):
    lines = stats_text(stats).splitlines()
    head = next(n for n, line in enumerate(lines) if line.startswith("ANSWER"))
    assert len({cell_len(line) for line in lines[head + 1 : head + 4]}) == 1


def test_statistics_without_counts_say_why(stats):
    summary = StatsSummary(
        name="cafe", statistics=stats.statistics, lengths=None, note="needs tokenizers"
    )
    text = stats_text(summary)
    assert text.startswith("Tokens were not counted: needs tokenizers\n")
    assert "LENGTH" not in text
    assert stats_json(summary)["train"]["tokens"] is None


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0, ""), (0.001, "▏"), (0.5, "████"), (0.55, "████▍"), (1, "████████")],
)
def test_bars_grow_by_eighths(share: float, expected: str):
    assert bar(share, 8) == expected


@pytest.mark.parametrize(
    ("difference", "expected"),
    [
        (Difference(), "no example differs"),
        (
            Difference(moved=2),
            "no example differs; 2 examples are in the other split",
        ),
        (
            Difference(train=Counts(added=183), held_out=Counts(added=17)),
            "+200 (+183 train, +17 held out)",
        ),
        (
            Difference(train=Counts(added=1_214, removed=3, changed=12), moved=1),
            "+1,214 -3 ~12 (+1,214 -3 ~12 train); 1 example is in the other split",
        ),
    ],
)
def test_a_difference_in_one_line(difference, expected):
    assert counted(difference) == expected


def line(question: str, answer: str, **more) -> bytes:
    messages = [
        {"role": "user", "content": question},
        {"role": "assistant", "content": answer, **more},
    ]
    return json.dumps({"messages": messages}, ensure_ascii=False).encode()


def test_a_difference_with_examples(golden):
    def found(origin: str, *pair: str, before: bytes | None = None, **more) -> ChangedExample:
        of = line(*pair, **more)
        return ChangedExample(split="train", origin=f"{CSV}:{origin}", line=of, before=before)

    calls = [{"id": "1", "function": {"name": "find"}}]
    shown = DiffSamples(
        added=(found("18", "주차 되나요?", "네, 두 시간 무료입니다."),),
        removed=(
            found("2", HOSTILE, "x" * 200),
            found("3", "찾아 줘", "", tool_calls=calls),
        ),
        changed=(
            found("4", "몇 시까지?", "열 시요.", before=line("몇 시까지?", "아홉 시요.")),
            found("5", "안녕", "네!", before=line("안녕", "네!")),
        ),
    )
    counts = Difference(train=Counts(added=200, removed=2, changed=2))
    golden("data_report/diff.txt", difference_text("cafe", "revision HEAD~1", counts, shown))
    value = difference_json("cafe", "revision HEAD~1", counts, shown)
    assert value["examples"]["changed"][0]["before"]["messages"][1]["content"] == "아홉 시요."
    assert (value["added"], value["train"]["added"]) == (200, 200)


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        (
            "kept",
            RowOutcome(
                origin=Origin(CSV, 7),
                row=TracedRow(starts=7, values={"질문": HOSTILE, "n": 3, "tags": ["a", None]}),
                positions=(
                    ExamplePosition(split="train", number=5),
                    ExamplePosition(split="train", number=6),
                ),
                reasons=(("normalise", "spelt in Unicode NFC"),),
            ),
        ),
        (
            "dropped",
            RowOutcome(
                origin=Origin(CSV, 8),
                row=TracedRow(starts=8, values={"질문": "영업 시간은?"}),
                positions=(),
                reasons=(("deduplicate", f"the same as {CSV}:3"),),
            ),
        ),
        (
            "broken",
            RowOutcome(
                origin=Origin(CSV, 9),
                row=TracedRow(starts=9, values=None, problem="11 fields, not 10"),
                positions=(),
                reasons=(),
            ),
        ),
    ],
)
def test_what_became_of_a_row(name, outcome, golden):
    golden(f"data_report/explain_{name}.txt", outcome_text(outcome))
    assert json.dumps(outcome_json(outcome))


@pytest.fixture
def seen() -> PreviewExample:
    pieces = [
        *(("<|im_start|>", False), ("user\n", False), ("영업", False), (f" {HOSTILE}", False)),
        *(("<|im_end|>\n", False), ("네", True), (" ⟦진짜⟧", True), ("<|im_end|>", True)),
        ("\n", False),
    ]
    return PreviewExample(
        split="held_out",
        number=1_234,
        origin=f"{CSV}:7",
        line=line("영업", "네"),
        tokens=9,
        pieces=[Piece(text=text, trained=trained) for text, trained in pieces],
    )


def test_a_preview_without_colour_keeps_what_is_learnt(seen, golden):
    golden("data_report/preview.txt", preview_text(seen))


def test_a_preview_in_colour_has_no_escape_of_the_datas_own(seen):
    text = preview_text(seen, lambda learnt: f"\x1b[32m{learnt}\x1b[0m")
    assert text.count("\x1b") == 2
    assert "\u202e" not in text


def test_a_preview_for_programs_is_exact(seen):
    value = preview_json(seen)
    assert "".join(piece["text"] for piece in value["pieces"]).count("⟦") == 2
    assert next(piece["text"] for piece in value["pieces"] if piece["trained"]) == "네"
