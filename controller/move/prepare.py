"""Specs edited for another home and checked there, before a file is written."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from backends.contract import common_names as common
from backends.contract.backend import Backend
from backends.contract.errors import BackendError, HyperparametersInvalid
from backends.contract.inspector import Json
from controller.errors import BaseModelNotKnown, InvalidInput, Problem
from controller.lockfile.model import Build, Entry, Lockfile
from controller.move.edits import Removed, SpecEdits, Target, edits_of, keep_name, write_gate
from controller.move.translate import Carried, Home, Translation
from controller.move.yaml_edit import EditImpossible, edited
from controller.plan.actions import Deferred
from controller.plan.desired import Desired
from controller.plan.moving.default_gate import default_gate
from controller.project.project import Project
from controller.resolve.aliases import alias_problems, find_clashes
from controller.resolve.answers import OpenBackend
from controller.resolve.inputs import Readings, identify_base
from controller.resolve.recipes import Recorded
from controller.resolve.resolve import resolve
from controller.resolve.validate import check_policies, check_spec
from controller.run.load import Loaded
from controller.spec.asked import place_of
from controller.spec.load import LoadedSpec, parse_spec
from controller.spec.settings import public_id

_FOLDERS = ("./", "../", "/")
"""First characters of base models that are folders of the repository."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where fine-tunes move to."""

    backend: str
    endpoint: str | None
    base_model: str | None
    """None to keep the base model of each."""

    @property
    def place(self) -> str:
        """The backend and its endpoint, as lockfile and plan write them."""
        return place_of(self.backend, self.endpoint)

    def is_home_of(self, loaded: LoadedSpec) -> bool:
        """Return True if a spec is there already."""
        base = self.base_model or loaded.spec.base_model
        return (loaded.spec.place, loaded.spec.base_model) == (self.place, base)


@dataclass(frozen=True, slots=True, kw_only=True)
class MovedSpec:
    """A spec as edited, and what is known of it at its new home."""

    loaded: LoadedSpec
    """As it is on the disk."""
    text: bytes
    """After the edits."""
    carried: tuple[Carried, ...] = ()
    removed: tuple[Removed, ...] = ()
    notes: tuple[str, ...] = ()
    gate: tuple[str, ...] = ()
    """The gate that was written."""
    gate_note: str = ""
    unchecked: str = ""
    """Reason why the data was not checked here; empty if it was."""
    warnings: tuple[str, ...] = ()
    answers_missing: int = 0
    """Answers of production that judge the move and are not recorded."""
    target: Destination

    @property
    def name(self) -> str:
        """The fine-tune."""
        return self.loaded.name

    @property
    def diff(self) -> str:
        """The edits as a unified diff."""
        old, new = (
            text.decode("utf-8-sig").splitlines(keepends=True)
            for text in (self.loaded.document.text, self.text)
        )
        lines = difflib.unified_diff(old, new, f"a/{self.loaded.file}", f"b/{self.loaded.file}")
        return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveContext:
    """Inputs of a move besides the specs."""

    project: Project
    loaded: Loaded
    lockfile: Lockfile
    target: Destination

    @property
    def open_backend(self) -> OpenBackend:
        """Opens backends by their place."""
        return self.loaded.open_backend


@dataclass(slots=True)
class _Draft:
    """A spec on its way: edited without the gate, then with it."""

    loaded: LoadedSpec
    edits: SpecEdits
    carried: tuple[Carried, ...]
    production: Build | None
    spec: LoadedSpec | None = None
    """As edited so far, parsed."""
    problems: list[Problem] = field(default_factory=list)
    unchecked: str = ""


def prepare_moves(specs: Sequence[LoadedSpec], context: MoveContext) -> list[MovedSpec]:
    """Edit specs for their new home, and check them and their data there. Writes nothing.

    Args:
        specs: The specs to move.
        context: What moving reads besides.

    Raises:
        BackendError: The new home is not known here.
        InvalidInput: With every problem of every spec and its data at the new home.
    """
    backend = context.open_backend(context.target.place)
    drafts = [_draft(loaded, backend, context) for loaded in specs]
    desired = _check(drafts, backend, context)
    moved = [_finished(draft, desired.get(draft.loaded.name), context) for draft in drafts]
    problems = [_on_disk(draft, problem) for draft in drafts for problem in draft.problems]
    if problems:
        raise InvalidInput(list(dict.fromkeys(problems)))
    return [one for one in moved if one is not None]


