"""Small pieces that every rendering shares."""

import re
from collections.abc import Container
from math import ceil, isfinite

from rich.cells import cell_len, chop_cells

from backends.contract.jobs import Progress

_KB, _MB, _GB = 1e3, 1e6, 1e9
_CENT = 0.01
_EXACT = 1e12
"""US dollars from which on cents are not exact in a float."""
_THOUSAND = 1000
_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ud800-\udfff"
    # Nothing is seen of these: blanks without width, fillers of Hangul, letters of tags.
    r"\xad\u034f\u115f\u1160\u17b4\u17b5\u180e\u200b\u2060-\u2065\u3164\ufeff\uffa0\ufff0-\ufffb"
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f]"
)


def escape_control(text: str) -> str:
    """Show control characters instead of sending them to a terminal.

    What stands in YAML or in data was written by anybody: an escape sequence must not move the
    cursor over a price, nor a direction mark turn a name around; and a text that nobody sees must not
    be trained because nobody saw it.
    """
    return _CONTROL.sub(lambda match: ascii(match[0])[1:-1], text)


def one_line(text: str, width: int) -> str:
    """Return text on one line, cut to a width in terminal cells."""
    flat = " ".join(escape_control(text).split())
    return flat if cell_len(flat) <= width else f"{chop_cells(flat, width - 1)[0]}…"


def pad(text: str, width: int) -> str:
    """Return text followed by blanks up to a width in terminal cells."""
    return text + " " * max(0, width - cell_len(text))


def table(rows: list[list[str]], *, indent: str = "", right: Container[int] = ()) -> str:
    """Lay out rows in columns, the first row being the head.

    Args:
        rows: Of equally many cells.
        indent: Before every line.
        right: Columns of numbers, which end under each other.
    """
    # By hand: rich's `Table` needs its console, which takes longer to import than a plan to print.
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    lines = (
        indent
        + "  ".join(
            " " * (width - cell_len(cell)) + cell if column in right else pad(cell, width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def duration(seconds: float) -> str:
    """Return a time span as people say it: `42 s`, `3 min 5 s`, `2 h 10 min`.

    A clock that was set may make it negative, which is no time at all.
    """
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        return f"{hours} h {minutes} min"
    if minutes:
        return f"{minutes} min {left} s"
    return f"{left} s"


def number(value: float) -> str:
    """Return a number with as many digits as people compare."""
    return f"{value:.4g}"


def as_written(value: float) -> str:
    """Return a number as a person writes it in YAML: `2`, `2.2`, `1234567.89`."""
    return f"{value:.15g}"


def hours_text(hours: float) -> str:
    """Return a number of GPU hours: `0.05`, `12.5`, `12,345`."""
    return f"{hours:,.0f}" if hours >= _THOUSAND else number(hours)


def dollars(low: float, high: float) -> str:
    """Return a range of US dollars: `$40.00 - $80.00`; less than a cent is not nothing."""
    if 0 < high < _CENT / 100:
        return "less than $0.0001"
    # Minus zero is a price in YAML, too.
    ends = (f"${end + 0.0:,.{4 if 0 < high < _CENT else 2}f}" for end in (low, high))
    return " - ".join(dict.fromkeys(ends))


def most_dollars(usd: float) -> str:
    """Return the most that something may cost, rounded up to cents: `$2.01` for 2.001."""
    # Products of prices and tokens are a little off: 3.3 may be 3.3000000000000003.
    is_rounded = _CENT <= usd < _EXACT
    most = ceil(round(usd / _CENT, 6)) * _CENT if is_rounded else usd
    return dollars(most, most)


def file_size(size: int) -> str:
    """Return a number of bytes as people write it: `12 MB`, `1.2 GB`."""
    if round(size / _MB) >= _THOUSAND:
        return f"{size / _GB:,.1f} GB"
    return f"{size / _MB:.0f} MB" if round(size / _KB) >= _THOUSAND else f"{size / _KB:.0f} kB"


def download_text(done: int, total: int) -> str:
    """Return how far the download of a base model is."""
    return f"base model {transfer_text(done, total)} downloaded"


def transfer_text(done: int, total: int) -> str:
    """Return how far a transfer is: `40 % of 1.2 GB`."""
    return f"{100 * done // total if total else 100} % of {file_size(total)}"


def progress_text(progress: Progress | None) -> str:
    """Return how far a job has come: `step 40/96, loss 2.31, 8,100 tokens/s, 12 s left`."""
    if progress is None:
        return ""
    of = f"/{progress.total_steps}" if progress.total_steps else ""
    parts = [f"step {progress.step}{of}"]
    if progress.loss is not None:
        parts.append(f"loss {progress.loss:.3f}")
    if progress.held_out_loss is not None:
        parts.append(f"held-out loss {progress.held_out_loss:.3f}")
    if progress.reward_accuracy is not None:
        parts.append(f"reward accuracy {progress.reward_accuracy:.2f}")
    if progress.reward_margin is not None:
        parts.append(f"margin {progress.reward_margin:.2f}")
    if progress.tokens_per_s is not None:
        parts.append(f"{progress.tokens_per_s:,.0f} tokens/s")
    if progress.eta_s is not None and isfinite(progress.eta_s):
        parts.append(f"{duration(progress.eta_s)} left")
    return ", ".join(parts)
