"""Find the files that a source of the spec names, and their format.

In: a path or a glob as it is written. Out: `LocatedFile` records in a stable order, or an `DataError`. No
path leads out of the repository, or to where it keeps what is not data, neither by `..` nor by a
link. Nothing is read but names and, of packed files, the first bytes.
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
from controller.data.sources.source_file import BINARY, Compression
from controller.data.suggestions import join_names, quote
from controller.spec.data import FileFormat, Source

_KINDS: dict[str, FileFormat] = {
    ".jsonl": "jsonl",
    ".jsonlines": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".xlsx": "excel",
    ".xlsm": "excel",
    ".xlsb": "excel",
    ".xls": "excel",
    ".ods": "excel",
    ".html": "html",
    ".htm": "html",
    ".md": "markdown",
    ".markdown": "markdown",
    ".txt": "text",
}
_PACKED: dict[str, Compression] = {".gz": "gzip", ".zst": "zstd"}

_MARKS = ("dataset_info.json", "state.json", "dataset_dict.json")
"""What a saved Hugging Face dataset has: the first two in every split, the last above them."""

_NOT_DATA = (".git", ".ftctl")
_SECRETS = ".env"
"""How the names of files and folders begin whose first line no message may show as columns."""

_NAMES_LOOKED_AT = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LocatedFile:
    """A file of the repository that rows can be read from, or a saved dataset's folder."""

    path: Path
    """Resolved: no link is followed any more when it is opened."""
    display_path: str
    """Relative to the repository, as a person would type it."""
    format: FileFormat
    from_arrow: bool = False
    """True if Arrow wrote the rows, as in Parquet."""


def find_files(source: Source, *, folder: Path, root: Path, state: Path) -> list[LocatedFile]:
    """Return what a source with a `path` names: one file, or all that its glob fits.

    Args:
        source: A source of the spec that has a path.
        folder: The spec's folder.
        root: The repository, which no path may leave, not even through a link.
        state: The state folder, which holds no sources where it is in the repository.

    Raises:
        DataError: There is no such file, or it may not or cannot be read.
    """
    written = source.path or ""
    if Path(written).is_absolute() or not written.isprintable():
        raise DataError(
            f"{quote(written)} is not a relative path",
            "Write it relative to the spec's folder: data/questions.csv",
        )
    resolved, unresolved, resolved_state = _roots(root, state)
    place = _Place(
        root=resolved,
        unresolved=unresolved,
        state=resolved_state,
        format=source.format,
        written=written,
    )
    path = Path(os.path.normpath(folder.absolute() / written))
    try:
        path = path if has_wildcard(written) else _as_on_disk(path, place)
        if has_wildcard(written) and not path.exists():
            return _globbed(place, path)
        return [_found(place, path, written)]
    except OSError as error:
        raise DataError(
            f"{quote(written)} cannot be read: {error.strerror}",
            "Name a file that can, or a glob of some: data/*.csv",
        ) from None


@lru_cache(maxsize=8)
def _roots(root: Path, state: Path) -> tuple[Path, Path, Path]:
    """Return a repository's folder, resolved and absolute, and its state folder, resolved.

    Remembered, since a plan asks once for each source; which folder of this machine a repository
    is in, nothing in the repository decides.
    """
    return root.resolve(), root.absolute(), state.resolve()