def _draft(loaded: LoadedSpec, backend: Backend, context: MoveContext) -> _Draft:
    entry = context.lockfile.finetunes.get(loaded.name, Entry())
    production = entry.builds.get(entry.production or "")
    target, can = context.target, backend.capabilities()
    carried: tuple[Carried, ...] = ()
    if loaded.spec.method in can.methods:
        carried = _translation(loaded, backend, production, context).of(
            cast("Mapping[str, Json]", loaded.spec.hyperparameters)
        )
    new_home = Target(
        backend=target.backend,
        endpoint=target.endpoint,
        base_model=target.base_model,
        tracking=can.tracking,
        gpu_hours=can.gpu_hours,
        hardware=can.hardware,
    )
    value = cast("Mapping[str, Any]", loaded.document.value)
    edits = edits_of(value, loaded.spec, new_home, carried)
    draft = _Draft(loaded=loaded, edits=edits, carried=carried, production=production)
    if production is not None:
        _keep_name(draft, production, context)
    draft.spec = _parsed(draft, context.project.root)
    return draft


def _keep_name(draft: _Draft, production: Build, context: MoveContext) -> None:
    """Add the model ID of production to the aliases, where callers may send it."""
    name, settings = draft.loaded.name, context.loaded.settings
    if production.backend == context.target.place:
        return
    bases = {public_id(written) for written in settings.serve.base_models}
    declared = [*context.loaded.specs, *context.loaded.problems]
    wanted = {name: [production.model_id]}
    clash = find_clashes(wanted, declared, context.lockfile, bases).get(name, {})
    if production.model_id in clash:
        why = clash[production.model_id].message
        draft.edits.notes.append(f"aliases: {production.model_id} is not added: it {why}")
        return
    keep_name(draft.edits, production.model_id)


def _translation(
    loaded: LoadedSpec, backend: Backend, production: Build | None, context: MoveContext
) -> Translation:
    spec, target = loaded.spec, context.target
    chosen: Any = production.facts.get("resolved_hyperparameters") if production else None
    is_same_job = production is not None and production.backend == spec.place
    raw = cast("Mapping[str, Json]", spec.hyperparameters)

    def refusal(key: str, value: Json) -> str:
        try:
            backend.parse_hyperparameters(spec.method, {key: value})
        except HyperparametersInvalid as error:
            own = [one for one in error.problems if one.field.partition(".")[0] == key]
            return "; ".join(f"{one.message} ({one.field})" for one in own)
        return ""

    return Translation(
        old=_home(spec.place, spec.method, raw, context),
        new=_home(target.place, spec.method, {}, context),
        refusal=refusal,
        same_backend=spec.backend == target.backend,
        chosen=chosen if is_same_job and isinstance(chosen, Mapping) else {},
    )


def _home(place: str, method: str, raw: Mapping[str, Json], context: MoveContext) -> Home:
    """Return the hyperparameters of a place; no names where its backend is not installed here."""
    try:
        backend = context.open_backend(place)
    except BackendError:
        return Home(place=place, names={})
    names = backend.common_names()
    written = {key: value for key, value in raw.items() if names.get(key) != common.RATE}
    try:
        defaults = backend.parse_hyperparameters(method, written)
    except HyperparametersInvalid:
        defaults = {}
    return Home(place=place, names=names, defaults=defaults)


def _parsed(draft: _Draft, root: Path) -> LoadedSpec | None:
    """Return a draft's spec as its file would be loaded; None with problems in the draft."""
    loaded, edits = draft.loaded, draft.edits
    try:
        text = edited(loaded.document.text, loaded.file, edits.edits, edits.value)
    except EditImpossible as error:
        message = f"cannot be edited in place: {error}"
        remedy = "Change backend, base_model and hyperparameters in this file by hand."
        draft.problems.append(Problem(file=loaded.file, message=message, remedy=remedy))
        return None
    path = loaded.folder / f"{loaded.name}.yaml"
    spec, problems = parse_spec(root, path, text, file=loaded.file)
    draft.problems += problems
    return spec


