"""`ftctl move`."""

from collections.abc import Iterator, Sequence

import click

from backends.atomic_files import write_atomic
from backends.contract.inspector import Json
from controller.cli.common import (
    check_names,
    json_option,
    print_json,
    project_of,
    wants_json,
)
from controller.errors import FtctlError, InvalidInput
from controller.lockfile.store import read_lockfile
from controller.move.prepare import Destination, MoveContext, MovedSpec, prepare_moves
from controller.move.translate import Carried
from controller.project.project import Project
from controller.render.text import escape_control, number
from controller.run.backends import backend_opener
from controller.run.load import Loaded, RunInputs, load
from controller.spec.load import LoadedSpec

_COLOURS = {"+": "green", "-": "red", "@": "cyan"}


@click.command("move")
@click.argument("names", nargs=-1, metavar="NAME...")
@click.option("--all", "every", is_flag=True, help="Move every fine-tune that is elsewhere.")
@click.option(
    "--to", "place", required=True, metavar="BACKEND[@ENDPOINT]", help="The new home: local-gpu."
)
@click.option("--base_model", metavar="MODEL", help="The new base model. [default: the same]")
@click.option("--dry-run", is_flag=True, help="Show the edits and write nothing.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    *,
    names: tuple[str, ...],
    every: bool,
    place: str,
    base_model: str | None,
    dry_run: bool,
) -> None:
    """Edit specs for another backend, endpoint or base model.

    Translates hyperparameters, keeps the old model's name as an alias, and writes the gate that
    compares with production. Says what it could not translate. Reads the data as the new home does
    and writes nothing if anything is wrong there. Trains nothing: `ftctl plan` shows the move.
    """
    project = project_of(ctx)
    loaded = load(RunInputs(project=project, open_for=backend_opener(project)))
    if loaded.settings_error is not None:
        raise loaded.settings_error
    target = _destination(place, base_model)
    chosen, settled = _chosen(names, loaded, target, every=every)
    lockfile = read_lockfile(project.root, project.records)
    context = MoveContext(project=project, loaded=loaded, lockfile=lockfile, target=target)
    moved = prepare_moves(chosen, context)
    if not dry_run:
        _write(moved, project)
    if wants_json(ctx):
        print_json(_as_json(moved, settled, written=not dry_run))
        return
    for one in moved:
        _print(one)
    for line in _closing(moved, settled, written=not dry_run):
        click.echo(line)


def _destination(place: str, base_model: str | None) -> Destination:
    backend, at, endpoint = place.partition("@")
    if not backend or (at and not endpoint):
        message = f"--to {place!r} is not BACKEND or BACKEND@ENDPOINT"
        raise FtctlError(message, "Write `--to local-gpu`, or `--to openai@NAME`.")
    if base_model == "":
        raise FtctlError("--base_model is empty", "Name a model, or leave the option out.")
    return Destination(backend=backend, endpoint=endpoint or None, base_model=base_model)


def _chosen(
    names: Sequence[str], loaded: Loaded, target: Destination, *, every: bool
) -> tuple[list[LoadedSpec], list[str]]:
    """Return the specs to move, and the names of those that are at the new home already.

    Raises:
        FtctlError: The names and options do not fit.
        InvalidInput: A spec that is to be moved has problems.
    """
    if every == bool(names):
        message = "name the fine-tunes to move, or type --all, and not both"
        raise FtctlError(message, f"Type `ftctl move NAME --to {target.place}`.")
    known = sorted([*loaded.specs, *loaded.problems])
    check_names(names, known)
    wanted = list(dict.fromkeys(names)) or known
    problems = [one for name in wanted for one in loaded.problems.get(name, ())]
    if problems:
        raise InvalidInput(problems)
    specs = [loaded.specs[name] for name in wanted]
    # With --all, a fine-tune that is there keeps its base model: it was not meant to leave.
    settled = [
        one.name
        for one in specs
        if target.is_home_of(one) or (every and one.spec.place == target.place)
    ]
    return [one for one in specs if one.name not in settled], settled


def _write(moved: Sequence[MovedSpec], project: Project) -> None:
    """Write each file at once, unless somebody changed it meanwhile.

    Raises:
        FtctlError: A file was changed since it was read.
    """
    paths = [(project.root / one.loaded.file, one) for one in moved]
    for path, one in paths:
        if not path.exists() or path.read_bytes() != one.loaded.document.text:
            message = f"{one.loaded.file}: was changed meanwhile; nothing was written"
            raise FtctlError(message, "Run the command again.")
    for path, one in paths:
        write_atomic(path, one.text)


