"""Examples that a build without training shows before each question: chosen, kept, found again.

`.ftctl/prompts/` keeps them by the training examples that they were chosen from. On another machine
they are chosen again from the dataset, which gives the same ones.
"""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias

from backends.atomic_files import write_atomic
from backends.contract.errors import BackendError
from controller.canonical import digest, written_json
from controller.data.dataset import Split
from controller.data.reports.diff import earlier_datasets
from controller.evaluate.rivals import Turns, few_shot_turns
from controller.lockfile.model import Build
from controller.plan.fingerprint import short_id
from controller.state_folder import writing_to

FindShots: TypeAlias = Callable[[Build], Sequence[Turns]]
"""Returns the examples that the base model of a build sees before each question."""


def shot_finder(state: Path, train: Split | None = None) -> FindShots:
    """Return a function that finds the examples of builds.

    Args:
        state: The state folder.
        train: Training examples of the spec, if they were built.
    """
    return partial(find_shots, state=state, train=train)


def find_shots(build: Build, *, state: Path, train: Split | None = None) -> Sequence[Turns]:
    """Return the examples that a build shows before each question; none for a trained model.

    Args:
        build: The build.
        state: The state folder, which keeps chosen examples and built datasets.
        train: Training examples of the spec, if they were built.

    Raises:
        BackendError: Neither the examples nor the dataset that they come from are on this machine.
    """
    prompt = build.prompt
    if prompt is None or not prompt.few_shot:
        return ()
    kept = _read(_path(state, prompt.train_digest, prompt.few_shot))
    if kept is not None and _is_recorded(build, kept):
        return kept
    path = _train_path(prompt.train_digest, state, train)
    if path is None:
        raise _missing(build, prompt.few_shot)
    shots = choose_shots(path, prompt.few_shot, prompt.train_digest, state)
    if not _is_recorded(build, shots):
        raise _missing(build, prompt.few_shot)
    return shots


def choose_shots(train: Path, count: int, train_digest: str, state: Path) -> Sequence[Turns]:
    """Choose training examples to show before each question, and keep them.

    Args:
        train: Training examples, canonical JSONL.
        count: Number of examples.
        train_digest: Digest of the training examples.
        state: The state folder.

    Raises:
        BackendError: There are fewer such examples.
    """
    shots = few_shot_turns(train, count, train_digest)
    path = _path(state, train_digest, count)
    with writing_to(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        # The order of keys is part of what a model is asked.
        write_atomic(path, written_json(shots) + b"\n")
    return shots


def shots_digest(shots: Sequence[Turns]) -> str:
    """Return the digest of examples, as a build records it."""
    return f"sha256:{digest(shots)}"


def _path(state: Path, train_digest: str, count: int) -> Path:
    return state / "prompts" / f"{digest([train_digest, count])[:32]}.json"


def _read(path: Path) -> Sequence[Turns] | None:
    """Return kept examples; None if there are none, or the file is damaged."""
    try:
        value = json.loads(path.read_bytes())
        return [(question, answer) for question, answer in value]
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _is_recorded(build: Build, shots: Sequence[Turns]) -> bool:
    """Return True if examples are those that the build recorded."""
    return build.facts.get("examples_digest") in {None, shots_digest(shots)}


def _train_path(train_digest: str, state: Path, train: Split | None) -> Path | None:
    """Return the training examples with a digest, if they are on this machine."""
    if train is not None and train.digest == train_digest:
        return train.path
    known = earlier_datasets(state / "data").values()
    return next((one.train.path for one in known if one.train.digest == train_digest), None)


def _missing(build: Build, count: int) -> BackendError:
    message = (
        f"build {short_id(build.fingerprint)} shows {count} training examples before each question, "
        "and its dataset is not on this machine"
    )
    commit = f" of commit {build.spec_commit[:12]}" if build.spec_commit else ""
    remedy = f"Type `ftctl plan` where its spec and data{commit} are: that builds the dataset."
    return BackendError(message, remedy)
