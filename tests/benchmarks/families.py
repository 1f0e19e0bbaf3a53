"""Every family from a spec to a plain program, as a table: one row each, one column a step.

A tiny random model of each architecture is trained through the command line in three ways: with an
adapter, in full, and with an adapter on a base in 4 bits. Each training is killed after some steps and
resumes. The models are evaluated and asked; adapter and merged model are loaded by plain PEFT and plain
transformers, which must answer the same and stop. A model that sees is loaded as the class that is
served, and its vision part must be that of the base, byte for byte.

    python -m tests.benchmarks.families [--only llama gemma3-vision] [--keep FOLDER]

Templates are the published ones where TRL is installed (`pip install --no-deps trl`). Twenty-five
families take about half an hour on two cores. The exit status is 1 if a cell failed.
"""

import argparse
import contextlib
import io
import json
import os
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import peft
import torch
import transformers
from safetensors.torch import load_file

from backends.contract.errors import BackendError
from backends.local_gpu.json_files import read_json, read_lines
from backends.local_gpu.tokens.chat_tokens import load_chat
from controller.cli import run as ftctl
from tests.tiny_models.families import make_family, published
from tests.tiny_models.family_table import FAMILIES
from tests.warm.children import warm_python

QUESTIONS = {
    "How do I change my PIN?": "change PIN",
    "My card is lost.": "lost card",
    "What is the exchange rate?": "exchange rate",
}
GREETINGS = ("Hi.", "Hello!", "Good morning.", "Please help:", "Excuse me:", "So,", "Hey,", "Well,")
"""Each question is asked once with each greeting; the first is held out."""
MISTAKES = 1
"""Most questions that a model with an adapter may answer wrongly."""
KILLED_AT = 3
MODES = {
    "lora": "{r: 16, learning_rate: 4e-3",
    "full": "{finetuning_type: full, learning_rate: 3e-3",
    "nf4": "{quantization: nf4, dtype: bfloat16, r: 16, learning_rate: 4e-3",
}
SPEC = """\
backend: local-gpu
base_model: ../models/base
data:
  train: [{{path: data/train.jsonl}}]
  held_out: [{{path: data/held_out.jsonl}}]
hyperparameters: {mode}, num_train_epochs: 80, per_device_train_batch_size: 21,
  lr_scheduler_type: constant_with_warmup, warmup_steps: 5, eval_steps: 1000}}
evaluation:
  metrics: [exact_match]
  compare_to: [base]
  max_tokens: 32
"""
PATIENCE_S = 240.0
LONGEST = 32


FAULTS = (
    *(ArithmeticError, AssertionError, BackendError, LookupError, OSError, RuntimeError),
    *(TypeError, ValueError),
)
"""Errors after which the other families go on."""


class NotAsExpected(RuntimeError):
    """What a step came to, where it is not what it should be."""


@dataclass(slots=True)
class Row:
    """What is known of a family so far."""

    folder: Path
    vision: bool
    answers: dict[str, dict[str, str]] = field(default_factory=dict)
    """What `ftctl chat` answered, by model and question."""

    @property
    def base(self) -> Path:
        """Folder of the base model."""
        return self.folder / "models" / "base"

    def runs(self) -> dict[str, Path]:
        """Return the folders of the runs by the fine-tunes' names."""
        return {
            str(read_json(path)["name"]): path.parent
            for path in (self.folder / "state" / "runs").glob("*/request.json")
        }


def taught() -> Iterator[tuple[str, str]]:
    """Yield a question of each answer as it was trained."""
    for question, answer in QUESTIONS.items():
        yield f"{GREETINGS[1]} {question}", answer


def called(row: Row, *arguments: str, exits: tuple[int, ...] = (0,)) -> str:
    """Run an `ftctl` command, and return what it printed."""
    shown, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(errors):
        code = ftctl(["--dir", str(row.folder), *arguments])
    if code not in exits:
        said = (errors.getvalue() + shown.getvalue()).strip()
        raise NotAsExpected(f"ftctl {' '.join(arguments)} ended with {code}: {said[-1500:]}")
    return shown.getvalue()


def line(question: str, answer: str) -> str:
    """Return a conversation as a line of JSONL."""
    turns = {"user": question, "assistant": answer}
    messages = [{"role": role, "content": text} for role, text in turns.items()]
    return json.dumps({"messages": messages}) + "\n"


