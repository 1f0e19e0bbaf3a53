"""Five hundred planted problems: how many `ftctl data build` finds, and what it finds that is none.

    python tests/benchmarks/planted.py [--seed N]

The rows are those of `tests/planted`, and they go through the whole program: a
repository in a temporary folder, a small base model whose tokenizer counts, the command line, its
list of errors and its file of reasons. Rows that are errors are left out and the command is typed
again, until there is none.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from backends.local_gpu.models.small_base import make_small_base
from controller.data.transforms.pii.detect import find
from tests.planted import found_by_build
from tests.planted.planted_files import COUNTS, make

MAX_TOKENS = 1_024


def whole_program(root, planted):
    def ask(*arguments):
        command = [sys.executable, "-m", "controller", "--dir", root, "--json", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode not in {0, 1}:
            sys.exit(done.stdout + done.stderr)
        return done.returncode, json.loads(done.stdout)

    # Untrained: only its tokenizer is asked.
    make_small_base(root / "models" / "small", steps=1)
    started = time.perf_counter()
    found = found_by_build.found_by_build(
        ask,
        root,
        planted,
        backend="local-gpu",
        base_model="../models/small",
        max_tokens=MAX_TOKENS,
    )
    seconds = time.perf_counter() - started
    print(f"{len(planted.train):,} rows, {found.builds} builds, {seconds:.1f} s\n")
    return found


def report(planted, found, scores):
    print(f"{'kind':<18}{'planted':>8}{'found':>8}{'recall':>8}{'false alarms':>14}")
    for one in scores:
        recall = f"{one.recall:.1%}" if one.planted else "-"
        print(f"{one.kind:<18}{one.planted:>8}{one.found:>8}{recall:>8}{len(one.alarms):>14}")
    total, hits = (sum(getattr(one, key) for one in scores) for key in ("planted", "found"))
    alarms = sum(len(one.alarms) for one in scores)
    print(f"{'all':<18}{total:>8}{hits:>8}{hits / total:>8.1%}{alarms:>14}\n")
    for one in scores:
        for number in one.alarms[:5]:
            print(f"false: {one.kind}: train.jsonl:{number}: {planted.train[number - 1][:200]}")
        for number in one.besides:
            print(f"also {one.kind}: {planted.truth[number].kind}, {planted.truth[number].form}")
    missed = Counter(
        (one.kind, one.form)
        for number, one in planted.truth.items()
        if one.kind not in found.kinds.get(number, ())
    )
    for (kind, form), count in missed.items():
        print(f"missed {count}: {kind}, {form}")


def exactly(planted):
    """Say of which planted personal data not exactly the planted text was found."""
    for number, one in planted.truth.items():
        if one.text:
            messages = json.loads(planted.train[number - 1])["messages"]
            text = "\n".join(message["content"] for message in messages)
            spans = [text[part.start : part.end] for part in find(text, ["KR"])]
            if spans and one.text not in spans:
                print(f"not exactly: {one.kind}, {one.form}: {one.text!r} as {spans}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=4)
    chosen = parser.parse_args()
    planted = make(chosen.seed)
    with tempfile.TemporaryDirectory() as folder:
        found = whole_program(Path(folder), planted)
    report(planted, found, found_by_build.scores(planted, found, list(COUNTS)))
    exactly(planted)


if __name__ == "__main__":
    main()
