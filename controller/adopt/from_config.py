"""A configuration file of another tool, translated into a spec: read, then data, then the spec."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, cast

from backends.contract.inspector import Json
from backends.excerpt import printable
from backends.registry import LOCAL
from controller.adopt.config_files import begins_with, read_config, require_name
from controller.adopt.configs import llama_factory, llama_factory_rows
from controller.adopt.configs.datasets import Found, Places, expanded, find_base, resolved
from controller.adopt.configs.recognise import recognise
from controller.adopt.configs.spec import first_note, translated_spec
from controller.adopt.configs.translation import Fate, Line, Translation
from controller.adopt.context import Adopting
from controller.adopt.files import put_copies, put_spec, remove
from controller.adopt.names import propose_name
from controller.adopt.spec_text import AdoptedSpec, load_adopted, spec_text
from controller.errors import FtctlError, InvalidInput, Problem
from controller.lockfile.store import read_lockfile
from controller.spec.load import FOLDER, spec_names

_GENERIC: Final = frozenset(
    {"config", "sft", "soup", "axolotl", "train", "training", "lora", "qlora", "args", "trl"}
)
"""Names of files that tell nothing of a fine-tune: their folder's name is taken then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FromConfig:
    """A configuration that was translated."""

    name: str
    tool: str
    recognised_by: Sequence[str]
    """Keys that tell the tool."""
    file: str
    """The spec."""
    is_new: bool
    """False if the same spec was there already."""
    copied: Sequence[str]
    """Data files that were copied into the repository."""
    lines: Sequence[Line]


def adopt_config(
    adopting: Adopting,
    path: Path,
    *,
    here: Path,
    wanted: str | None = None,
    base_model: str | None = None,
) -> FromConfig:
    """Write the spec of a configuration file, and copy data files that are outside the repository.

    Args:
        adopting: Where to.
        path: The file.
        here: The folder in which the command was called.
        wanted: Name of the fine-tune; None to make one from the configuration.
        base_model: The base model, if not the one that the configuration names.

    Raises:
        InvalidInput: With every reason why no spec can say what the file says. Nothing was written.
        FtctlError: The spec cannot be written.
    """
    project, file = adopting.project, printable(str(path))
    config, line_of = read_config(path, file)
    tool, keys = recognise(config, file)
    mapping = cast("Mapping[str, Json]", config)
    starts, info = [path.resolve().parent, here, project.root], None
    if tool.name == llama_factory.TOOL:
        info, starts = _dataset_info(mapping, starts)
    translation = tool.translate(mapping, file, line_of, info)
    if base_model is not None:
        translation = replace(translation, base_model=base_model)
    shown = _shown(path, project.root)
    name = _choose_name(adopting, translation, path, first_note(shown, tool.name), wanted)
    found = Found(name=name, file=file, places=Places(root=project.root, starts=starts))
    spec, about = _located(translation, found, shown, line_of((translation.base_key,)))
    lines = (about, *translation.lines, *found.lines)
    _require_valid(adopting, spec, file, lines)
    copied = put_copies(project, found.copies)
    try:
        is_new = put_spec(project, spec.file, spec_text(spec))
    except (FtctlError, OSError):
        remove(copied)
        raise
    return FromConfig(
        name=name,
        tool=tool.name,
        recognised_by=keys,
        file=spec.file,
        is_new=is_new,
        copied=sorted(f"{FOLDER}/data/{target.name}" for target in copied),
        lines=lines,
    )


