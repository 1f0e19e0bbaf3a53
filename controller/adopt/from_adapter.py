"""Take over an adapter's folder: the run on this machine, the spec, the recorded build, in this order.

Every step can be repeated: the adapter's run is found by its contents. Nothing is trained.
"""

import hashlib
import json
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, cast

from backends.contract.backend import Backend
from backends.contract.inspector import Json
from backends.contract.jobs import BaseModel, Job, TrainRequest
from backends.contract.methods import SUPERVISED
from backends.excerpt import printable
from backends.registry import LOCAL
from controller.adopt.adopt import resolved_as_planned
from controller.adopt.builds import with_adopted
from controller.adopt.config_files import begins_with, read_config, require_name
from controller.adopt.configs import adapter
from controller.adopt.configs.adapter import Adapter
from controller.adopt.configs.datasets import Places, find_base
from controller.adopt.configs.translation import Fate, Line
from controller.adopt.context import Adopting
from controller.adopt.files import put_spec
from controller.adopt.hosted_spec import data_path
from controller.adopt.names import propose_name
from controller.adopt.spec_text import AdoptedSpec, load_adopted, spec_text
from controller.canonical import canonical_json
from controller.dates import timestamp
from controller.errors import FtctlError, InvalidInput, Problem
from controller.lockfile.model import ADOPTED, Build, Entry, Lockfile
from controller.lockfile.store import lock_lockfile, read_lockfile
from controller.plan.desired import Desired
from controller.plan.fingerprint import TRAINING_SCHEME, fingerprint
from controller.spec.load import ENDING, FOLDER, LoadedSpec, spec_names

