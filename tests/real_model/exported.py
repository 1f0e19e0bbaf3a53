"""Every export of the fine-tuned model, loaded by its consumer and asked all held-out questions."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backends.local_gpu.jobs.child_process import child_environment
from tests.real_model.inquiries import inquiries
from tests.real_model.model import NAME as MODEL
from tests.real_model.repository import NAME, build_in_production, conversation, ftctl

CONSUMERS: Final = {
    "adapter": "peft",
    "vllm": "peft",
    "merged": "transformers",
    "gguf": "llama.cpp",
    "ollama": "llama.cpp",
}
_WEIGHTS: Final = ("*.gguf", "*.safetensors")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """An export, and what its consumer answered."""

    form: str
    consumer: str
    answers: Sequence[str]
    right: int
    like: str | None = None
    """The export with the same weights in the same files, whose answers these are."""
    greedy: tuple[int, int] = (0, 0)
    """Answers that ftctl itself compared before the export was done, and how many were equal. A GGUF
    file is made of a merged model, whose answers count too."""


def ask_exports(root: Path, folder: Path) -> list[Asked]:
    """Export the model in every format, and ask each.

    Args:
        root: The repository, with a build in production.
        folder: A new folder for the exports.
    """
    found: list[Asked] = []
    seen: dict[str, Asked] = {}
    for form, consumer in CONSUMERS.items():
        out = folder / form
        ftctl(root, "export", NAME, "--format", form, "--out", str(out))
        checks = json.loads((out / "export.json").read_text(encoding="utf-8"))["checks"]
        same = seen.get(digest := _digest(out))
        answers = same.answers if same else ask(consumer, out, root / "models" / MODEL)
        one = Asked(
            form=form,
            consumer=consumer,
            answers=answers,
            right=right(answers),
            like=same.form if same else None,
            greedy=(sum(c["answers"] for c in checks), sum(c["equal"] for c in checks)),
        )
        seen.setdefault(digest, one)
        found.append(one)
    return found


def compare_exports(root: Path, folder: Path) -> None:
    """Export, ask, and print a table."""
    asked, recorded = ask_exports(root, folder), recorded_right(root)
    print(f"ftctl itself: {recorded} of {len(asked[0].answers)} right")
    for one in asked:
        differing = sum(a != b for a, b in zip(one.answers, asked[0].answers, strict=True))
        same = f" (the files of {one.like})" if one.like else ""
        print(
            f"  {one.form:8} in {one.consumer:12} {one.right} right, {differing} answers unlike the "
            f"adapter's, greedy check {one.greedy[1]} of {one.greedy[0]}{same}"
        )


def ask(consumer: str, folder: Path, base: Path) -> list[str]:
    """Return the answers of a consumer to all held-out questions."""
    _, held_out = inquiries()
    questions = "".join(json.dumps(conversation(row)[:-1]) + "\n" for row in held_out)
    ended = subprocess.run(
        [sys.executable, "-m", "tests.real_model.consumers", consumer, str(folder), str(base)],
        input=questions,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=3600,
        env=child_environment(os.environ),
    )
    answers: list[str] = json.loads(ended.stdout)
    return answers


def right(answers: Sequence[str]) -> int:
    """Return the number of right answers."""
    _, held_out = inquiries()
    return sum(text.strip() == row.label for text, row in zip(answers, held_out, strict=True))


def recorded_right(root: Path) -> int:
    """Return the number of right answers that ftctl recorded."""
    samples = build_in_production(root)["evaluation"]["samples"]["candidate"]
    return int(samples["accuracy"]["right"])


def _digest(folder: Path) -> str:
    files = [path for pattern in _WEIGHTS for path in sorted(folder.glob(pattern))]
    return " ".join(hashlib.sha256(path.read_bytes()).hexdigest() for path in files)