def plan(row: Row, name: str) -> str:
    """Make the repository, and plan."""
    make_family(name, row.base)
    folder = row.folder / "finetunes" / "data"
    folder.mkdir(parents=True)
    held_out, *train = (
        "".join(line(f"{greeting} {question}", answer) for question, answer in QUESTIONS.items())
        for greeting in GREETINGS
    )
    (folder / "train.jsonl").write_text("".join(train))
    (folder / "held_out.jsonl").write_text(held_out)
    for mode, settings in MODES.items():
        (row.folder / "finetunes" / f"{mode}.yaml").write_text(SPEC.format(mode=settings))
    called(row, "plan", exits=(0, 2))
    return "yes"


def train(row: Row) -> str:
    """Submit every training, kill each once it has made some steps, and let each resume."""
    os.environ["FTCTL_CHECKPOINT_SECONDS"] = "0"
    called(row, "apply", "--auto-approve", "--no-wait", exits=(0, 7))
    killed = set()
    end = time.monotonic() + PATIENCE_S
    while killed != set(MODES):
        for name, run in row.runs().items():
            if (run / "result.json").exists() and name not in killed:
                raise NotAsExpected(f"{name} ended: {read_json(run / 'result.json')}"[:1500])
            steps = [one for one in read_lines(run / "progress.jsonl") if "step" in one]
            worker = read_json(run / "worker.json")
            if name not in killed and len(steps) >= KILLED_AT and worker:
                os.kill(worker["pid"], signal.SIGKILL)
                killed.add(name)
        if time.monotonic() > end:
            raise NotAsExpected(f"only {sorted(killed)} made {KILLED_AT} steps")
        time.sleep(0.01)
    del os.environ["FTCTL_CHECKPOINT_SECONDS"]
    called(row, "apply", "--auto-approve")
    for name, run in row.runs().items():
        said = [str(one.get("message")) for one in read_lines(run / "progress.jsonl")]
        if not any(text.startswith("resumed from checkpoint-") for text in said):
            raise NotAsExpected(f"{name} did not resume: {said}")
    return "yes"


def evaluate(row: Row) -> str:
    """Compare the held-out scores with those of the base, which never stops."""
    for name in MODES:
        shown = json.loads(called(row, "--json", "show", name))
        (build,) = shown["builds"].values()
        scores = build["evaluation"]["scores"]
        base, tuned = scores["base"], scores["candidate"]
        if tuned["held_out_loss"] > base["held_out_loss"] / 2 or tuned["stop_rate"] < 1:
            raise NotAsExpected(f"{name}: base {base}, tuned {tuned}")
    return "yes"


def chat(row: Row) -> str:
    """Ask each model what it was taught; return how many answers are right, word by word.

    A small adapter may confuse an answer or two with others. What it says then is compared with
    plain programs all the same.
    """
    right = 0
    for name in MODES:
        row.answers[name] = {}
        wrong = []
        for question, answer in taught():
            said = json.loads(called(row, "--json", "chat", name, "-m", question))["tuned"]
            row.answers[name][question] = said
            wrong += [] if said == answer else [f"{question} {said!r}, not {answer!r}"]
        if len(wrong) > (0 if name == "full" else MISTAKES):
            raise NotAsExpected(f"{name}: {wrong}")
        right += len(QUESTIONS) - len(wrong)
    return f"{right} of {len(MODES) * len(QUESTIONS)}"


def export(row: Row) -> str:
    """Write the adapter and the merged model of each adapter; ftctl compares their answers."""
    for name in ("lora", "nf4"):
        for form in ("adapter", "merged"):
            called(row, "export", name, "--format", form, "--to", str(row.folder / name / form))
    return "yes"


def reload_peft(row: Row) -> str:
    """Load the adapter with plain PEFT on the class that is served."""
    for name in ("lora", "nf4"):
        folder = row.folder / name / "adapter"
        model = peft.PeftModel.from_pretrained(opened(row, row.base), folder)
        asked_plainly(row, name, model.eval(), folder)
    return "yes"


def reload_merged(row: Row) -> str:
    """Load the merged models with plain transformers; what sees must be untouched."""
    for name in ("lora", "nf4"):
        folder = row.folder / name / "merged"
        asked_plainly(row, name, opened(row, folder), folder)
        same_vision(row, folder)
    return "yes"


def reload_full(row: Row) -> str:
    """Load the fully trained model with plain transformers."""
    folder = Path(called(row, "model", "full", "--path").strip())
    asked_plainly(row, "full", opened(row, folder), folder)
    return "yes"


def opened(row: Row, folder: Path) -> transformers.PreTrainedModel:
    """Open a model as a server does, and require that its files lack and add nothing."""
    opener = (
        transformers.AutoModelForImageTextToText
        if row.vision
        else transformers.AutoModelForCausalLM
    )
    model, found = opener.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True, local_files_only=True
    )
    wrong = {key: names for key, names in found.items() if names}
    if wrong:
        raise NotAsExpected(f"{folder.name}: {wrong}"[:800])
    return model.eval()


