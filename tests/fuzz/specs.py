"""Damage specs, `ftctl.yaml`, lockfiles, plan files and `.env`, and check the commands' output.

    python -m tests.fuzz.specs --count 20000 --seed 1
    python -m tests.fuzz.specs --only 4711        # one case again, its files and output shown

A case is identified by its number: the same number gives the same case.
"""

import argparse
import json
import random
import shutil
import sys
from collections.abc import Callable

from controller.spec.model import Spec
from controller.spec.settings import Settings
from tests.fuzz.harness import Outcome, defects, placed, print_tally, run_cases
from tests.fuzz.repository import SPEC, Repository, repository
from tests.fuzz.schema_values import Corpus
from tests.fuzz.values import SYNTAX, damaged
from tests.fuzz.yaml_text import changed, written

LOCKFILE = "finetunes/ftctl.lock"
AFRESH = 400
"""Number of cases after which to remove the state folder, which holds built datasets."""
_PIECES = [piece.encode(errors="surrogatepass") for piece in SYNTAX]
_OF_BACKENDS = {"endpoint", "hyperparameters"}
_SCRIPTED = {"backend": "scripted", "base_model": "acme/base"}
_GOOD = {
    **_SCRIPTED,
    "data": {
        "train": [{"path": "data/faq.csv", "columns": {"user": "question", "assistant": "answer"}}],
        "held_out": {"fraction": 0.25},
    },
}


class Corpora:
    """Valid files of every kind, as input for damage."""

    def __init__(self, repo: Repository) -> None:
        """Draw specs and settings; let the scripted backend make a lockfile and a plan."""
        rng = random.Random(0)
        drawn = Corpus(Spec, rng).values
        # Add each spec unchanged, and once so that planning reaches its data.
        plain = [
            {k: v for k, v in one.items() if k not in _OF_BACKENDS} | _SCRIPTED for one in drawn
        ]
        self.specs = [_GOOD, *drawn, *plain]
        self.settings = Corpus(Settings, rng).values
        repo.put(SPEC, written(_GOOD).encode())
        ended = repo.run("apply", "--auto-approve")
        assert ended.code == 0, ended.out + ended.err
        self.lockfile = json.loads((repo.root / LOCKFILE).read_bytes())
        repo.put(SPEC, written(_GOOD | {"seed": 7}).encode())
        ended = repo.run("plan", "--out", str(repo.root / "plan.json"))
        assert ended.code == 0, ended.out + ended.err
        self.plan = json.loads((repo.root / "plan.json").read_bytes())


def yaml_of(rng: random.Random, value: object) -> bytes:
    """Return a valid value as damaged YAML: in its structure, in its text, or both."""
    how = rng.randrange(4)
    if how:
        value = changed(rng, value)
    text = written(value).encode(errors="surrogatepass")
    return damaged(rng, text, _PIECES) if how in {0, 3} else text


def json_of(rng: random.Random, value: object) -> bytes:
    """Return a valid value as damaged JSON."""
    how = rng.randrange(3)
    if how:
        value = changed(rng, value, raw=False)
    text = json.dumps(value, indent=rng.choice([None, 1]), default=str).encode()
    return damaged(rng, text, _PIECES) if how in {0, 2} else text


def of_spec(rng: random.Random, repo: Repository, corpora: Corpora) -> Outcome:
    """Damage the spec."""
    repo.put(SPEC, yaml_of(rng, rng.choice(corpora.specs)))
    return _checked(rng, repo)


def of_settings(rng: random.Random, repo: Repository, corpora: Corpora) -> Outcome:
    """Damage `ftctl.yaml`."""
    repo.put("ftctl.yaml", yaml_of(rng, rng.choice(corpora.settings)))
    repo.put(SPEC, written(rng.choice(corpora.specs)).encode())
    return _checked(rng, repo)


def _checked(rng: random.Random, repo: Repository) -> Outcome:
    commands = [
        ["validate"], ["validate", "--json"], ["plan", "--offline"], ["plan", "--offline", "--json"],
        ["plan", "--offline", "--format", "github"], ["data", "stats", "faq"], ["data", "build", "faq"],
        ["doctor"],
    ]  # fmt: skip
    return repo.run(*rng.choices(commands, [4, 8, 8, 2, 1, 0, 0, 0.05])[0])