def _located(
    translation: Translation, found: Found, shown: str, line: int | None
) -> tuple[AdoptedSpec, Line]:
    """Return the spec with its files where they are, and what became of the base model.

    Args:
        translation: The configuration.
        found: Looks for its files.
        shown: The configuration's name in the spec.
        line: Line of the base model.

    Raises:
        InvalidInput: With every reason why no spec can say what the configuration says.
    """
    train, held_out = found.sources(translation.train), None
    if not isinstance(translation.held_out, float):
        held_out = found.sources(translation.held_out)
    key = translation.base_key
    written, problem = find_base(translation.base_model, key, found.places, found.file, line)
    problems = [*translation.problems, *found.problems, *([problem] if problem else [])]
    if problems:
        raise InvalidInput(_sorted(problems))
    spec = translated_spec(
        translation, name=found.name, file=shown, base_model=written, train=train, held_out=held_out
    )
    return spec, _about_base(translation, written, line)


def _about_base(translation: Translation, written: str, line: int | None) -> Line:
    return Line(
        fate=Fate.TRANSLATED,
        key=translation.base_key,
        given=translation.base_model,
        text=f"base_model: {written}",
        line=line,
    )


def _require_valid(adopting: Adopting, spec: AdoptedSpec, file: str, lines: Sequence[Line]) -> None:
    """Require that the spec's model and the backend accept the values of a configuration.

    Raises:
        InvalidInput: With each value that they refuse, by its key there.
    """
    try:
        loaded = load_adopted(adopting.project.root, spec)
        raw = cast("Mapping[str, Json]", loaded.spec.hyperparameters)
        adopting.open_backend(LOCAL).parse_hyperparameters(loaded.spec.method, raw)
    except InvalidInput as error:
        problems = [_there(problem, file, lines) for problem in error.problems]
        raise InvalidInput(_sorted(problems)) from None


def _there(problem: Problem, file: str, lines: Sequence[Line]) -> Problem:
    """Return a problem of a spec's field as a problem of the key that it was made from."""
    name = problem.field.removeprefix("hyperparameters.")
    made = (f"hyperparameters.{name}:", f"{name}:", f"data.{name}", problem.field)
    # A problem of the whole text has no field, with which every line would begin.
    told = lines if problem.field else ()
    found = next((one for one in told if one.text.startswith(made)), None)
    if found is None:
        return replace(problem, file=file, line=None)
    return replace(problem, file=file, line=found.line, field=found.key)


def _shown(path: Path, root: Path) -> str:
    """Return a file's name in a spec: nothing of the machine outside the repository."""
    resolved = path.resolve()
    inside = resolved.is_relative_to(root.resolve())
    return printable(str(resolved.relative_to(root.resolve())) if inside else path.name)


def _sorted(problems: Sequence[Problem]) -> list[Problem]:
    return sorted(dict.fromkeys(problems), key=lambda one: (one.line or 0, one.field))


def _dataset_info(
    config: Mapping[str, Json], starts: Sequence[Path]
) -> tuple[Mapping[str, Json] | None, list[Path]]:
    """Return LLaMA-Factory's description of datasets, and the folders with its folder first.

    Raises:
        InvalidInput: The description cannot be read.
    """
    folder = expanded(llama_factory_rows.dataset_folder(config))
    for start in starts:
        path = start / folder / llama_factory_rows.INFO
        if (there := resolved(path)) is not None and there.is_file():
            info, _ = read_config(path, printable(str(path)))
            return (info if isinstance(info, Mapping) else {}), [path.parent, *starts]
    return None, list(starts)


def _choose_name(
    adopting: Adopting, translation: Translation, path: Path, note: str, wanted: str | None
) -> str:
    project = adopting.project
    declared = spec_names(project.root)
    recorded = read_lockfile(project.root, project.records).finetunes
    begun = {one for one in declared if begins_with(project.root, one, note)}
    taken: Collection[str] = {*declared, *recorded} - begun
    proposal = _proposed(translation, path, taken)
    require_name(wanted, proposal, taken)
    return wanted or proposal


def _proposed(translation: Translation, path: Path, taken: Collection[str]) -> str:
    absolute = path.resolve()
    stems = [absolute.stem, absolute.parent.name]
    if absolute.stem.lower() in _GENERIC:
        stems.reverse()
    return propose_name([*translation.names, *stems], taken)
