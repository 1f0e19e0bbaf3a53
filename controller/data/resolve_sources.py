"""Find the file behind every source of a spec: in the repository, or fetched from elsewhere.

Out: a `SourceFile` for each file, or every problem at once. Rows are not read here.
"""

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from controller.data.errors import DataError, SourceUnavailable
from controller.data.fetch import fetch, fetch_saved
from controller.data.fetch.snapshot import FetchRequest
from controller.data.sources.inspect_file import inspect_file, inspect_small_file
from controller.data.sources.locate import find_files
from controller.data.sources.source_file import BINARY, FileInfo, GitBlob, LocatedFile, SourceFile
from controller.data.verified_datasets import VerifiedDatasets
from controller.errors import DataNotRead, InvalidInput, Problem
from controller.spec.data import Data, FileFormat, Source, SplitName, formats_with


@dataclass(frozen=True, slots=True, kw_only=True)
class DataPaths:
    """Paths of the repository and its caches, and what is already known of its data."""

    root: Path
    """The repository, which paths of sources may not leave."""
    cache: Path
    """Folder of datasets and memos, in the state folder."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Environment variables with the URLs of databases."""
    blobs: Mapping[Path, GitBlob] = field(default_factory=dict)
    """Files that git knows as committed, which need no reading."""
    offline: bool = False
    """True to read only files of the repository: a stranger's spec may name any server."""
    fetched: MutableMapping[str, LocatedFile] = field(default_factory=dict)
    """Answers of databases, URLs and hubs earlier in the same run, by source."""
    verified: VerifiedDatasets | None = None
    """Datasets that earlier passes found complete; None to inspect every file."""


def find_sources(data: Data, *, file: str, folder: Path, paths: DataPaths) -> list[SourceFile]:
    """Return the files of every source, in the spec's order.

    Args:
        data: The section of the spec.
        file: The spec, as shown in errors.
        folder: The spec's folder, which paths start from.
        paths: Paths of the repository and its caches.

    Raises:
        InvalidInput: With every problem.
        DataNotRead: A source cannot be read on this machine, and there is no other problem.
    """
    files: list[SourceFile] = []
    problems: list[Problem] = []
    unavailable: list[Problem] = []
    for split, number, source in data.numbered_sources():
        name = f"data.{split}[{number}]"
        try:
            found = list(_files_of(split, name, source, folder, paths))
        except _FileProblem as error:
            problems.append(error.problem)
        except SourceUnavailable as error:
            unavailable.append(error.problem(file=file, field=name))
        except DataError as error:
            problem = error.problem(file=file, field=f"{name}.{error.field or source.place}")
            # A line of fetched rows is not a line of the spec.
            problems.append(replace(problem, line=None))
        else:
            files += found
            problems += _misplaced(source, name, file, {each.format for each in found})
    if problems:
        raise InvalidInput([*problems, *unavailable])
    if unavailable:
        raise DataNotRead(unavailable)
    return files


def redetect_encodings(files: Sequence[SourceFile], paths: DataPaths) -> list[SourceFile]:
    """Return the files after decoding each of them to its end.

    Raises:
        InvalidInput: With every file that is in no known encoding.
    """
    decoded: list[SourceFile] = []
    problems: list[Problem] = []
    for file in files:
        try:
            info = _inspect(file, file.source, paths, in_part=False)
            decoded.append(replace(file, info=info))
        except _FileProblem as error:
            problems.append(error.problem)
    if problems:
        raise InvalidInput(problems)
    return decoded


class _FileProblem(Exception):
    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem = problem


def _files_of(
    split: SplitName, name: str, source: Source, folder: Path, paths: DataPaths
) -> Iterator[SourceFile]:
    for located in _locate(source, folder, paths):
        info = _inspect(located, source, paths, in_part=True)
        yield SourceFile(
            path=located.path,
            display_path=located.display_path,
            format=located.format,
            info=info,
            source=source,
            split=split,
            field=name,
            from_arrow=located.from_arrow,
        )


def _misplaced(source: Source, name: str, file: str, formats: set[FileFormat]) -> Iterator[Problem]:
    """Yield a problem for each key of a source that applies to none of its files."""
    misplaced = [set(source.misplaced(file_format)) for file_format in formats]
    for key in sorted(set.intersection(*misplaced)) if misplaced else ():
        yield Problem(
            file=file,
            field=f"{name}.{key}",
            message=f"does not go with {' and '.join(sorted(formats))}",
            remedy=f"Remove the line; {key} is for {', '.join(formats_with(key))}.",
        )


def _locate(source: Source, folder: Path, paths: DataPaths) -> Iterator[LocatedFile]:
    snapshots = paths.cache / "snapshots"
    if source.path is None:
        if paths.offline:
            raise SourceUnavailable(
                f"`{source.place}` is not queried offline", "Plan without --offline."
            )
        key = source.model_dump_json()
        if key not in paths.fetched:
            request = FetchRequest(
                source=source,
                root=paths.root,
                snapshots=snapshots,
                environment=paths.environment,
            )
            paths.fetched[key] = fetch(request)
        yield paths.fetched[key]
        return
    for found in find_files(source, folder=folder, root=paths.root, state=paths.cache.parent):
        if found.format == "arrow":
            yield fetch_saved(found.path, found.display_path, source.split, snapshots)
        else:
            yield found


def _inspect(
    file: LocatedFile | SourceFile, source: Source, paths: DataPaths, *, in_part: bool
) -> FileInfo:
    try:
        if file.format not in BINARY and source.encoding is None:
            small = inspect_small_file(file.path)
            if small is not None:
                return small
        return inspect_file(
            file.path,
            paths.cache / "looks",
            file_format=file.format,
            encoding=source.encoding,
            blob=paths.blobs.get(file.path),
            in_part=in_part,
        )
    except DataError as error:
        message, line, remedy = error.message, error.line, error.remedy
    except OSError as error:
        message, line, remedy = f"cannot be read: {error.strerror}", None, ""
    raise _FileProblem(Problem(file=file.display_path, line=line, message=message, remedy=remedy))