def of_lockfile(rng: random.Random, repo: Repository, corpora: Corpora) -> Outcome:
    """Damage the lockfile, or the journal next to it."""
    if rng.random() < 0.7:
        repo.put(LOCKFILE, json_of(rng, corpora.lockfile))
    else:
        line = {"name": "faq", "was": None, "entry": corpora.lockfile["finetunes"]["faq"]}
        repo.put(".ftctl/journal.jsonl", json_of(rng, line))
    commands = [["plan", "--offline"], ["status"], ["status", "--json"], ["show", "faq"], ["model", "faq"],
                ["plan", "--json"], ["retry", "faq"], ["logs", "faq"], ["cancel", "faq"]]  # fmt: skip
    return repo.run(*rng.choice(commands))


def of_plan(rng: random.Random, repo: Repository, corpora: Corpora) -> Outcome:
    """Damage a saved plan."""
    repo.put("plan.json", json_of(rng, corpora.plan))
    repo.put(SPEC, written(_GOOD | {"seed": rng.randrange(100)}).encode())
    return repo.run("apply", str(repo.root / "plan.json"), "--no-wait", "--lock-timeout", "0")


def of_env(rng: random.Random, repo: Repository, _corpora: Corpora) -> Outcome:
    """Damage `.env`."""
    text = b"# keys\nOPENAI_API_KEY=sk-abc\nexport EU_KEY='a b'\nOTHER=\"x\\n\"\n"
    repo.put(
        ".env",
        damaged(rng, text, [b"=", b"'", b'"', b"${A}", b"\\", b"export", b"#", b"A" * 9_000]),
    )
    spec = _GOOD | {"backend": "openai", "base_model": "gpt-4.1-nano-2025-04-14"}
    repo.put(SPEC, written(spec).encode())
    return repo.run(*rng.choice([["validate"], ["plan"]]))


KINDS: dict[Callable[[random.Random, Repository, Corpora], Outcome], float] = {
    of_spec: 70,
    of_settings: 15,
    of_lockfile: 9,
    of_plan: 3,
    of_env: 3,
}


def run_case(seed: int, repo: Repository, corpora: Corpora) -> tuple[str, Outcome, list[str]]:
    """Run a case; return its kind, its outcome and its defects."""
    rng = random.Random(seed)
    if seed % AFRESH == 0:
        shutil.rmtree(repo.root / ".ftctl", ignore_errors=True)
    for name in ("ftctl.yaml", ".env", LOCKFILE, "plan.json", ".ftctl/journal.jsonl"):
        (repo.root / name).unlink(missing_ok=True)
    repo.put(SPEC, written(_GOOD).encode())
    kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
    outcome = kind(rng, repo, corpora)
    wrong = defects(outcome)
    if outcome.out.startswith("{"):
        wrong += placed(outcome, SPEC if kind is of_spec else "ftctl.yaml")
    return kind.__name__, outcome, wrong


def main() -> int:
    """Run many cases, or repeat one case."""
    parser = argparse.ArgumentParser(description="Damage what people write for ftctl.")
    parser.add_argument("--count", type=int, default=20_000, help="how many cases")
    parser.add_argument("--seed", type=int, default=1, help="the first case's number")
    parser.add_argument("--only", type=int, help="show this case alone")
    given = parser.parse_args()
    with repository() as repo:
        corpora = Corpora(repo)
        if given.only is None:
            seeds = range(given.seed, given.seed + given.count)
            return print_tally(
                run_cases(lambda seed: run_case(seed, repo, corpora), seeds, verbose=True)
            )
        kind, outcome, wrong = run_case(given.only, repo, corpora)
        for name in (SPEC, "ftctl.yaml", ".env", LOCKFILE, "plan.json"):
            if (repo.root / name).exists():
                sys.stdout.write(f"--- {name}\n{(repo.root / name).read_bytes()!r}\n")
        sys.stdout.write(
            f"--- {kind}: exit code {outcome.code}\n{outcome.out}{outcome.err}--- {wrong}\n"
        )
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