def asked_plainly(row: Row, name: str, model: torch.nn.Module, folder: Path) -> None:
    """Ask a model with `generate` alone; it must answer as `ftctl chat` did, and stop."""
    reader = load_chat(folder, None)
    stops = json.loads((folder / "generation_config.json").read_text())["eos_token_id"]
    settings = transformers.GenerationConfig(
        max_new_tokens=LONGEST, do_sample=False, eos_token_id=stops, pad_token_id=0
    )
    for question, answer in row.answers[name].items():
        asked = {"messages": [{"role": "user", "content": question}]}
        ids = torch.tensor([reader.prompt(asked)])
        out = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=settings
        )
        new = out[0, ids.shape[1] :].tolist()
        said, stopped = reader.parse(new, asked).text.strip(), new[-1] in stops
        # A wrong answer may be longer than what is asked for here.
        expected = answer.strip() if stopped else answer.strip()[: len(said)]
        if said != expected:
            raise NotAsExpected(f"{folder}: {question} {said!r}, not {answer!r}")
        if answer in QUESTIONS.values() and not stopped:
            raise NotAsExpected(f"{folder}: the answer does not end with a stop token: {new}")


def same_vision(row: Row, folder: Path) -> None:
    """Require that every tensor beside the language part is that of the base."""
    if not row.vision:
        return
    before, after = tensors(row.base), tensors(folder)
    if before.keys() != after.keys():
        raise NotAsExpected(f"other names: {sorted(before.keys() ^ after.keys())[:4]}")
    beside = [name for name in before if "vis" in name or "multi_modal" in name]
    changed = [name for name in beside if not torch.equal(before[name], after[name])]
    if not beside or changed:
        raise NotAsExpected(f"changed: {changed[:4]} of {len(beside)}")


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Return all tensors of a folder."""
    return {k: v for path in folder.glob("*.safetensors") for k, v in load_file(path).items()}


STEPS: dict[str, Callable[[Row], str]] = {
    "train and resume": train,
    "evaluate": evaluate,
    "chat": chat,
    "merge": export,
    "plain PEFT": reload_peft,
    "plain merged": reload_merged,
    "plain full": reload_full,
}
"""Columns after the plan. What a model is asked plainly must end with a stop token."""


def cells(name: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the column and the outcome of each step of a family; stop at what cannot go on."""
    row = Row(folder=folder, vision=FAMILIES[name].vision is not None)
    yield "plan", plan(row, name)
    for column, step in STEPS.items():
        yield column, step(row)


def rows(names: list[str], root: Path) -> int:
    """Print a row for each family; return how many cells failed."""
    columns = ["plan", *STEPS]
    print("| family | " + " | ".join(columns) + " | seconds |")
    print("|---" * (len(columns) + 2) + "|", flush=True)
    failures = []
    for name in names:
        folder = root / name
        os.environ["FTCTL_STATE_DIR"] = str(folder / "state")
        began, done = time.monotonic(), []
        try:
            done.extend(outcome for _, outcome in cells(name, folder))
        except FAULTS as error:
            failure = f"{name}: {columns[len(done)]}: {type(error).__name__}: {error}"
            failures.append(failure)
            print(f"! {failure}", file=sys.stderr, flush=True)
            done.append("FAILED")
        done += [""] * (len(columns) - len(done))
        seconds = f"{time.monotonic() - began:.0f}"
        print("| " + " | ".join([name, *done, seconds]) + " |", flush=True)
    print("\n" + ("\n\n".join(failures) or "every cell is right"))
    return len(failures)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--keep", type=Path, help="a new folder for what is made")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if published("qwen3") is None:
        print("TRL is not installed: templates written for the tests stand for the published ones")
    with tempfile.TemporaryDirectory() as name:
        # A device's lock lies there; other trainings on this machine must not delay these.
        os.environ["TMPDIR"], tempfile.tempdir = name, None
        return made_in(Path(name), given)


def made_in(folder: Path, given: argparse.Namespace) -> int:
    """Print the table; return the exit status."""
    with warm_python(folder) as python:
        sys.executable = python
        root = given.keep or folder / "families"
        root.mkdir(parents=True)
        try:
            return min(rows(given.only, root), 1)
        finally:
            end_workers(root)


def end_workers(root: Path) -> None:
    """End trainings that a failed or interrupted table left behind."""
    for path in root.glob("*/state/runs/*/worker.json"):
        worker = read_json(path)
        if worker and not (path.parent / "result.json").exists():
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker["pid"], signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
