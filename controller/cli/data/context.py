"""What every data command begins with: one fine-tune's dataset, built or found built."""

import unicodedata
from dataclasses import dataclass
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
from controller.project.project import Project, known_blobs
from controller.resolve.inputs import BuiltData, Readings, build_newest
from controller.resolve.validate import check_spec
from controller.run.backends import backends_of
from controller.spec.load import LoadedSpec, read_specs


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """One fine-tune's dataset, and what it was built with."""

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
        """Where datasets and what is known of them are kept."""
        return self.project.state / "data"


def open_data(ctx: click.Context, name: str) -> Opened:
    """Build the dataset of a fine-tune, or find it built.

    Raises:
        InvalidInput: With every problem of its spec and data.
        FtctlError: No fine-tune is called so.
    """
    project = project_of(ctx)
    specs, problems = read_specs(project.root)
    if name in problems and name not in specs:
        raise InvalidInput(problems[name])
    check_names([name], list(specs))
    return build_opened(project, specs[name])


def build_opened(project: Project, loaded: LoadedSpec) -> Opened:
    """Build the dataset of a spec, or find it built.

    Raises:
        InvalidInput: With every problem of spec and data.
    """
    opened = backends_of(project)
    readings = Readings(project=project, blobs=known_blobs(project.root))
    wrong = list(check_spec(loaded, opened, readings.answers))
    if wrong:
        raise InvalidInput(wrong)
    entry = read_lockfile(project.root, project.state).finetunes.get(loaded.name, Entry())
    backend = opened(loaded.spec.place)
    built = build_newest(loaded, entry, backend, readings)
    return Opened(project=project, loaded=loaded, entry=entry, backend=backend, built=built)


def origin_of(opened: Opened, text: str) -> Origin:
    """Return the place in a source that a person names: `data/cafe.csv:17`.

    Raises:
        FtctlError: It is no such place, or none of a source.
    """
    origin = parse_origin(text)
    if origin is None:
        raise FtctlError(
            f"{text!r} is no place in a file",
            "Write it as FILE:LINE, such as data/cafe.csv:17; of a JSON array, as "
            "'data/cafe.json[17]', counted from 0.",
        )
    paths = list(dict.fromkeys(source.path for source in opened.dataset.report.sources))
    wanted = unicodedata.normalize("NFC", origin.file.removeprefix("./"))
    names = {unicodedata.normalize("NFC", path): path for path in paths}
    close = [path for name, path in names.items() if name == wanted or name.endswith(f"/{wanted}")]
    if len(close) != 1:
        what = "is no source" if not close else "fits more than one source"
        raise FtctlError(
            f"{origin.file!r} {what} of {opened.loaded.name}",
            f"Use one of: {join_names(close or paths)}.",
        )
    return origin._replace(file=close[0])


def typed(origin: Origin) -> str:
    """Return a place quoted for a shell, which would read brackets as a pattern."""
    return f"'{origin}'" if origin.is_indexed else str(origin)
