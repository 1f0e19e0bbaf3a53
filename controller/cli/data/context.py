"""The dataset that a data command is about, and the places in sources that people name."""

import unicodedata
from dataclasses import dataclass, replace
from pathlib import Path

import click

from backends.contract.backend import Backend
from controller.cli.common import check_names, project_of
from controller.data.dataset import Dataset
from controller.data.reports.provenance import Origin, parse_origin
from controller.data.suggestions import join_names
from controller.errors import FtctlError, InvalidInput
from controller.lockfile.model import Entry
from controller.lockfile.store import read_lockfile
from controller.plan.starting.parents import find_parents
from controller.project.project import Project, known_blobs
from controller.resolve.inputs import BuiltData, Readings, build_newest
from controller.resolve.validate import check_spec
from controller.run.backends import backends_of
from controller.spec.load import LoadedSpec, read_specs


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetContext:
    """One fine-tune's dataset, and the inputs of its build."""

    project: Project
    loaded: LoadedSpec
    entry: Entry
    backend: Backend
    built: BuiltData

    @property
    def dataset(self) -> Dataset:
        """The dataset."""
        return self.built.dataset

    @property
    def cache(self) -> Path:
        """Folder of datasets and memos."""
        return self.project.state / "data"


def open_data(ctx: click.Context, name: str) -> DatasetContext:
    """Build the dataset of a fine-tune, or find it in the cache.

    Raises:
        InvalidInput: With every problem of its spec and data.
        FtctlError: No fine-tune has this name.
    """
    project = project_of(ctx)
    specs, problems = read_specs(project.root)
    if name in problems and name not in specs:
        raise InvalidInput(problems[name])
    check_names([name], list(specs))
    return open_spec(project, specs[name])


def open_spec(project: Project, loaded: LoadedSpec) -> DatasetContext:
    """Build the dataset of a spec, or find it in the cache.

    Raises:
        InvalidInput: With every problem of spec and data.
    """
    opened = backends_of(project)
    readings = Readings(project=project, blobs=known_blobs(project.root))
    problems = list(check_spec(loaded, opened, readings.answers))
    if problems:
        raise InvalidInput(problems)
    lockfile = read_lockfile(project.root, project.records)
    parents, _ = find_parents({loaded.name: loaded}, lockfile)
    readings = replace(readings, parents=parents)
    entry = lockfile.finetunes.get(loaded.name, Entry())
    backend = opened(loaded.spec.place)
    built = build_newest(loaded, entry, backend, readings)
    return DatasetContext(project=project, loaded=loaded, entry=entry, backend=backend, built=built)


def parse_source_line(context: DatasetContext, text: str) -> Origin:
    """Return the place in a source that a person names: `data/cafe.csv:17`.

    Raises:
        FtctlError: The text is not a place, or no source has it.
    """
    origin = parse_origin(text)
    if origin is None:
        raise FtctlError(
            f"{text!r} is not a place in a file",
            "Write it as FILE:LINE, such as data/cafe.csv:17; of a JSON array, as "
            "'data/cafe.json[17]', counted from 0.",
        )
    paths = list(dict.fromkeys(source.path for source in context.dataset.report.sources))
    file = unicodedata.normalize("NFC", origin.file.removeprefix("./"))
    names = {unicodedata.normalize("NFC", path): path for path in paths}
    close = [path for name, path in names.items() if name == file or name.endswith(f"/{file}")]
    if len(close) != 1:
        what = "fits more than one source" if close else "is not a source"
        raise FtctlError(
            f"{origin.file!r} {what} of {context.loaded.name}",
            f"Use one of: {join_names(close or paths)}.",
        )
    return origin._replace(file=close[0])


def for_shell(origin: Origin) -> str:
    """Return a place quoted for a shell, which would read brackets as a pattern."""
    return f"'{origin}'" if origin.is_indexed else str(origin)