def detect_format(name: str, given: FileFormat | None = None) -> FileFormat:
    """Return a file's format: the given one, or what its ending says.

    Args:
        name: A path or an address; `.gz` and `.zst` after the ending say how it is packed.
        given: What the spec says.

    Raises:
        DataError: The ending is none that is known, or says that a packed format is packed again.
    """
    inner, packed = _unpacked_name(name)
    file_format = given or _KINDS.get(PurePosixPath(inner).suffix.lower())
    if file_format is None:
        raise DataError(
            f"{name!r} has no known ending",
            f"Use one of {', '.join(_KINDS)}, or say what it is: format: jsonl",
        )
    if packed and file_format in BINARY:
        raise DataError(
            f"{name!r} is packed twice", f"Unpack {packed}; {file_format} is packed in itself."
        )
    return file_format


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where paths start from and may not leave, and what the spec says of all of them."""

    root: Path
    """Resolved."""
    unresolved: Path
    state: Path
    """Resolved."""
    format: FileFormat | None
    written: str

    def display_path(self, path: Path) -> str:
        for start in (self.root, self.unresolved):
            if (display_path := _below(path, start)) is not None:
                return display_path
        return os.path.relpath(path, self.unresolved)

    def resolved(self, path: Path) -> Path:
        try:
            resolved = path if self._has_no_link(path) else path.resolve()
        except (OSError, RuntimeError):
            raise DataError(
                f"{self.display_path(path)!r} is a link to itself", "Copy the file in its place."
            ) from None
        if _below(resolved, self.root) is None:
            at = f" at {self.display_path(path)!r}" if has_wildcard(self.written) else ""
            if path.is_relative_to(self.root) or path.is_relative_to(self.unresolved):
                at += " through a link"
            raise DataError(
                f"{quote(self.written)} leaves the repository{at}",
                "Copy the file into the repository, beside the spec.",
            )
        if self._is_not_data(resolved) or (path != resolved and self._is_not_data(path)):
            raise DataError(
                f"{self.display_path(path)!r} is not data",
                "Name another file: .git, .env* and the state folder are never read.",
            )
        return resolved

    def _has_no_link(self, path: Path) -> bool:
        """Return whether a path is its own resolved form: the folder itself is resolved already."""
        at, below = str(self.root), _below(path, self.root)
        if below is None or ".." in below:
            return False
        for part in below.split("/"):
            at = f"{at}/{part}"
            try:
                if stat.S_ISLNK(os.lstat(at).st_mode):
                    return False
            except OSError:
                return False
        return True

    def _is_not_data(self, path: Path) -> bool:
        has_state = self.state != self.root and _below(self.state, self.root) is not None
        if has_state and _below(path, self.state) is not None:
            return True
        # Some disks know no case: there, .GIT is .git.
        parts = self.display_path(path).casefold().split("/")
        return any(part in _NOT_DATA or part.startswith(_SECRETS) for part in parts)


def _as_on_disk(path: Path, place: _Place) -> Path:
    """Return a path with each name as stored on disk: macOS decomposes letters."""
    if os.path.lexists(path) or str(path).isascii():
        return path
    base = place.root if path.is_relative_to(place.root) else place.unresolved
    if not path.is_relative_to(base):
        return path
    at = base
    for part in path.relative_to(base).parts:
        exact = at / part
        if not os.path.lexists(exact):
            place.resolved(at)
            alike = (entry.name for entry in _entries(at) if is_same_name(entry.name, part))
            exact = at / min(alike, default=part)
        at = exact
    return at


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


def _below(path: Path, folder: Path) -> str | None:
    """Return a normal path relative to a folder that it is in, else None: a plan asks a lot."""
    whole, start = str(path), str(folder)
    if whole == start:
        return "."
    start = start.removesuffix("/") + "/"
    return whole[len(start) :] if whole.startswith(start) else None


def _found(place: _Place, path: Path, name: str) -> LocatedFile:
    resolved, display_path = place.resolved(path), place.display_path(path)
    if not display_path.isprintable():
        # Origins are lines of UTF-8, and so are messages.
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
    file_format = detect_format(name, place.format)
    if not mode:
        raise DataError(f"there is no file {display_path!r}", _names_beside(path))
    if not stat.S_ISREG(mode):
        raise DataError(f"{display_path!r} is not a file", "Name a file.")
    if file_format == "arrow":
        raise DataError(
            f"{display_path!r} is not a saved dataset", "Name the folder that save_to_disk wrote."
        )
    _check_packed(resolved, name, display_path)
    return LocatedFile(
        path=resolved,
        display_path=display_path,
        format=file_format,
        from_arrow=file_format == "parquet",
    )


def _globbed(place: _Place, pattern: Path) -> list[LocatedFile]:
    base = place.root if pattern.is_relative_to(place.root) else place.unresolved
    if not pattern.is_relative_to(base):
        raise DataError(
            f"{quote(place.written)} leaves the repository",
            "Copy the files into the repository, beside the spec.",
        )
    paths = {
        place.display_path(path): path
        for path in walk(base, pattern.relative_to(base).parts, place.resolved)
    }
    found = [
        _found(place, path, display_path)
        for display_path, path in sorted(paths.items())
        if not path.is_dir() or _is_saved_dataset(path)
    ]
    if not found:
        start = next(
            above for above in pattern.parents if not has_wildcard(place.display_path(above))
        )
        raise DataError(
            f"{quote(place.written)} fits no file",
            _names_beside(start / pattern.name, guess=False),
        )
    return found


def _is_saved_dataset(path: Path) -> bool:
    return (path / _MARKS[2]).is_file() or all((path / mark).is_file() for mark in _MARKS[:2])


def _unpacked_name(name: str) -> tuple[str, str]:
    ending = PurePosixPath(name).suffix
    return (name.removesuffix(ending), ending) if ending.lower() in _PACKED else (name, "")


def _check_packed(path: Path, name: str, display_path: str) -> None:
    ending = _unpacked_name(name)[1]
    try:
        if ending and path.stat().st_size and compression_of(path) != _PACKED[ending.lower()]:
            raise DataError(
                f"{display_path!r} is no {_PACKED[ending.lower()]} file",
                f"Compress it, or take {ending} off its name.",
            )
    except OSError as error:
        raise DataError(f"{display_path!r} cannot be read: {error.strerror}") from None


def _names_beside(place: Path, *, guess: bool = True) -> str:
    try:
        with os.scandir(place.parent) as entries:
            names = sorted(entry.name for entry in islice(entries, _NAMES_LOOKED_AT))
    except OSError:
        return f"Check the path: there is no folder {place.parent.name!r} either."
    files = [name for name in names if _unpacked_name(name)[0].lower().endswith(tuple(_KINDS))]
    meant = did_you_mean(place.name, names) if guess else ""
    known = f"Use one of: {join_names(files)}." if files else "Put a data file into that folder."
    return f"{meant} {known}".lstrip()
