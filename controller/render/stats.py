"""What is in a dataset: lengths as a histogram, labels, languages, turns; as text and as JSON."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from backends.contract.inspector import Json
from controller.data.report import SourceReport, SplitName, StepName, StepReport
from controller.data.reports.statistics import Statistics
from controller.data.reports.token_counts import HistogramBin, LengthStats
from controller.render.data import PART_WORDS, unread_text
from controller.render.text import one_line, table

_BAR_CELLS = 32
_EIGHTHS = "▏▎▍▌▋▊▉█"
_LABEL_CELLS = 40
_PLACES_CELLS = 160
_SHOWN = 8
"""Languages and numbers of turns that are named; the rest is counted together."""

_REPEATED: Mapping[StepName, str] = {
    "deduplicate": "dropped as the same",
    "near": "dropped as nearly the same",
    "leak": "that ask what a held-out example asks",
}
"""Steps that find examples which are there already, and what they did to them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """The longest example that is allowed."""

    tokens: int
    of: str
    """Who says so: `the model`, or `data.prepare.max_tokens`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsSummary:
    """What is in both halves of a dataset."""

    name: str
    statistics: Mapping[SplitName, Statistics]
    spreads: Mapping[SplitName, LengthStats] | None
    """None where nothing can count tokens."""
    note: str = ""
    """Why not, and what to type."""
    histogram: Sequence[HistogramBin] = ()
    limit: Limit | None = None
    over: Mapping[SplitName, int] | None = None
    """Examples beyond the limit."""
    labels: Mapping[str, Mapping[SplitName, int]] | None = None
    steps: Sequence[StepReport] = ()
    sources: Sequence[SourceReport] = ()
    contradictions: Mapping[SplitName, Sequence[Sequence[str]]] = field(default_factory=dict)
    """Some examples with the same question and different answers: `file:line` of each."""


def stats_text(summary: StatsSummary) -> str:
    """Return what is in a dataset, for a terminal."""
    parts = [_tokens(summary), _histogram(summary.histogram), _labels(summary)]
    parts.append("\n".join(_facts(summary)))
    return "\n\n".join(part for part in parts if part)


def stats_json(summary: StatsSummary) -> Json:
    """Return what is in a dataset, for programs."""
    spreads = summary.spreads
    labels: Json = None
    if summary.labels is not None:
        labels = {
            label: {str(part): count for part, count in counts.items()}
            for label, counts in summary.labels.items()
        }

    def part(name: SplitName) -> Json:
        statistics = summary.statistics[name]
        contradictions = summary.contradictions.get(name, ())
        return {
            **asdict(statistics),
            "contradictions": [list(places) for places in contradictions],
            "turns": {str(turns): count for turns, count in statistics.turns.items()},
            "tokens": None if spreads is None else asdict(spreads[name]),
            "over_limit": None if summary.over is None else summary.over[name],
        }

    return {
        "name": summary.name,
        "train": part("train"),
        "held_out": part("held_out"),
        "tokens_note": summary.note or None,
        "limit": None if summary.limit is None else asdict(summary.limit),
        "histogram": [asdict(one) for one in summary.histogram],
        "labels": labels,
        "duplicates": {
            step.name: step.dropped + step.noted for step in summary.steps if step.name in _REPEATED
        },
    }


def bar(share: float, width: int) -> str:
    """Return a bar that fills a share of so many cells, in steps of an eighth."""
    eighths = round(share * width * 8)
    if share > 0:
        eighths = max(eighths, 1)
    full, rest = divmod(eighths, 8)
    return "█" * full + (_EIGHTHS[rest - 1] if rest else "")


def _tokens(summary: StatsSummary) -> str:
    if summary.spreads is None:
        return f"Tokens were not counted: {summary.note}"
    rows = [["TOKENS", "EXAMPLES", "TOTAL", "P50", "P90", "P99", "MAX"]]
    for name, one in summary.spreads.items():
        numbers = (one.total, one.p50, one.p90, one.p99, one.longest)
        examples = summary.statistics[name].examples
        rows.append([PART_WORDS[name], *(f"{number:,}" for number in (examples, *numbers))])
    text = table(rows, right=range(1, 7))
    if summary.limit is not None and summary.over is not None:
        over = ", ".join(f"{count:,} {PART_WORDS[name]}" for name, count in summary.over.items())
        found = over if any(summary.over.values()) else "none"
        text += f"\nLonger than {summary.limit.tokens:,} tokens ({summary.limit.of}): {found}"
    return text


def _histogram(bins: Sequence[HistogramBin]) -> str:
    if not bins:
        return ""
    names = list(bins[0].counts)
    most = max(max(one.counts.values()) for one in bins)
    rows = [["LENGTH", *(PART_WORDS[name].upper() for name in PART_WORDS if name in names), ""]]
    digits = max(len(f"{one.low if one.high is None else one.high:,}") for one in bins)
    for one in bins:
        high = " or more" if one.high is None else f" to {one.high:>{digits},}"
        label = f"{one.low:>{digits},}{'' if one.low == one.high else high}"
        drawn = bar(one.counts[names[0]] / most if most else 0, _BAR_CELLS)
        rows.append([label, *(f"{count:,}" for count in one.counts.values()), drawn])
    return table(rows, right=range(1, len(names) + 1))


def _labels(summary: StatsSummary) -> str:
    if summary.labels is None:
        return ""
    rows = [["ANSWER", "TRAIN", "", "HELD OUT", ""]]
    totals = {name: one.examples for name, one in summary.statistics.items()}
    for label, counts in summary.labels.items():
        row = [one_line(label, _LABEL_CELLS)]
        for name in PART_WORDS:
            row += [f"{counts[name]:,}", _percent(counts[name], totals[name])]
        rows.append(row)
    return table(rows, right=range(1, 5))


def _facts(summary: StatsSummary) -> Iterator[str]:
    rows = []
    for name, one in summary.statistics.items():
        rows.append([PART_WORDS[name], *_about(one)])
    yield table([["", "LANGUAGES", "TURNS", "SYSTEM PROMPT", "TOOLS", "CHARACTERS"], *rows])
    notes = {one.note for one in summary.statistics.values() if one.note}
    yield from (f"Languages: {note}" for note in sorted(notes))
    said = [f"{count:,} {what}" for what, count in _duplicates(summary.steps) if count]
    yield f"Duplicates: {', '.join(said) or 'none'}"
    yield from _contradictions(summary)
    if unread := unread_text(summary.sources):
        yield unread


def _contradictions(summary: StatsSummary) -> Iterator[str]:
    for name, one in summary.statistics.items():
        if one.contradicted:
            yield (
                f"Contradictions ({PART_WORDS[name]}): {one.contradicted:,} of the questions have "
                f"different answers, in {one.contradicting:,} examples"
            )
            for places in summary.contradictions.get(name, ()):
                yield f"  {one_line(', '.join(places), _PLACES_CELLS)}"


def _about(one: Statistics) -> list[str]:
    languages = "-"
    if one.languages is not None:
        total = sum(one.languages.values())
        languages = _named({key: _percent(n, total) for key, n in one.languages.items()})
    texts = not one.roles
    return [
        languages,
        "-" if texts else _turns(one),
        "-" if texts else _percent(one.with_system, one.examples),
        "-" if texts else _percent(one.with_tools, one.examples),
        f"{one.characters:,}",
    ]


def _turns(one: Statistics) -> str:
    if len(one.turns) == 1:
        return f"{next(iter(one.turns))} each"
    return _named({str(number): f"{examples:,}" for number, examples in one.turns.items()})


def _named(words: Mapping[str, str]) -> str:
    shown = [f"{name}: {value}" for name, value in list(words.items())[:_SHOWN]]
    more = len(words) - len(shown)
    return ", ".join([*shown, *([f"{more} more"] if more else [])])


def _percent(count: int, total: int) -> str:
    return f"{100 * count / total:.1f} %" if total else "-"


def _duplicates(steps: Sequence[StepReport]) -> Iterator[tuple[str, int]]:
    for step in steps:
        if step.name in _REPEATED:
            yield _REPEATED[step.name], step.dropped + step.noted
