"""Run commands in this process, each with a CPU time limit, and judge the outcome."""

import contextlib
import faulthandler
import io
import json
import re
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType

from controller.cli import run
from controller.errors import ExitCode

CPU_S = 20.0
"""CPU time far above any command on a small file; quadratic time on a long text exceeds it."""
WALL_S = 300
"""Wall time after which the process ends with a traceback: something waits without using CPU."""
GROWTH_MIB = 600
"""Memory growth from which a command must have believed a size that a small file only declares."""
LONGEST = 700
"""Maximum characters of a line of a message: long values from files must be shortened."""
_ALLOWED = frozenset(ExitCode) - {ExitCode.DEFECT, ExitCode.INTERRUPTED}
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


class Hung(BaseException):
    """The command exceeded its time limit. No `except Exception` catches this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Outcome of a command."""

    code: int
    out: str
    err: str
    cpu_s: float
    grown_mib: float


def run_command(*arguments: str) -> Outcome:
    """Run a command of ftctl in this process."""
    out, err = (
        io.TextIOWrapper(io.BytesIO(), "utf-8", errors) for errors in ("strict", "backslashreplace")
    )
    before, began = _peak_mib(), time.process_time()
    with _limited(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = run(list(arguments))
        except Hung:
            code = -1
            traceback.print_exc()
        except SystemExit as stop:
            code = -2
            err.write(f"SystemExit: {stop.code}")
    took = time.process_time() - began
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode())
    return Outcome(
        code=code, out=texts[0], err=texts[1], cpu_s=took, grown_mib=_peak_mib() - before
    )


def defects(outcome: Outcome) -> list[str]:
    """Return the defects of an outcome that no input file may cause."""
    found = []
    text = outcome.out + outcome.err
    if outcome.code not in _ALLOWED:
        found.append(f"exit code {outcome.code}")
    if "Traceback (most recent call last)" in text:
        found.append("a traceback")
    if _CONTROL.search(text):
        found.append(f"a control character: {_CONTROL.search(text)[0]!r}")
    if outcome.code == ExitCode.ERROR and not text.strip():
        found.append("an error without a word")
    is_message = outcome.code != ExitCode.DONE or "known at apply" in text
    if is_message and (longest := max(map(len, text.splitlines()), default=0)) > LONGEST:
        found.append(f"a line of {longest} characters")
    if outcome.grown_mib > GROWTH_MIB:
        found.append(f"{outcome.grown_mib:.0f} MiB of memory")
    return found


def placed(outcome: Outcome, file: str) -> list[str]:
    """Return the problems in JSON output that name a field of a file but not its line."""
    try:
        problems = json.loads(outcome.out).get("problems", [])
    except ValueError:
        return ["JSON that cannot be read"]
    return [
        f"no line for {problem['field']}: {problem['message']}"
        for problem in problems
        if problem["file"] == file and problem["field"] and problem["line"] is None
    ]


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    def stop(_number: int, _frame: FrameType | None) -> None:
        raise Hung

    previous = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, CPU_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, previous)


@dataclass(slots=True, kw_only=True)
class Tally:
    """Statistics of many cases."""

    codes: Counter[str] = field(default_factory=Counter)
    slowest: tuple[float, int] = (0.0, -1)
    failures: list[tuple[int, list[str]]] = field(default_factory=list)


def run_cases(
    case: Callable[[int], tuple[str, Outcome, list[str]]],
    seeds: range,
    *,
    tally: Tally | None = None,
    verbose: bool,
) -> Tally:
    """Run a case for each seed.

    Args:
        case: Function from a seed to a word for the case, its outcome and its defects.
        seeds: The seeds.
        tally: Statistics of earlier cases.
        verbose: True to print failures and progress.
    """
    tally, began = tally or Tally(), time.monotonic()
    for number, seed in enumerate(seeds, 1):
        if verbose:
            faulthandler.dump_traceback_later(WALL_S, exit=True)
        kind, outcome, wrong = case(seed)
        tally.codes[f"{kind} {outcome.code}"] += 1
        tally.slowest = max(tally.slowest, (outcome.cpu_s, seed))
        if wrong:
            tally.failures.append((seed, wrong))
            if verbose:
                sys.stdout.write(
                    f"seed {seed}: {kind}: {'; '.join(wrong)}\n{outcome.err[-1500:]}\n"
                )
        if verbose and number % 1000 == 0:
            rate = number / (time.monotonic() - began)
            sys.stdout.write(f"{number:,} cases, {rate:.0f} a second\n")
            sys.stdout.flush()
    faulthandler.cancel_dump_traceback_later()
    return tally


def print_tally(tally: Tally) -> int:
    """Print the statistics, and return the exit code of the process."""
    for kind, count in sorted(tally.codes.items()):
        sys.stdout.write(f"{count:>8,}  {kind}\n")
    sys.stdout.write(
        f"slowest: {tally.slowest[0]:.2f} s of processor time, seed {tally.slowest[1]}\n"
        f"most memory: {_peak_mib():.0f} MiB\n"
        f"failures: {len(tally.failures)}\n"
    )
    return bool(tally.failures)
