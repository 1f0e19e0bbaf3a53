"""Models that a service holds: as a table, as JSON, and what became of them. Pure."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from backends.contract.inspector import Json
from backends.excerpt import clipped, printable
from controller.render.text import escape_control, one_line, table

_ID_WIDTH = 72
_LONGEST_ID = 300
"""Characters of a model ID in a sentence."""
_MB = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedRow:
    """One job or model at a service, as people and programs see it."""

    name: str
    """The fine-tune that it is recorded for, or else would be called."""
    adopted: bool
    """True if it is recorded in this repository."""
    model_id: str | None
    job_id: str | None
    base_model: str | None
    method: str | None
    state: str
    """`adopted`, `not adopted`, `gone` or `adopted, gone` for a model that the service does not list any more, or the
    state of a job without a model."""
    date: str | None
    """Day on which the job ended, or else began."""
    trained_tokens: int | None
    shutdown_date: str | None
    days_left: int | None
    training_file: str
    """`kept`, `gone`, `unknown`, or `none` if no file is named."""
    training_file_id: str | None = None
    training_file_bytes: int | None = None
    validation_file: str = "none"
    organization: str | None = None


def hosted_text(rows: Sequence[HostedRow], place: str) -> str:
    """Return the jobs and models at a service as a table.

    Args:
        rows: The jobs and models.
        place: The service, for people.
    """
    if not rows:
        return ""
    cells = [
        ["NAME", "STATE", "BASE MODEL", "DATE", "TOKENS", "DAYS LEFT", "TRAINING FILE", "MODEL"],
        *(_cells(row) for row in rows),
    ]
    models = sum(row.model_id is not None for row in rows)
    adopted = sum(row.adopted for row in rows)
    total = f"{_counted(models, 'model')}, {adopted:,} adopted, at {escape_control(place)}."
    return f"{table(cells, right={4, 5})}\n\n{total}"


def hosted_json(rows: Sequence[HostedRow]) -> list[Json]:
    """Return the jobs and models at a service for programs."""
    return [asdict(row) for row in rows]


def _cells(row: HostedRow) -> list[str]:
    left = "-" if row.days_left is None else "off" if row.days_left < 0 else f"{row.days_left:,}"
    size = row.training_file_bytes
    file = row.training_file
    if file == "kept" and size:
        file += f", {size / _MB:,.1f} MB" if size >= _MB / 10 else f", {size / 1000:,.1f} kB"
    return [
        escape_control(row.name),
        row.state,
        one_line(row.base_model or "-", _ID_WIDTH),
        row.date or "-",
        "-" if row.trained_tokens is None else f"{row.trained_tokens:,}",
        left,
        file,
        one_line(row.model_id or row.job_id or "-", _ID_WIDTH),
    ]


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptedView:
    """Outcome for one hosted model."""

    model_id: str
    name: str
    is_new: bool
    """False if it was recorded before."""
    files: Sequence[str] = ()
    """Files of the repository, relative to it."""
    verified: Sequence[str] = ()
    declared: Sequence[str] = ()
    remarks: Sequence[str] = ()
    """Sentences about its data."""


def adoption_text(adopted: AdoptedView, *, brief: bool = False) -> str:
    """Return what was adopted, what was seen, and what is only said.

    Args:
        adopted: The outcome.
        brief: True to leave out what was seen and said, for one of many models.
    """
    head = f"= {adopted.name}: {printable(clipped(adopted.model_id, _LONGEST_ID))}"
    if not adopted.is_new:
        return escape_control(f"{head} is recorded already")
    joined = " and " if len(adopted.files) < _FEW else ", "
    lines = [f"{head} is adopted, in production", f"    {joined.join(adopted.files)}"]
    lines += [f"    {text}" for text in adopted.remarks]
    if not brief:
        lines += [f"    verified: {text}" for text in adopted.verified]
        lines += [f"    declared: {text}" for text in adopted.declared]
    # Texts of a service stay on their line.
    return "\n".join(map(printable, lines))


_FEW = 3
"""Number of files from which on they are listed with commas."""


def total_text(adopted: int, recorded: int, refused: int, skipped: int) -> str:
    """Return how many models were adopted; nothing was trained for any of them."""
    parts = [f"{_counted(adopted, 'model')} adopted"]
    if recorded:
        parts.append(f"{recorded:,} recorded before")
    if refused:
        parts.append(f"{refused:,} not adopted")
    if skipped:
        parts.append(f"{_counted(skipped, 'job')} without a model left out")
    return f"{', '.join(parts)}. Nothing was trained; nothing was spent."
