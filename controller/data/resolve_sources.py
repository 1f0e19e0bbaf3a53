"""Find the file behind every source of a spec: in the repository, or fetched from elsewhere.

Out: a `ResolvedFile` for each file, or every problem at once. Rows are not read here.
"""

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from controller.data.errors import DataError, SourceUnavailable
from controller.data.fetch import fetch, fetch_saved
from controller.data.fetch.snapshot import Fetched
from controller.data.report import SplitName
from controller.data.sources.inspect_file import inspect_file, inspect_small_file
from controller.data.sources.locate import LocatedFile, find_files
from controller.data.sources.source_file import BINARY, FileInfo, GitBlob, SourceFile
from controller.data.verified_datasets import Unchanged
from controller.errors import DataNotRead, InvalidInput, Problem
from controller.spec.data import Data, FileFormat, Fraction, Source, formats_with


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedFile:
    """A file of a source of the spec."""

    part: SplitName
    field: str
    """Where the source stands in the spec: `data.train[0]`."""
    source: Source
    file: SourceFile
    is_table: bool
    """Whether its rows have columns in common, so that a missing one is said once."""
    from_arrow: bool = False
    """True if Arrow wrote the rows: Parquet, and saved and hub datasets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataPaths:
    """Where things are."""

    root: Path
    """The repository, which paths may not leave."""
    cache: Path
    """Where datasets and what is known of files are kept: a folder of the state folder."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """The variables that hold the databases' URLs."""
    blobs: Mapping[Path, GitBlob] = field(default_factory=dict)
    """What git says of files that are as it knows them: these need not be read."""
    offline: bool = False
    """Whether only files of the repository are read: a stranger's spec may name any server."""
    fetched: MutableMapping[str, Fetched] = field(default_factory=dict)
    """What databases, URLs and hubs answered before in the same run, by source."""
    unchanged: Unchanged | None = None
    """Datasets that passes before found whole; None to look at every file."""


def find_sources(data: Data, *, file: str, folder: Path, places: DataPaths) -> list[ResolvedFile]:
    """Return the files of every source, in the spec's order.

    Args:
        data: The section of the spec.
        file: The spec, as shown in errors.
        folder: The spec's folder, which paths start from.
        places: Where things are.

    Raises:
        InvalidInput: With every problem.
        DataNotRead: A source cannot be read here, and there is no other problem.
    """
    given: list[ResolvedFile] = []
    problems: list[Problem] = []
    unread: list[Problem] = []
    for part, name, source in _sources(data):
        if part == "held_out" and "weight" in source.model_fields_set:
            problems.append(
                Problem(
                    file=file,
                    field=f"{name}.weight",
                    message="is for training sources",
                    remedy="Remove the line: every held-out example is used once.",
                )
            )
        try:
            found = list(_of_source(part, name, source, folder, places))
        except _OfFile as error:
            problems.append(error.problem)
        except SourceUnavailable as error:
            unread.append(error.problem(file=file, field=name))
        except DataError as error:
            field = f"{name}.{error.field or source.place}"
            # A line of what was fetched is not a line of the spec.
            problems.append(replace(error.problem(file=file, field=field), line=None))
        else:
            given += found
            problems += _misplaced(source, name, file, {one.file.format for one in found})
    if problems:
        raise InvalidInput([*problems, *unread])
    if unread:
        raise DataNotRead(unread)
    return given


def redetect_encodings(given: Sequence[ResolvedFile], places: DataPaths) -> list[ResolvedFile]:
    """Return the same after decoding the files to their ends of which only the beginning was.

    Raises:
        InvalidInput: With every one that is in no known encoding.
    """
    decoded: list[ResolvedFile] = []
    problems: list[Problem] = []
    for one in given:
        try:
            info = _look(one.file, one.source, places, in_part=False)
            decoded.append(replace(one, file=replace(one.file, info=info)))
        except _OfFile as error:
            problems.append(error.problem)
    if problems:
        raise InvalidInput(problems)
    return decoded


_TABLES = frozenset({"csv", "tsv", "parquet", "excel"})


class _OfFile(Exception):
    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem = problem


def _sources(data: Data) -> Iterator[tuple[SplitName, str, Source]]:
    for number, source in enumerate(data.train):
        yield "train", f"data.train[{number}]", source
    if not isinstance(data.held_out, Fraction):
        for number, source in enumerate(data.held_out):
            yield "held_out", f"data.held_out[{number}]", source


def _of_source(
    part: SplitName, name: str, source: Source, folder: Path, places: DataPaths
) -> Iterator[ResolvedFile]:
    for found in _find(source, folder, places):
        info = _look(found, source, places, in_part=True)
        yield ResolvedFile(
            part=part,
            field=name,
            source=source,
            file=SourceFile(
                path=found.path,
                display_path=found.display_path,
                format=found.format,
                info=info,
                source=source,
            ),
            is_table=found.format in _TABLES or source.place in {"sql", "hub"},
            from_arrow=found.from_arrow or source.place == "hub",
        )


def _misplaced(source: Source, name: str, file: str, formats: set[FileFormat]) -> Iterator[Problem]:
    """Yield a problem for each key of a source that applies to none of its files."""
    useless = [set(source.misplaced(file_format)) for file_format in formats]
    for key in sorted(set.intersection(*useless)) if useless else ():
        are = " and ".join(sorted(formats))
        yield Problem(
            file=file,
            field=f"{name}.{key}",
            message=f"does not go with {are}",
            remedy=f"Remove the line; {key} is for {', '.join(formats_with(key))}.",
        )


def _find(source: Source, folder: Path, places: DataPaths) -> Iterator[LocatedFile]:
    snapshots = places.cache / "snapshots"
    if source.path is None:
        if places.offline:
            raise SourceUnavailable(
                f"`{source.place}` is not asked offline", "Plan without --offline."
            )
        key = f"{folder}\0{source.model_dump_json()}"
        if key not in places.fetched:
            places.fetched[key] = fetch(
                source,
                folder=folder,
                root=places.root,
                snapshots=snapshots,
                environment=places.environment,
            )
        fetched = places.fetched[key]
        yield LocatedFile(
            path=fetched.path, display_path=fetched.display_path, format=fetched.format
        )
        return
    state = places.cache.parent
    for found in find_files(source, folder=folder, root=places.root, state=state):
        if found.format == "arrow":
            saved = fetch_saved(found.path, found.display_path, source.split, snapshots)
            yield LocatedFile(
                path=saved.path,
                display_path=saved.display_path,
                format=saved.format,
                from_arrow=True,
            )
        else:
            yield found


def _look(
    found: LocatedFile | SourceFile, source: Source, places: DataPaths, *, in_part: bool
) -> FileInfo:
    try:
        if found.format not in BINARY and source.encoding is None:
            small = inspect_small_file(found.path)
            if small is not None:
                return small
        return inspect_file(
            found.path,
            places.cache / "looks",
            file_format=found.format,
            encoding=source.encoding,
            blob=places.blobs.get(found.path),
            in_part=in_part,
        )
    except DataError as error:
        raise _OfFile(error.problem(file=found.display_path)) from None
    except OSError as error:
        raise _OfFile(
            Problem(file=found.display_path, message=f"cannot be read: {error.strerror}")
        ) from None
