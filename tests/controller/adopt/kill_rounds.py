"""Rounds in which `ftctl adopt --all` is killed at random moments: `python -m … --rounds 50`.

After each kill, every file in the repository is a whole file; in the end, everything is adopted, no
file was downloaded again that had arrived, and the service was asked for nothing that costs.
"""

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from controller.lockfile.store import read_lockfile
from controller.spec.load import read_specs
from tests.backends.openai.servers.fault_server import KEY
from tests.children import ROOT, child, until
from tests.controller.adopt.hosted_service import Service, rows

MODELS = 12


@dataclass
class Counts:
    """What one round came to."""

    kills: int = 0
    downloads: int = 0
    files: int = 0


def one_round(folder: Path, seed: int) -> Counts:
    """Kill runs at random moments until one ends, and check everything."""
    chance, counts = random.Random(seed), Counts()
    service = Service()
    try:
        contents = {}
        for number in range(MODELS):
            validation = rows(10, 100 * number + 50) if number % 2 else None
            service.train(f"model-{number}", rows(40, 100 * number), validation)
        contents = {
            hashlib.sha256(data).hexdigest(): name for name, data in service.contents.items()
        }
        counts.files = len(service.contents)
        root = folder / f"repository-{seed}"
        (root / "finetunes").mkdir(parents=True)
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OPENAI_BASE_URL": service.url,
            "OPENAI_API_KEY": KEY,
        }
        command = [sys.executable, "-m", "controller", "--dir", str(root), "adopt", "--all"]
        service.hold_s = 0.05
        while counts.kills < 3:
            # The first kill comes early: a run on a busy machine cannot have ended by then.
            latest = len(service.contents) if counts.kills else 6
            if not _killed(command, environment, service, chance, latest):
                break
            counts.kills += 1
            _check_whole(root, contents)
        service.hold_s = 0.0
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=100, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        _check_end(root, service, contents)
        counts.downloads = len(service.downloads)
        # Only what was under way at a kill is sent again.
        assert counts.downloads <= counts.files + counts.kills, counts
    finally:
        service.close()
    return counts


def _killed(command, environment, service, chance, latest) -> bool:
    """Kill a run after so many requests at most; return False if it ended before."""
    wanted = len(service.requests) + chance.randint(1, latest)
    with child(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as run:
        until(lambda: len(service.requests) >= wanted or run.poll() is not None, 60)
        time.sleep(chance.uniform(0, 0.08))
        if run.poll() is not None:
            return False
        run.send_signal(signal.SIGKILL)
        run.wait(timeout=20)
    return True


def _check_whole(root: Path, contents: dict[str, str]) -> None:
    """Check that every file is a whole one of the service, and every spec can be read."""
    for path in (root / "finetunes").rglob("*"):
        if path.suffix == ".jsonl":
            assert hashlib.sha256(path.read_bytes()).hexdigest() in contents, path
        assert path.suffix != ".tmp" or path.name.startswith(".ftctl.lock."), path
    _, problems = read_specs(root)
    assert not problems
    read_lockfile(root, root / ".ftctl")


def _check_end(root: Path, service: Service, contents: dict[str, str]) -> None:
    _check_whole(root, contents)
    specs, _ = read_specs(root)
    recorded = read_lockfile(root, root / ".ftctl").finetunes
    assert len(specs) == len(recorded) == MODELS
    models = {entry.builds[entry.production].model_id for entry in recorded.values()}
    assert models == {job["fine_tuned_model"] for job in service.jobs.values()}
    assert len(list((root / "finetunes/data").glob("*.jsonl"))) == len(service.contents)
    assert service.changes == []
    assert not (root / ".ftctl/adopt").exists()


def main() -> None:
    """Run rounds and print what they came to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    rounds = parser.parse_args().rounds
    total = Counts()
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(rounds):
            counts = one_round(Path(folder), seed)
            total.kills += counts.kills
            total.downloads += counts.downloads
            total.files += counts.files
    sys.stdout.write(
        f"{rounds} rounds, {total.kills} kills: {total.files} files, {total.downloads} downloads "
        f"({total.downloads - total.files} broken off and repeated), {rounds * MODELS} models "
        "adopted, nothing lost, nothing created at the service.\n"
    )


if __name__ == "__main__":
    main()
