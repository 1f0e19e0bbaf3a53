"""Find the files that a source of the spec names, and their format.

In: a path or a glob as written. Out: `LocatedFile` records in a stable order, or a `DataError`. No
path leaves the repository or leads to what is not data, neither by `..` nor by a link. Only names
are read and, of compressed files, the first bytes.
"""

import os
import stat
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path, PurePosixPath

from backends.did_you_mean import did_you_mean
from controller.data.errors import DataError
from controller.data.lookup import is_same_name
from controller.data.sources.compression import compression_of
from controller.data.sources.globs import has_wildcard, walk
from controller.data.sources.source_file import BINARY, Compression, LocatedFile
from controller.data.suggestions import join_names, quote
from controller.repository_files import has_no_link
from controller.spec.data import FileFormat, Source

_FORMATS: dict[str, FileFormat] = {
    **dict.fromkeys((".jsonl", ".jsonlines", ".ndjson"), "jsonl"),
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    **dict.fromkeys((".xlsx", ".xlsm", ".xlsb", ".xls", ".ods"), "excel"),
    **dict.fromkeys((".html", ".htm"), "html"),
    **dict.fromkeys((".md", ".markdown"), "markdown"),
    ".txt": "text",
}
_COMPRESSED: dict[str, Compression] = {".gz": "gzip", ".zst": "zstd"}

_MARKS = ("dataset_info.json", "state.json", "dataset_dict.json")
"""Files of a saved Hugging Face dataset: the first two in every split, the last above them."""

_NOT_DATA = (".git", ".ftctl")
_SECRETS = ".env"
"""Start of the names of files and folders whose first line must not be shown as columns."""

_MAX_NAMES = 1_000


def find_files(source: Source, *, folder: Path, root: Path, state: Path) -> list[LocatedFile]:
    """Return the files of a source with a `path`: one file, or all that fit its glob.

    Args:
        source: A source of the spec that has a path.
        folder: The spec's folder.
        root: The repository, which no path may leave, not even through a link.
        state: The state folder, which holds no sources if it is in the repository.

    Raises:
        DataError: There is no such file, or it may not or cannot be read.
    """
    written = source.path or ""
    if Path(written).is_absolute() or not written.isprintable():
        raise DataError(
            f"{quote(written)} is not a relative path",
            "Write it relative to the spec's folder: data/questions.csv",
        )
    repository = _repository(root, state)
    path = Path(os.path.normpath(folder.absolute() / written))
    try:
        path = path if has_wildcard(written) else _as_on_disk(path, written, repository)
        if has_wildcard(written) and not path.exists():
            return _globbed(repository, path, source)
        return [_located(repository, path, written, source)]
    except OSError as error:
        raise DataError(
            f"{quote(written)} cannot be read: {error.strerror}",
            "Name a file that can, or a glob of some: data/*.csv",
        ) from None


def detect_format(name: str, given: FileFormat | None = None) -> FileFormat:
    """Return a file's format: the given one, or that of its ending.

    Args:
        name: A path or URL; `.gz` and `.zst` after the ending tell its compression.
        given: The format in the spec.

    Raises:
        DataError: The ending is not known, or tells that a compressed format is compressed again.
    """
    inner, compressed = _without_compression(name)
    file_format = given or _FORMATS.get(PurePosixPath(inner).suffix.lower())
    if file_format is None:
        raise DataError(
            f"{name!r} has no known ending",
            f"Use one of {', '.join(_FORMATS)}, or name its format: format: jsonl",
        )
    if compressed and file_format in BINARY:
        raise DataError(
            f"{name!r} is compressed twice",
            f"Unpack {compressed}; {file_format} is compressed in itself.",
        )
    return file_format


@dataclass(frozen=True, slots=True, kw_only=True)
class _Repository:
    """Folders that limit all paths."""

    root: Path
    """Resolved."""
    unresolved: Path
    state: Path
    """Resolved."""

    def display_path(self, path: Path) -> str:
        for start in (self.root, self.unresolved):
            if (below := _below(path, start)) is not None:
                return below
        return os.path.relpath(path, self.unresolved)

    def base_of(self, path: Path) -> Path | None:
        """Return the repository's folder that a path starts with; None if it leaves it."""
        bases = (self.root, self.unresolved)
        return next((base for base in bases if path.is_relative_to(base)), None)

    def resolved(self, path: Path, written: str) -> Path:
        """Return a resolved path.

        Raises:
            DataError: It leaves the repository, or leads to what is not data.
        """
        try:
            below = _below(path, self.root)
            is_resolved = below is not None and has_no_link(str(self.root), below)
            resolved = path if is_resolved else path.resolve()
        except (OSError, RuntimeError):
            raise DataError(
                f"{self.display_path(path)!r} is a link to itself", "Copy the file in its place."
            ) from None
        if _below(resolved, self.root) is None:
            at = f" at {self.display_path(path)!r}" if has_wildcard(written) else ""
            at += "" if self.base_of(path) is None else " through a link"
            raise _leaves(written, at)
        if self._is_not_data(resolved) or (path != resolved and self._is_not_data(path)):
            raise DataError(
                f"{self.display_path(path)!r} is not data",
                "Name another file: .git, .env* and the state folder are never read.",
            )
        return resolved

    def _is_not_data(self, path: Path) -> bool:
        has_state = self.state != self.root and _below(self.state, self.root) is not None
        if has_state and _below(path, self.state) is not None:
            return True
        # On some disks, .GIT is .git.
        names = self.display_path(path).casefold().split("/")
        return any(name in _NOT_DATA or name.startswith(_SECRETS) for name in names)


