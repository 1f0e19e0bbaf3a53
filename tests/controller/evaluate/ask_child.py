"""A process that asks for the answers to a held-out file, and prints what it asked and had.

ask_child.py BACKEND STATE HELD_OUT MODEL... (with URL in OPENAI_BASE_URL for `openai`)
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from backends.contract.backend import Backend, Endpoint
from backends.contract.completions import Sampling
from backends.contract.jobs import BaseModel
from backends.registry import open_backend
from controller.evaluate.ask import ask
from controller.evaluate.held_out import HeldOut


@dataclass(frozen=True)
class Model:
    """What `ask` needs of a model."""

    role: str
    backend: Backend
    base_model: BaseModel
    model_id: str | None
    identity: str


def main(name: str, state: Path, held_out: Path, base: str, *tuned: str) -> None:
    """Ask the base model, and tuned models of it."""
    backend = open_backend(name, state, Endpoint(name="default"))
    base_model = backend.resolve_base_model(base, None, state)
    models = [Model(one, backend, base_model, one, one) for one in tuned]
    models.append(Model("base", backend, base_model, None, base_model.identity))
    answers = ask(models, HeldOut(held_out), Sampling(max_tokens=2), state / "answers")
    length = 0
    for model in models:
        length += sum(len(answer.text) for answer in answers.of(model.role))
    status = Path("/proc/self/status").read_text()
    (peak,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    sys.stdout.write(f"{answers.asked.asked} {answers.asked.kept} {length} {peak}\n")


if __name__ == "__main__":
    backend_name, state_folder, examples, *names = sys.argv[1:]
    main(backend_name, Path(state_folder), Path(examples), *names)
