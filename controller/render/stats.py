"""Statistics of a dataset: lengths as a histogram, labels, languages, turns; as text and as JSON."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from backends.contract.inspector import Json
from controller.data.report import SourceReport, StepName, StepReport
from controller.data.reports.statistics import Statistics
from controller.data.reports.token_counts import HistogramBin, LengthStats
from controller.render.data import SPLIT_WORDS, unread_text
from controller.render.text import one_line, table
from controller.spec.data import SplitName

_BAR_CELLS = 32
_EIGHTHS = "▏▎▍▌▋▊▉█"
_LABEL_CELLS = 40
_PLACES_CELLS = 160
_SHOWN = 8
"""Maximum number of named languages and numbers of turns; the rest is counted together."""

_REPEATED: Mapping[StepName, str] = {
    "deduplicate": "dropped as the same",
    "near": "dropped as nearly the same",
    "leak": "that ask what a held-out example asks",
}
"""Steps that find repeated examples, and what they do to them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """The longest example that is allowed."""

    tokens: int
    of: str
    """Origin of the limit: `the model`, or `data.prepare.max_tokens`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsSummary:
    """Statistics of both splits of a dataset."""

    name: str
    statistics: Mapping[SplitName, Statistics]
    lengths: Mapping[SplitName, LengthStats] | None
    """None if nothing can count tokens."""
    note: str = ""
    """Reason for missing lengths, and the command to type."""
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
    """Return the statistics of a dataset, for a terminal."""
    parts = [_tokens(summary), _histogram(summary.histogram), _labels(summary)]
    parts.append("\n".join(_facts(summary)))
    return "\n\n".join(part for part in parts if part)


def stats_json(summary: StatsSummary) -> Json:
    """Return the statistics of a dataset, for programs."""
    lengths = summary.lengths
    labels: Json = None
    if summary.labels is not None:
        labels = {
            label: {str(name): count for name, count in counts.items()}
            for label, counts in summary.labels.items()
        }

    def split(name: SplitName) -> Json:
        statistics = summary.statistics[name]
        contradictions = summary.contradictions.get(name, ())
        return {
            **asdict(statistics),
            "contradictions": [list(places) for places in contradictions],
            "turns": {str(turns): count for turns, count in statistics.turns.items()},
            "tokens": None if lengths is None else asdict(lengths[name]),
            "over_limit": None if summary.over is None else summary.over[name],
        }

    return {
        "name": summary.name,
        "train": split("train"),
        "held_out": split("held_out"),
        "tokens_note": summary.note or None,
        "limit": None if summary.limit is None else asdict(summary.limit),
        "histogram": [asdict(bin_) for bin_ in summary.histogram],
        "labels": labels,
        "duplicates": {
            step.name: step.dropped + step.noted for step in summary.steps if step.name in _REPEATED
        },
    }


def bar(share: float, width: int) -> str:
    """Return a bar that fills a share of `width` cells, in steps of an eighth."""
    eighths = round(share * width * 8)
    if share > 0:
        eighths = max(eighths, 1)
    full, rest = divmod(eighths, 8)
    return "█" * full + (_EIGHTHS[rest - 1] if rest else "")


def _tokens(summary: StatsSummary) -> str:
    if summary.lengths is None:
        return f"Tokens were not counted: {summary.note}"
    rows = [["TOKENS", "EXAMPLES", "TOTAL", "P50", "P90", "P99", "MAX"]]
    for name, lengths in summary.lengths.items():
        numbers = (lengths.total, lengths.p50, lengths.p90, lengths.p99, lengths.longest)
        examples = summary.statistics[name].examples
        rows.append([SPLIT_WORDS[name], *(f"{number:,}" for number in (examples, *numbers))])
    text = table(rows, right=range(1, 7))
    if summary.limit is not None and summary.over is not None:
        over = ", ".join(f"{count:,} {SPLIT_WORDS[name]}" for name, count in summary.over.items())
        longer = over if any(summary.over.values()) else "none"
        text += f"\nLonger than {summary.limit.tokens:,} tokens ({summary.limit.of}): {longer}"
    return text


def _histogram(bins: Sequence[HistogramBin]) -> str:
    if not bins:
        return ""
    names = list(bins[0].counts)
    most = max(max(bin_.counts.values()) for bin_ in bins)
    rows = [["LENGTH", *(SPLIT_WORDS[name].upper() for name in SPLIT_WORDS if name in names), ""]]
    digits = max(len(f"{bin_.low if bin_.high is None else bin_.high:,}") for bin_ in bins)
    for bin_ in bins:
        high = " or more" if bin_.high is None else f" to {bin_.high:>{digits},}"
        label = f"{bin_.low:>{digits},}{'' if bin_.low == bin_.high else high}"
        drawn = bar(bin_.counts[names[0]] / most if most else 0, _BAR_CELLS)
        rows.append([label, *(f"{count:,}" for count in bin_.counts.values()), drawn])
    return table(rows, right=range(1, len(names) + 1))


def _labels(summary: StatsSummary) -> str:
    if summary.labels is None:
        return ""
    rows = [["ANSWER", "TRAIN", "", "HELD OUT", ""]]
    totals = {name: statistics.examples for name, statistics in summary.statistics.items()}
    for label, counts in summary.labels.items():
        row = [one_line(label, _LABEL_CELLS)]
        for name in SPLIT_WORDS:
            row += [f"{counts[name]:,}", _percent(counts[name], totals[name])]
        rows.append(row)
    return table(rows, right=range(1, 5))


def _facts(summary: StatsSummary) -> Iterator[str]:
    rows = []
    for name, statistics in summary.statistics.items():
        rows.append([SPLIT_WORDS[name], *_about(statistics)])
    yield table([["", "LANGUAGES", "TURNS", "SYSTEM PROMPT", "TOOLS", "CHARACTERS"], *rows])
    if any(one.good or one.bad for one in summary.statistics.values()):
        marks = (
            f"{one.good:,} good and {one.bad:,} bad {SPLIT_WORDS[name]}"
            for name, one in summary.statistics.items()
        )
        yield f"Marked answers: {', '.join(marks)}"
    notes = {statistics.note for statistics in summary.statistics.values() if statistics.note}
    yield from (f"Languages: {note}" for note in sorted(notes))
    repeated = [f"{count:,} {what}" for what, count in _duplicates(summary.steps) if count]
    yield f"Duplicates: {', '.join(repeated) or 'none'}"
    yield from _contradictions(summary)
    if unread := unread_text(summary.sources):
        yield unread


def _contradictions(summary: StatsSummary) -> Iterator[str]:
    for name, statistics in summary.statistics.items():
        if statistics.contradicted:
            yield (
                f"Contradictions ({SPLIT_WORDS[name]}): {statistics.contradicted:,} of the questions have "
                f"different answers, in {statistics.contradicting:,} examples"
            )
            for places in summary.contradictions.get(name, ()):
                yield f"  {one_line(', '.join(places), _PLACES_CELLS)}"


def _about(statistics: Statistics) -> list[str]:
    languages = "-"
    if statistics.languages is not None:
        total = sum(statistics.languages.values())
        languages = _named({key: _percent(n, total) for key, n in statistics.languages.items()})
    texts = not statistics.roles
    return [
        languages,
        "-" if texts else _turns(statistics),
        "-" if texts else _percent(statistics.with_system, statistics.examples),
        "-" if texts else _percent(statistics.with_tools, statistics.examples),
        f"{statistics.characters:,}",
    ]


def _turns(statistics: Statistics) -> str:
    if len(statistics.turns) == 1:
        return f"{next(iter(statistics.turns))} each"
    return _named({str(number): f"{examples:,}" for number, examples in statistics.turns.items()})


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