_GENERIC: Final = ("checkpoint", "output", "adapter", "final", "lora", "model", "out")
"""Beginnings of folder names that tell nothing of a fine-tune: the folder above is better."""
_LONGEST_STATE: Final = 1 << 26
"""Bytes of a trainer's state that are read: some 400,000 steps, each of them logged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FromAdapter:
    """An adapter that was taken over."""

    name: str
    model_id: str
    is_new: bool
    """False if it was recorded before."""
    file: str
    """The spec."""
    verified: Sequence[str] = ()
    declared: Sequence[str] = ()
    lines: Sequence[Line] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """One adapter while it is taken over."""

    adopting: Adopting
    folder: Path
    found: Adapter
    name: str
    base: BaseModel
    written_base: str
    """The base model as a spec names it."""

    @property
    def backend(self) -> Backend:
        return self.adopting.open_backend(LOCAL)

    def has(self, file: str) -> bool:
        return (self.adopting.project.root / FOLDER / file).is_file()


def adopt_adapter(
    adopting: Adopting,
    folder: Path,
    *,
    here: Path,
    wanted: str | None = None,
    base_model: str | None = None,
) -> FromAdapter:
    """Take over an adapter's folder, which stays as it is.

    Args:
        adopting: Where to.
        folder: The folder.
        here: The folder in which the command was called.
        wanted: Name of the fine-tune; None to make one from the folder's name.
        base_model: The base model, if not the one that the adapter names.

    Raises:
        InvalidInput: With every problem of its settings, or of the declared data.
        FtctlError: It cannot be taken over.
    """
    found = _read(folder)
    if base_model is not None:
        found = replace(found, base_model=base_model, revision=None)
    project = adopting.project
    lockfile, declared = read_lockfile(project.root, project.records), spec_names(project.root)
    for known, build in _recorded(lockfile, folder / adapter.WEIGHTS):
        if known in declared:
            file = f"{FOLDER}/{known}{ENDING}"
            return FromAdapter(name=known, model_id=build.model_id, is_new=False, file=file)
    note = adapter.first_note(folder.resolve().name)
    begun = {one for one in declared if begins_with(project.root, one, note)}
    taken = {*declared, *lockfile.finetunes} - (begun - lockfile.finetunes.keys())
    name = _choose_name(folder, wanted, taken)
    written = _written_base(adopting, found, folder, here)
    specs = project.root / FOLDER
    base = adopting.open_backend(LOCAL).resolve_base_model(written, found.revision, specs)
    work = _Work(
        adopting=adopting, folder=folder, found=found, name=name, base=base, written_base=written
    )
    if work.has(data_path(name, "train")):
        return _with_data(work, lockfile)
    return _without_data(work, lockfile)


def _with_data(work: _Work, lockfile: Lockfile) -> FromAdapter:
    """Record the adapter as what training from its spec would have made."""
    adopted = adapter.supervised_spec(
        work.found,
        name=work.name,
        folder=work.folder.resolve().name,
        base_model=work.written_base,
        has_held_out=work.has(data_path(work.name, "held_out")),
    )
    loaded = load_adopted(work.adopting.project.root, adopted)
    desired, request = _resolved(work, loaded, lockfile)
    job = _taken_over(work, request)
    model_id = job.result.model_id if job.result else ""
    return _record(work, adopted, desired, job, model_id=model_id, job_id=job.id)


def _without_data(work: _Work, lockfile: Lockfile) -> FromAdapter:
    """Record the adapter as a base model that is asked as it is."""
    with tempfile.TemporaryDirectory() as empty:
        job = _taken_over(work, _own_request(work, Path(empty)))
    model_id = job.result.model_id if job.result else ""
    adopted = adapter.prompt_spec(
        work.found,
        name=work.name,
        folder=work.folder.resolve().name,
        model_id=model_id,
        has_held_out=work.has(data_path(work.name, "held_out")),
    )
    loaded = load_adopted(work.adopting.project.root, adopted)
    desired, _ = _resolved(work, loaded, lockfile)
    asked = replace(work, found=replace(work.found, lines=adapter.as_it_is(work.found.lines)))
    # As every build for which no job of its spec trained anything.
    return _record(asked, adopted, desired, job, model_id=model_id, job_id="")


def _own_request(work: _Work, empty: Path) -> TrainRequest:
    """Return the request of a run that has the adapter and no data; equal adapters, equal runs."""
    file = empty / "none.jsonl"
    file.touch()
    raw = work.found.hyperparameters
    settings = work.backend.parse_hyperparameters(SUPERVISED.name, raw)
    inputs: dict[str, Json] = {
        "backend": LOCAL,
        "base_model": work.base.identity,
        # Without weights, the backend says what is wrong with the folder.
        "adopted": {
            name: _sha256(path)
            for name in (adapter.CONFIG, adapter.WEIGHTS)
            if (path := work.folder / name).is_file()
        },
    }
    return TrainRequest(
        name=work.name,
        fingerprint=fingerprint(TRAINING_SCHEME, inputs),
        attempt=1,
        base_model=work.base,
        method=SUPERVISED.name,
        hyperparameters=work.backend.recipes(work.base, SUPERVISED.name, settings)[
            0
        ].hyperparameters,
        seed=0,
        train=file,
        held_out=file,
        train_origins=file,
    )


def _taken_over(work: _Work, request: TrainRequest) -> Job:
    job = work.backend.take_over(request, work.folder)
    if job is None:
        message = f"{LOCAL} takes nothing over"
        raise FtctlError(message, "Install the ftctl that this command belongs to.")
    return job


def _resolved(work: _Work, loaded: LoadedSpec, lockfile: Lockfile) -> tuple[Desired, TrainRequest]:
    desired, resolved = resolved_as_planned(work.adopting, loaded, lockfile)
    return desired, resolved.requests[work.name]


def _record(
    work: _Work, adopted: AdoptedSpec, desired: Desired, job: Job, *, model_id: str, job_id: str
) -> FromAdapter:
    """Write the spec, then put the build into the lockfile; whatever else is recorded stays."""
    project, facts = work.adopting.project, dict(job.result.facts if job.result else {})
    put_spec(project, adopted.file, spec_text(adopted))
    known = cast("Mapping[str, Json]", facts.get(ADOPTED, {}))
    build = Build(
        fingerprint=desired.fingerprint,
        attempt=1,
        backend=desired.spec.place,
        job=job_id,
        model_id=model_id,
        inputs=json.loads(canonical_json(desired.inputs)),
        base_model=desired.base_name,
        revision=desired.base_model.revision,
        data=desired.data,
        facts=json.loads(canonical_json(facts)),
        submitted=timestamp(job.created_s),
        finished=timestamp(job.finished_s or job.created_s),
    )
    timeout_s = work.adopting.lock_timeout_s
    with lock_lockfile(project.root, project.records, timeout_s=timeout_s, purpose="adopt") as lock:
        entry = lock.entries.get(work.name, Entry())
        lock.record(work.name, with_adopted(entry, build))
    return FromAdapter(
        name=work.name,
        model_id=model_id,
        is_new=True,
        file=adopted.file,
        verified=_texts(known.get("verified")),
        declared=_texts(known.get("declared")),
        lines=(*_remarks(known), *work.found.lines),
    )


def _remarks(known: Mapping[str, Json]) -> list[Line]:
    return [
        Line(fate=Fate.LOST, key=adapter.WEIGHTS, text=text)
        for text in _texts(known.get("remarks"))
    ]


def _texts(value: Json) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else []


def _read(folder: Path) -> Adapter:
    """Read an adapter's settings, and what its trainer left.

    Raises:
        InvalidInput: It is not the folder of an adapter.
    """
    path = folder / adapter.CONFIG
    shown = printable(str(path))
    if not path.is_file():
        raise InvalidInput([_no_adapter(folder)])
    config, line_of = read_config(path, shown)
    if not isinstance(config, Mapping):
        message = "must be a JSON object"
        raise InvalidInput([Problem(file=shown, message=message, remedy="Copy the file again.")])
    state, unread = _read_state(folder / adapter.TRAINER_STATE)
    found = adapter.translate(config, state, shown, line_of)
    if found.problems:
        raise InvalidInput(list(found.problems))
    left = adapter.left_out(sorted(printable(one.name) for one in folder.iterdir()))
    return replace(found, lines=(*found.lines, *unread, *left))


def _read_state(path: Path) -> tuple[Mapping[str, Json] | None, list[Line]]:
    """Return what a trainer left, which only comments tell: nothing depends on it.

    Returns:
        None if there is nothing that can be read; and a line that says so.
    """
    if not path.is_file():
        return None, []
    try:
        state, _ = read_config(path, path.name, _LONGEST_STATE)
    except InvalidInput as error:
        text = f"tells nothing of the training: it {error.problems[0].message}"
        return None, [Line(fate=Fate.IDLE, key=path.name, text=text)]
    return (state if isinstance(state, Mapping) else None), []


def _no_adapter(folder: Path) -> Problem:
    """Return that a folder holds no adapter, and what to type instead."""
    inside = sorted(one.parent.name for one in folder.glob(f"*/{adapter.CONFIG}"))
    if inside:
        remedy = f"Name one of its folders that have: {', '.join(map(printable, inside))}."
    elif (folder / "config.json").is_file():
        remedy = (
            "Write the folder of a whole model as `base_model`, with `method: prompt` to ask it as "
            "it is."
        )
    else:
        remedy = "Name the folder that `save_pretrained` of peft wrote."
    return Problem(file=printable(str(folder)), message=f"has no {adapter.CONFIG}", remedy=remedy)


def _recorded(lockfile: Lockfile, weights: Path) -> list[tuple[str, Build]]:
    """Return the builds that an adapter's weights are recorded for, with their fine-tunes."""
    if not weights.is_file():
        return []
    digest = _sha256(weights)
    return [
        (name, build)
        for name, entry in sorted(lockfile.finetunes.items())
        for build in entry.builds.values()
        if _digest_in(build) == digest
    ]