def _check(
    drafts: Sequence[_Draft], backend: Backend, context: MoveContext
) -> Mapping[str, Desired]:
    """Check drafts and their data at the new home; problems go into the drafts.

    Returns:
        Inputs by name, of the drafts without a problem.
    """
    loaded, readings = context.loaded, Readings(project=context.project)
    specs: dict[str, LoadedSpec] = {}
    for draft in drafts:
        if draft.spec is None:
            continue
        unknown = _unknown_base(draft.spec, backend, readings, context)
        draft.problems += unknown
        draft.unchecked = _lacks_base(draft.spec, backend, readings, context)
        if draft.unchecked or unknown:
            draft.problems += check_spec(draft.spec, context.open_backend, readings.answers)
            draft.problems += check_policies(draft.spec, loaded.settings.policies)
        else:
            specs[draft.loaded.name] = draft.spec
    edited_specs = {draft.loaded.name: draft.spec for draft in drafts if draft.spec is not None}
    aliased = alias_problems(
        {**loaded.specs, **edited_specs},
        loaded.problems,
        context.lockfile,
        loaded.settings.serve.base_models,
    )
    resolved = resolve(
        specs,
        Recorded(lockfile=context.lockfile),
        readings,
        context.open_backend,
        loaded.settings.policies,
        problems={name: aliased[name] for name in specs if name in aliased},
    )
    for draft in drafts:
        found = resolved.unresolved.get(draft.loaded.name)
        if isinstance(found, Deferred):
            draft.unchecked = found.reason
        elif found is not None:
            draft.problems += found.problems
    return resolved.desired


def _unknown_base(
    loaded: LoadedSpec, backend: Backend, readings: Readings, context: MoveContext
) -> Sequence[Problem]:
    """Return the problem of a base model that nobody named for this move, and nobody knows here."""
    if context.target.base_model is not None:
        return ()
    entry = context.lockfile.finetunes.get(loaded.name, Entry())
    try:
        identify_base(loaded, entry, backend, readings)
    except BaseModelNotKnown as error:
        return error.problems
    except InvalidInput:
        return ()  # the checks of the spec tell
    return ()


def _lacks_base(
    loaded: LoadedSpec, backend: Backend, readings: Readings, context: MoveContext
) -> str:
    """Return why the base model is not on this machine, where another machine may have it.

    A base model that nobody named for this move, or a folder, is a problem like others.
    """
    base, entry = loaded.spec.base_name, context.lockfile.finetunes.get(loaded.name, Entry())
    if context.target.base_model is None or base.startswith(_FOLDERS):
        return ""
    try:
        identify_base(loaded, entry, backend, readings)
    except InvalidInput as error:
        return error.problems[0].message
    return ""


def _finished(draft: _Draft, desired: Desired | None, context: MoveContext) -> MovedSpec | None:
    """Write the gate into a draft and return it; None if it has problems."""
    edits, spec = draft.edits, draft.loaded.spec
    gate: tuple[str, ...] = ()
    note = ""
    is_written = bool(spec.gate) or spec.allows_worse
    if draft.production is not None and not is_written and not draft.problems:
        examples = draft.production.data.held_out.examples
        if desired is not None:
            examples = desired.data.held_out.examples
        found = default_gate(spec, examples)
        if found is not None:
            gate, note = (found.condition,), found.note
            write_gate(edits, gate)
    if draft.problems:
        return None
    final = _parsed(draft, context.project.root)
    if final is None or draft.problems:
        return None
    move = desired.move if desired is not None else None
    return MovedSpec(
        loaded=draft.loaded,
        text=final.document.text,
        carried=draft.carried,
        removed=tuple(edits.removed),
        notes=tuple(edits.notes),
        gate=gate or tuple(spec.gate),
        gate_note=note,
        unchecked=draft.unchecked,
        warnings=desired.warnings if desired is not None else (),
        answers_missing=move.judges.asks if move is not None and move.judges is not None else 0,
        target=context.target,
    )


def _on_disk(draft: _Draft, problem: Problem) -> Problem:
    """Return a problem of the edited text with the line of the file as it is on the disk."""
    if problem.file == draft.loaded.file and problem.field == "method":
        method = draft.loaded.spec.method
        remedy = (
            f"Move it to an endpoint that trains {method} (`ftctl help servers`), or change the "
            f"method first. {problem.remedy}"
        )
        problem = replace(problem, remedy=remedy)
    if problem.file != draft.loaded.file:
        return problem
    return draft.loaded.placed(replace(problem, line=None))