@lru_cache(maxsize=8)
def _repository(root: Path, state: Path) -> _Repository:
    """Return the folders; cached, since a plan needs them for each source."""
    return _Repository(root=root.resolve(), unresolved=root.absolute(), state=state.resolve())


def _leaves(written: str, at: str = "") -> DataError:
    remedy = "Copy the file into the repository, beside the spec."
    return DataError(f"{quote(written)} leaves the repository{at}", remedy)


def _as_on_disk(path: Path, written: str, repository: _Repository) -> Path:
    """Return a path with each name as stored on the disk: macOS decomposes letters."""
    if os.path.lexists(path) or str(path).isascii():
        return path
    at = repository.base_of(path)
    if at is None:
        return path
    for name in path.relative_to(at).parts:
        exact = at / name
        if not os.path.lexists(exact):
            repository.resolved(at, written)
            alike = (entry for entry in _names(at) if is_same_name(entry, name))
            exact = at / min(alike, default=name)
        at = exact
    return at


def _names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries]
    except OSError:
        return []


def _below(path: Path, folder: Path) -> str | None:
    """Return a normal path relative to a folder above it, else None; fast for a plan's sake."""
    whole, start = str(path), str(folder)
    if whole == start:
        return "."
    start = start.removesuffix("/") + "/"
    return whole[len(start) :] if whole.startswith(start) else None


def _located(repository: _Repository, path: Path, name: str, source: Source) -> LocatedFile:
    resolved = repository.resolved(path, source.path or "")
    display_path = repository.display_path(path)
    if not display_path.isprintable():
        # Origins and messages are lines of UTF-8.
        raise DataError(
            f"the name {quote(display_path)} has characters that cannot be printed",
            "Rename it: letters, digits, spaces and signs in UTF-8.",
        )
    try:
        mode = resolved.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        mode = 0
    if stat.S_ISDIR(mode):
        if _is_saved_dataset(resolved):
            return LocatedFile(path=resolved, display_path=display_path, format="arrow")
        raise DataError(f"{display_path!r} is not a file", f"Name the files in it: {name}/*.jsonl")
    file_format = detect_format(name, source.format)
    if not mode:
        raise DataError(f"there is no file {display_path!r}", _remedy(path))
    if not stat.S_ISREG(mode):
        raise DataError(f"{display_path!r} is not a file", "Name a file.")
    if file_format == "arrow":
        raise DataError(
            f"{display_path!r} is not a saved dataset", "Name the folder that save_to_disk wrote."
        )
    _check_compression(resolved, name, display_path)
    return LocatedFile(
        path=resolved,
        display_path=display_path,
        format=file_format,
        from_arrow=file_format == "parquet",
    )


def _globbed(repository: _Repository, pattern: Path, source: Source) -> list[LocatedFile]:
    written, base = source.path or "", repository.base_of(pattern)
    if base is None:
        raise _leaves(written)

    def check(folder: Path) -> Path:
        return repository.resolved(folder, written)

    paths = {
        repository.display_path(path): path
        for path in walk(base, pattern.relative_to(base).parts, check)
    }
    found = [
        _located(repository, path, display_path, source)
        for display_path, path in sorted(paths.items())
        if not path.is_dir() or _is_saved_dataset(path)
    ]
    if not found:
        start = next(
            above for above in pattern.parents if not has_wildcard(repository.display_path(above))
        )
        raise DataError(
            f"{quote(written)} fits no file", _remedy(start / pattern.name, guess=False)
        )
    return found


def _is_saved_dataset(path: Path) -> bool:
    return (path / _MARKS[2]).is_file() or all((path / mark).is_file() for mark in _MARKS[:2])


def _without_compression(name: str) -> tuple[str, str]:
    ending = PurePosixPath(name).suffix
    is_compressed = ending.lower() in _COMPRESSED
    return (name.removesuffix(ending), ending) if is_compressed else (name, "")


def _check_compression(path: Path, name: str, display_path: str) -> None:
    ending = _without_compression(name)[1]
    compression = _COMPRESSED.get(ending.lower(), "")
    try:
        if ending and path.stat().st_size and compression_of(path) != compression:
            raise DataError(
                f"{display_path!r} is not a {compression} file",
                f"Compress it, or remove {ending} from its name.",
            )
    except OSError as error:
        raise DataError(f"{display_path!r} cannot be read: {error.strerror}") from None


def _remedy(missing: Path, *, guess: bool = True) -> str:
    """Return the remedy for a missing file: the names in its folder."""
    try:
        with os.scandir(missing.parent) as entries:
            names = sorted(entry.name for entry in islice(entries, _MAX_NAMES))
    except OSError:
        return f"Check the path: there is no folder {missing.parent.name!r} either."
    meant = did_you_mean(missing.name, names) if guess else ""
    endings = tuple(_FORMATS)
    files = [name for name in names if _without_compression(name)[0].lower().endswith(endings)]
    known = f"Use one of: {join_names(files)}." if files else "Put a data file into that folder."
    return f"{meant} {known}".lstrip()
