"""`ftctl reconcile --watch --git`, killed with SIGKILL while a branch moves: what is trained twice.

    python -m tests.benchmarks.service --merges 200

A person pushes merges, each with new inputs for one of some fine-tunes, to a bare repository. In the
first half the service that follows it is killed at random moments, with its children of git or
without them, and started again; in the second half it runs on, and its memory is measured. A server
on loopback counts the jobs that it is asked to create. At the end the branch's lockfile must hold the
last declared inputs of every fine-tune in production.
"""

import argparse
import json
import os
import random
import re
import signal
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.children import until
from tests.servers.hosted_service import declaration, hosted_server, rows, settings
from tests.watched import LOCKFILE, Remote, Watching, git, watching

_MOMENTS = ("started", "fetched", "done", "starting", "pushed", "pass")
"""Events of the log after which a service is killed, one of them for each kill."""
_AFTER_S = 0.5
"""Longest time from that event to the kill."""
_EVENT_S = 20.0
"""Time after which it is killed all the same: there may be nothing to do."""
_CONVERGED_S = 600.0
_TOGETHER = 5
"""Merges of the second half until all of them are in production, and the next ones follow."""
_JOB_S = 1.0
"""Time that a job takes: some are open when the service is killed, or when their spec changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """What came of all merges."""

    merges: int
    kills: int
    wanted: int
    """Different inputs that were merged."""
    created: int
    """Jobs that the server created."""
    twice: int
    """Jobs among them for inputs that another job was created for."""
    in_production: int
    """Fine-tunes whose last declared inputs are in production, as the branch records it."""
    finetunes: int
    lost: int
    """Builds that the branch recorded once, and does not record at the end."""
    records: int
    """Commits of the lockfile."""
    rss_mb: tuple[float, ...]
    """Memory of the service in the second half, each time that everything was as merged."""
    passes: int
    """Passes of the service in the second half."""
    seconds: float


def follow(folder: Path, *, merges: int, kills: int, finetunes: int, seed: int) -> Followed:
    """Push merges and kill the service in between; let it end.

    Args:
        folder: An empty folder.
        merges: Number of merges.
        kills: Number of kills during the first half of them.
        finetunes: Number of fine-tunes.
        seed: Seed of the moments.
    """
    began_s, chance, server = time.monotonic(), random.Random(seed), hosted_server()
    server.finishes = False
    try:
        threading.Thread(target=_train, args=(server,), daemon=True).start()
        remote = Remote(folder)
        remote.merge(
            {
                "ftctl.yaml": settings(server.url, server.url),
                "finetunes/data/triage.jsonl": rows(24),
            }
        )
        half = merges // 2 if kills else 0
        killed = _first_half(folder, remote, range(half), kills, finetunes, chance)
        with watching(folder, remote.url) as watch:
            watch.until("pass", 120)
            memory, last = [], {_name(number, finetunes): number for number in range(half)}
            for number in range(half, merges):
                _merge(remote, number, finetunes)
                last[_name(number, finetunes)] = number
                if (number - half) % _TOGETHER == 0 or number == merges - 1:
                    until(lambda: len(_right(remote, last)) == len(last), _CONVERGED_S)
                    memory.append(_rss_mb(watch))
            passes = _passes(watch)
            if watch.end():
                raise SystemExit(watch.text)
        asked = Counter(_inputs(job) for job in server.jobs.values())
        return Followed(
            merges=merges,
            kills=killed,
            wanted=merges,
            created=asked.total(),
            twice=asked.total() - len(asked),
            in_production=len(_right(remote, last)),
            finetunes=len(last),
            lost=len(_ever(remote) - _builds(remote.recorded())),
            records=sum(line == "Record fine-tunes" for line in remote.log()),
            rss_mb=tuple(memory),
            passes=passes,
            seconds=time.monotonic() - began_s,
        )
    finally:
        server.close()


def _train(server) -> None:
    """Let each job succeed a while after it was created."""
    seen: dict[str, float] = {}
    while True:
        time.sleep(_JOB_S / 10)
        with server.lock:
            for job in server.running:
                if time.monotonic() - seen.setdefault(job["id"], time.monotonic()) > _JOB_S:
                    server.finish(job["id"])


def _first_half(folder, remote, numbers, kills, finetunes, chance) -> int:
    """Push merges; kill the service at moments spread over them; return the number of kills."""
    each, done = max(1, -(-len(numbers) // kills)) if kills else 1, 0
    for begin in range(0, len(numbers), each):
        with watching(folder, remote.url) as watch:
            for number in numbers[begin : begin + each]:
                _merge(remote, number, finetunes)
            moment = chance.choice(_MOMENTS)
            with suppress(AssertionError):
                until(partial(watch.events, moment), _EVENT_S)
            time.sleep(chance.uniform(0.0, _AFTER_S))
            if done % 2:
                _kill_children(watch)
            watch.process.send_signal(signal.SIGKILL)
            watch.process.wait(timeout=20)
            done += 1
    return done


def _kill_children(watch: Watching) -> None:
    """Kill what a service started, as a machine that stops does."""
    listed = Path(f"/proc/{watch.process.pid}/task/{watch.process.pid}/children").read_text()
    for pid in listed.split():
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(int(pid), signal.SIGKILL)


def _merge(remote: Remote, number: int, finetunes: int) -> None:
    rate = f"{_rate(number):.6f}"
    text = declaration("triage") + f"hyperparameters: {{learning_rate_multiplier: {rate}}}\n"
    remote.merge({f"finetunes/{_name(number, finetunes)}.yaml": text}, f"Merge {number}")


def _name(number: int, finetunes: int) -> str:
    return f"model-{number % finetunes:03d}"


def _rate(number: int) -> float:
    return round(0.1 + 0.001 * number, 6)


def _inputs(job: dict) -> str:
    """Return what a job was created from."""
    return repr((job["training_file"], job["model"], job["hyperparameters"]))


def _right(remote: Remote, last: dict[str, int]) -> set[str]:
    """Return the fine-tunes whose last declared inputs are in production."""
    found = set()
    for name, entry in remote.recorded().items():
        build = entry.get("builds", {}).get(entry.get("production"))
        rate = build["inputs"]["hyperparameters"]["learning_rate_multiplier"] if build else None
        if name in last and rate == _rate(last[name]):
            found.add(name)
    return found


def _builds(recorded: dict) -> set[tuple[str, str]]:
    return {(name, key) for name, entry in recorded.items() for key in entry.get("builds", {})}


def _ever(remote: Remote) -> set[tuple[str, str]]:
    """Return every build that any commit of the branch records."""
    found = set()
    for commit in git(remote.origin, "rev-list", "main", "--", LOCKFILE).split():
        text = git(remote.origin, "show", f"{commit}:{LOCKFILE}")
        found |= _builds(json.loads(text)["finetunes"])
    return found


def _passes(watch: Watching) -> int:
    found = re.search(
        r'ftctl_events_total{event="pass",outcome="done"} (\S+)', watch.get("/metrics")
    )
    return round(float(found[1]))


def _rss_mb(watch: Watching) -> float:
    pages = int(Path(f"/proc/{watch.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    """Follow and print."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--merges", type=int, default=200)
    arguments.add_argument("--kills", type=int, help="one for five merges by default")
    arguments.add_argument("--finetunes", type=int, default=10)
    arguments.add_argument("--seed", type=int, default=1)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = follow(
            Path(name),
            merges=given.merges,
            kills=given.merges // 5 if given.kills is None else given.kills,
            finetunes=given.finetunes,
            seed=given.seed,
        )
    print(f"merges                {found.merges:>7,}   in {found.seconds:.0f} s")
    print(f"kills                 {found.kills:>7,}")
    print(f"jobs created          {found.created:>7,}   at most {found.wanted:,}")
    print(f"  of them twice       {found.twice:>7,}")
    print(f"fine-tunes as merged  {found.in_production:>7,}   of {found.finetunes}")
    print(f"recorded builds lost  {found.lost:>7,}")
    print(f"commits of records    {found.records:>7,}")
    print(f"passes after the kills{found.passes:>7,}")
    thirds = [found.rss_mb[0], found.rss_mb[len(found.rss_mb) // 2], found.rss_mb[-1]]
    print("memory, MB            " + ", ".join(f"{one:.1f}" for one in thirds))
    print("  at each look        " + " ".join(f"{one:.0f}" for one in found.rss_mb))


if __name__ == "__main__":
    main()
