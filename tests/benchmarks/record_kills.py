"""`ftctl record`, killed with SIGKILL at random moments: what is lost, and what is asked twice.

    python tests/benchmarks/record_kills.py --rounds 50

Each round starts the command in a process of its own and kills it at a random moment: in every fifth
round at any moment of its start, else while it asks. The server on loopback counts each question
that it answers. After the last round the command runs to its end.
Printed are the answers that were wanted, those that the server gave, and those that it gave twice:
they were under way when a process was killed. A process has at most 64 requests under way and as
many answers that are not written yet.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from controller.cli import run
from tests.children import ROOT, child, until
from tests.servers.hosted_service import KEY, declaration, hosted_server, rows, settings

ASK = ("POST", "/chat/completions")
UNDER_WAY = 2 * 64
"""Answers that one process may have asked for and not written."""
_DELAY_S = 0.05
_START_S = 2.0
"""Seconds of the start of a process."""
_ASKING_S = 0.15
"""Longest time for which a process may ask before it is killed."""
_START_EVERY = 5
"""One round in so many kills a process at its start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Killed:
    """Counts of all rounds together."""

    kills: int
    asking: int
    """Kills of processes that had asked something."""
    wanted: int
    given: int
    """Answers that the server gave."""
    twice: int
    """Answers among them that were given before."""
    lost: int
    """Answers that were kept before a kill, and not after it."""
    kept: int
    """Answers that are kept at the end."""
    committed: int
    """Answers in the file to commit, at the end."""


def kill_rounds(root: Path, *, rounds: int, count: int, seed: int) -> Killed:
    """Kill `ftctl record` in a new repository, round after round, and let it end.

    Args:
        root: Folder of the repository.
        rounds: Number of kills.
        count: Number of rows of its data.
        seed: Seed of the moments.
    """
    server, chance = hosted_server(), random.Random(seed)
    server.hold_s = _DELAY_S
    try:
        environment = _prepare(root, server, count)
        server.requests.clear()
        command = [sys.executable, "-m", "controller", "--dir", str(root), "record", "triage"]
        command += ["--train", str(count), "--yes"]
        lost, asking, had = 0, 0, set()
        for number in range(rounds):
            before = len(_asked(server))
            with child(command, env=environment) as recording:
                if number % _START_EVERY == 0:
                    time.sleep(chance.uniform(0.0, _START_S))
                else:
                    until(partial(_asks, server, before, recording), 60)
                    time.sleep(chance.uniform(0.0, _ASKING_S))
                recording.send_signal(signal.SIGKILL)
                recording.wait(timeout=20)
            asking += len(_asked(server)) > before
            now = _kept(root / ".ftctl/answers")
            lost, had = lost + len(had - now), now
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)
        given = Counter(_asked(server))
        return Killed(
            kills=rounds,
            asking=asking,
            wanted=count,
            given=given.total(),
            twice=given.total() - len(given),
            lost=lost,
            kept=len(_kept(root / ".ftctl/answers")),
            committed=len(_kept(root / "finetunes/recorded")),
        )
    finally:
        server.close()


def _prepare(root: Path, server, count: int) -> dict[str, str]:
    """Write a repository with a model in production, of which nothing is kept."""
    (root / "finetunes/data").mkdir(parents=True)
    (root / "finetunes/data/triage.jsonl").write_text(rows(count), "utf-8")
    (root / "finetunes/triage.yaml").write_text(declaration("triage", compare_to="production"))
    (root / "ftctl.yaml").write_text(settings(server.url, server.url))
    os.environ |= {"HOSTED_KEY": KEY, "HOME_KEY": KEY}
    if run(["--dir", str(root), "apply", "--auto-approve"]):
        raise SystemExit("the model was not trained")
    for path in (root / ".ftctl/answers").glob("*"):
        path.unlink()
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def _asked(server) -> list[str]:
    """Return the questions so far; a request of a process that died while it sent it is none."""
    return [
        json.dumps(body["messages"])
        for method, path, _, body in tuple(server.requests)
        if (method, path) == ASK and "messages" in body
    ]


def _asks(server, before: int, process) -> bool:
    """Return whether a process has asked something, or has ended."""
    return len(_asked(server)) > before or process.poll() is not None


def _kept(folder: Path) -> set[str]:
    """Return the prompts whose answers are kept whole."""
    kept: set[str] = set()
    for path in folder.glob("*.jsonl"):
        lines = path.read_bytes().splitlines(keepends=True)[1:]
        kept |= {json.loads(line)["prompt"] for line in lines if line.endswith(b"\n")}
    return kept


def main() -> None:
    """Kill and print."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--rounds", type=int, default=10)
    arguments.add_argument("--rows", type=int, default=0, help="100 for each round by default")
    arguments.add_argument("--seed", type=int, default=1)
    given = arguments.parse_args()
    count = given.rows or 100 * given.rounds
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "repository"
        found = kill_rounds(root, rounds=given.rounds, count=count, seed=given.seed)
    print(f"kills                {found.kills:>7,}")
    print(f"  of them asking     {found.asking:>7,}")
    print(f"answers wanted       {found.wanted:>7,}")
    print(f"answers given        {found.given:>7,}")
    print(f"  of them twice      {found.twice:>7,}   at most {UNDER_WAY * found.asking:,}")
    print(f"kept answers lost    {found.lost:>7,}")
    print(f"kept at the end      {found.kept:>7,}")
    print(f"to commit at the end {found.committed:>7,}")


if __name__ == "__main__":
    main()
