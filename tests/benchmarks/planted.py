"""Five hundred planted problems: how many are found, and what is found that is none.

    python tests/benchmarks/planted.py [--seed N] [--reasons FILE] [--write FOLDER]

The rows are those of `tests/controller/data/planted.py`. Without `--reasons`, the functions for
personal data and near duplicates are asked directly. With it, the answer is that of a whole build
of the rows that `--write` wrote: its file of reasons, `file:line: step: reason` on each line.
"""

import argparse
import json
import re
import runpy
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from controller.data.near import band_keys, jaccard
from controller.data.pii import find

SIMILARITY = 0.8
DATA = Path(__file__).parents[1] / "controller" / "data"
STEPS = {
    "deduplicate": ("exact duplicate", "near duplicate", "exact leak", "near leak"),
    "max_tokens": ("over-length",),
    "convert": ("broken JSON", "missing answer", "wrong role", "empty question"),
    "check": ("broken JSON", "missing answer", "wrong role", "empty question"),
}
"""Which kinds a build's step stands for; the step `pii` names the kind in its reason."""


def text_of(line):
    return "\n".join(message["content"] for message in json.loads(line)["messages"])


def texts(lines):
    """Yield number and text of the rows that can be read."""
    for number, line in enumerate(lines, start=1):
        try:
            yield number, text_of(line)
        except (ValueError, KeyError):
            continue


def found_by_functions(planted):
    """Return the kinds found, by line of `train`."""
    found = defaultdict(set)
    for number, text in texts(planted.train):
        found[number].update(one.kind for one in find(text, ["KR"]))
    index = defaultdict(list)
    for where, lines in (("leak", planted.held_out), ("duplicate", planted.train)):
        for number, text in texts(lines):
            candidates = set()
            keys = band_keys(text, SIMILARITY)
            for key in keys:
                candidates.update(index[key])
            if where == "duplicate":
                near = [one for one in candidates if jaccard(one[1], text) >= SIMILARITY]
                found[number].update(
                    f"{'exact' if text == other else 'near'} {kind}" for kind, other in near
                )
            for key in keys:
                index[key].append((where, text))
    return found


def found_by_reasons(reasons: Iterable[str]):
    """Return the kinds found, by line of `train`, from a build's file of reasons."""
    found = defaultdict(set)
    for line in reasons:
        match = re.match(r"(?P<file>.+?):(?P<line>\d+): (?P<step>[\w ]+): (?P<reason>.*)", line)
        if match is None or not match["file"].endswith("train.jsonl"):
            continue
        if match["step"] == "pii":
            found[int(match["line"])].update(re.findall(r"[a-z]+", match["reason"].lower()))
        else:
            found[int(match["line"])].update(STEPS.get(match["step"], ()))
    return found


def report(planted, found, kinds):
    print(f"{'kind':<18}{'planted':>8}{'found':>8}{'recall':>8}{'false alarms':>14}")
    missed = []
    for kind in kinds:
        lines = {number for number, one in planted.truth.items() if one.kind == kind}
        hit = {number for number in lines if kind in found[number]}
        # A line with another problem may rightly have this one too: a near leak of a near leak.
        alarms = [
            number for number, of in found.items() if kind in of and number not in planted.truth
        ]
        print(
            f"{kind:<18}{len(lines):>8}{len(hit):>8}{len(hit) / len(lines):>8.1%}{len(alarms):>14}"
        )
        missed += [(kind, planted.truth[number]) for number in sorted(lines - hit)]
        for number in alarms[:5]:
            print(f"  false: train.jsonl:{number}: {planted.train[number - 1][:200]}")
    print()
    for (kind, form), count in Counter((kind, one.form) for kind, one in missed).items():
        print(f"missed {count}: {kind}, {form}")


def exactly(planted):
    """Say of which planted personal data not exactly the planted text was found."""
    for number, one in planted.truth.items():
        if one.text:
            text = text_of(planted.train[number - 1])
            spans = [text[part.start : part.end] for part in find(text, ["KR"])]
            if spans and one.text not in spans:
                print(f"not exactly: {one.kind}, {one.form}: {one.text!r} as {spans}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--reasons", type=Path)
    parser.add_argument("--write", type=Path)
    chosen = parser.parse_args()
    generator = runpy.run_path(str(DATA / "planted.py"))
    planted = generator["make"](chosen.seed)
    if chosen.write:
        for name in ("train", "held_out"):
            path = chosen.write / f"{name}.jsonl"
            path.write_text("".join(f"{line}\n" for line in getattr(planted, name)))
        return
    if chosen.reasons:
        found = found_by_reasons(chosen.reasons.read_text().splitlines())
        report(planted, found, generator["COUNTS"])
        return
    started = time.perf_counter()
    found = found_by_functions(planted)
    print(f"{len(planted.train)} rows, {time.perf_counter() - started:.1f} s\n")
    near = [kind for kind in generator["COUNTS"] if kind.endswith(("duplicate", "leak"))]
    report(planted, found, (*generator["PII"], *near))
    exactly(planted)


if __name__ == "__main__":
    main()