def _print(one: MovedSpec) -> None:
    for line in one.diff.splitlines():
        colour = None if line.startswith(("+++", "---")) else _COLOURS.get(line[:1])
        click.secho(escape_control(line), fg=colour)
    click.echo("")
    for line in _lines(one):
        click.echo(escape_control(line))
    click.echo("")


def _lines(one: MovedSpec) -> Iterator[str]:
    spec, target = one.loaded.spec, one.target
    yield f"# {one.name} moves from {spec.place} to {target.place}"
    yield "Translated:"
    yield f"  method: {spec.method} stays"
    yield f"  seed: {spec.seed} stays; the same seed gives other weights elsewhere"
    yield f"  suffix: none is written; models are named after {one.name}, as before"
    yield from (f"  {_carried_text(carried)}" for carried in one.carried if carried.becomes)
    yield from (f"  {note}" for note in one.notes)
    lost = [f"  {removed.key}: {removed.why}" for removed in one.removed]
    if lost:
        yield "Not translated:"
        yield from lost
    if one.gate_note:
        yield f"! {one.gate_note}"
    if not any("production." in text for text in one.gate):
        yield _gate_remark(one)
    yield from (f"! {warning}" for warning in one.warnings)
    if not spec.trains:
        yield (
            f"! method: {spec.method} trains nothing: to train at {target.place}, add data.train "
            "and write `method: supervised`"
        )
    if one.unchecked:
        yield f"! the data was not checked for {target.place}: {one.unchecked}"
        yield "  `ftctl plan`, on the machine that trains, checks it."
    if one.answers_missing:
        yield (
            f"! {one.answers_missing:,} answers of production are not recorded: "
            f"`ftctl record {one.name}` keeps them while the model answers"
        )


def _gate_remark(one: MovedSpec) -> str:
    if one.loaded.spec.allows_worse:
        return "! the spec has `gate: []`: whatever is trained goes into production"
    if one.gate:
        return "! the gate stays as it is, and does not compare the new model with production"
    return "! nothing is in production, so no gate was written"


def _carried_text(one: Carried) -> str:
    why = f"  ({one.why})" if one.why else ""
    if one.is_kept:
        return f"{one.key}: {_shown(one.value)} stays{why}"
    becomes = ", ".join(f"{key}: {_shown(value)}" for key, value in one.becomes.items())
    return f"{one.key}: {_shown(one.value)} -> {becomes}{why}"


def _shown(value: Json) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _closing(moved: Sequence[MovedSpec], settled: Sequence[str], *, written: bool) -> Iterator[str]:
    if settled:
        yield f"There already: {', '.join(settled)}."
    if not moved:
        yield "Nothing to move."
        return
    count = number(len(moved))
    files = f"{count} spec{'' if len(moved) == 1 else 's'}"
    if not written:
        yield f"Nothing was written. Without --dry-run, {files} would be edited."
        return
    yield f"Edited {files}. To undo: git checkout -- {' '.join(one.loaded.file for one in moved)}"
    yield "Next: `ftctl plan` shows what moves, what judges it, and what it costs."


def _as_json(moved: Sequence[MovedSpec], settled: Sequence[str], *, written: bool) -> Json:
    return {"written": written, "there_already": list(settled), "moves": [*map(_one_json, moved)]}


def _one_json(one: MovedSpec) -> Json:
    spec = one.loaded.spec
    return {
        "name": one.name,
        "file": one.loaded.file,
        "from": {"backend": spec.place, "base_model": spec.base_name},
        "to": {
            "backend": one.target.place,
            "base_model": one.target.base_model or spec.base_name,
        },
        "translated": [
            {"key": each.key, "value": each.value, "becomes": dict(each.becomes), "how": each.why}
            for each in one.carried
            if each.becomes
        ],
        "not_translated": [{"key": each.key, "why": each.why} for each in one.removed],
        "notes": list(one.notes),
        "gate": list(one.gate),
        "gate_note": one.gate_note,
        "unchecked": one.unchecked,
        "warnings": list(one.warnings),
        "answers_missing": one.answers_missing,
        "diff": one.diff,
    }