def _digest_in(build: Build) -> Json:
    value: Json = build.facts
    for key in (ADOPTED, "files", adapter.WEIGHTS, "sha256"):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _choose_name(folder: Path, wanted: str | None, taken: Collection[str]) -> str:
    """Return the fine-tune's name.

    Raises:
        FtctlError: The wanted name is taken, or is not a valid name.
    """
    path = folder.resolve()
    stems = [path.name, path.parent.name]
    if path.name.lower().startswith(_GENERIC):
        stems.reverse()
    proposal = propose_name(stems, taken)
    require_name(wanted, proposal, taken)
    return wanted or proposal


def _written_base(adopting: Adopting, found: Adapter, folder: Path, here: Path) -> str:
    """Return the base model as a spec names it.

    Raises:
        InvalidInput: The adapter names none, or a folder that does not exist.
    """
    root = adopting.project.root
    places = Places(root=root, starts=[here, folder.resolve(), root])
    file = printable(str(folder / adapter.CONFIG))
    key = "base_model_name_or_path"
    written, problem = find_base(found.base_model, key, places, file, None)
    if problem is None:
        return written
    remedy = "Name the base model that it was trained from: --base_model NAME_OR_FOLDER"
    raise InvalidInput([replace(problem, remedy=remedy)])


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
