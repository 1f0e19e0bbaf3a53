"""A process that asks for the answers to a held-out file, and prints what it asked and had.

ask_child.py BACKEND STATE HELD_OUT MODEL... (with URL in OPENAI_BASE_URL for `openai`)
"""

import sys
from pathlib import Path

from backends.contract.backend import Endpoint
from backends.contract.completions import Sampling
from backends.registry import open_backend
from controller.evaluate.answer_store import AnswerStore
from controller.evaluate.ask import KeptAnswers, ask
from controller.evaluate.compare import EvaluatedModel
from controller.evaluate.prompts.held_out import HeldOut
from tests.splits import split_of


def main(name: str, state: Path, held_out: Path, base: str, *tuned: str) -> None:
    """Ask the base model, and tuned models of it."""
    backend = open_backend(name, state, Endpoint(name="default"))
    base_model = backend.resolve_base_model(base, None, state)
    models = [
        EvaluatedModel(
            role=model_id or "base",
            place=name,
            base_model=base_model,
            model_id=model_id,
            identity=model_id or base_model.identity,
            sampling=Sampling(max_tokens=2),
        )
        for model_id in (*tuned, None)
    ]
    kept = KeptAnswers(store=AnswerStore(state / "answers"), prompts=HeldOut(split_of(held_out)))
    answers = ask(models, kept, lambda _: backend)
    length = sum(len(answer.text) for model in models for answer in answers.of(model))
    status = Path("/proc/self/status").read_text()
    (peak,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    sys.stdout.write(f"{answers.asked.asked} {answers.asked.kept} {length} {peak}\n")


if __name__ == "__main__":
    backend_name, state_folder, examples, *names = sys.argv[1:]
    main(backend_name, Path(state_folder), Path(examples), *names)
