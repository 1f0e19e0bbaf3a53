"""Runs of `method: prompt` that die at changes of files, one after the other.

Prints a JSON line for each round: where the first run died, and what stands after the second. Dying
is `os._exit`, at the Nth thing that the run does to the file system, counted by the interpreter's
audit events: no `finally` runs.
"""

import json
import os
import shutil
import sys
from pathlib import Path

from backends.contract.completions import Completion
from tests.controller.conftest import Repository

DIED = 99
EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.truncate"}
ASKED = "asked.txt"


def answer_counted(root: Path):
    """Return answers of the base model; each question is noted beside the repository."""

    def answer(_model, prompt):
        with (root.parent / ASKED).open("a") as file:
            file.write(json.dumps([dict(one) for one in prompt.messages]) + "\n")
        return Completion(
            text=prompt.reference["content"],
            finish_reason="stop",
            reference_loss=1.0,
            reference_tokens=2,
        )

    return answer


def run_and_die(root: Path, at: int | None) -> int:
    """Apply the specs in a process of its own that dies at one thing; return its exit status."""
    pid = os.fork()
    if pid == 0:
        count = 0

        def hook(event, arguments):
            nonlocal count
            if event in EVENTS and str(root) in str(arguments[0]):
                count += 1
                if count == at:
                    os._exit(DIED)

        repo = Repository(root=root, service=root.parent / "service")
        repo.use(answer=answer_counted(root))
        sys.addaudithook(hook)
        repo.run()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def fresh(folder: Path) -> Path:
    """Return a repository with one spec and its data."""
    shutil.rmtree(folder, ignore_errors=True)
    root = folder / "repository"
    root.mkdir(parents=True)
    repo = Repository(root=root, service=folder / "service")
    repo.declare(
        method="prompt",
        prompt={"system": "짧게.", "few_shot": 2},
        evaluation={"metrics": ["exact_match"], "compare_to": []},
    )
    return root


def main(folder: Path, stride: int) -> None:
    """Die at every place, or every few places, until a run ends before it dies."""
    at, status = 1 - stride, DIED
    while status == DIED:
        at += stride
        root = fresh(folder)
        status = run_and_die(root, at)
        again = run_and_die(root, None)
        repo = Repository(root=root, service=folder / "service")
        entry = repo.lockfile.finetunes["faq"]
        asked = (folder / ASKED).read_text().splitlines()
        found = {
            "died": status == DIED,
            "again": again,
            "builds": len(entry.builds),
            "production": entry.production,
            "asked": len(asked),
            "different": len(set(asked)),
            "left": repo.actions(),
            "jobs": repo.backend.submitted,
        }
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
