"""Datasets and base models that a tool's configuration names, found on this machine or the hub.

Tools start relative paths at the folder in which they are called, which no configuration tells. So
a path is looked for in the configuration's folder, in this folder and in the repository.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from backends.contract.inspector import Json
from backends.excerpt import excerpt
from controller.adopt.configs.shared import FIRST_ROWS
from controller.adopt.configs.translation import Fate, Line, Rows
from controller.data.errors import DataError
from controller.data.sources.locate import detect_format
from controller.errors import Problem
from controller.spec.load import FOLDER

_HUB_ID: Final = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_URL: Final = re.compile(r"[a-z][a-z0-9+.-]*://\S+")
_SAVED: Final = ("dataset_dict.json", "state.json")
"""Files of a dataset that `save_to_disk` wrote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Folders in which files are looked for."""

    root: Path
    """The repository."""
    starts: Sequence[Path]
    """Folders that relative paths may start from, in order."""

    @property
    def specs(self) -> Path:
        """Folder that paths in a spec start from."""
        return self.root / FOLDER

    def find(self, written: str) -> Path | None:
        """Return the file or folder that a tool's path leads to, resolved; None without one."""
        path = expanded(written)
        candidates = [path] if path.is_absolute() else [start / path for start in self.starts]
        return next((found for one in candidates if (found := resolved(one)) is not None), None)

    def holds(self, path: Path) -> bool:
        """Return whether a resolved path is in the repository."""
        return path.is_relative_to(self.root.resolve())

    def relative(self, path: Path) -> str:
        """Return a resolved path of the repository relative to the folder of specs."""
        return os.path.relpath(path, self.specs.resolve())

    @property
    def looked_in(self) -> str:
        """The folders, for people."""
        return ", ".join(dict.fromkeys(str(start) for start in self.starts))


@dataclass(slots=True, kw_only=True)
class Found:
    """Sources of a spec for the datasets of a configuration."""

    name: str
    """The fine-tune's name, which copied files get."""
    file: str
    """The configuration, as messages name it."""
    places: Places
    lines: list[Line] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    copies: dict[Path, Path] = field(default_factory=dict)
    """Target of each file to copy, by the file."""

    def sources(self, rows: Sequence[Rows]) -> list[dict[str, Json]]:
        """Return the sources for datasets."""
        return [source for one in rows for source in self._sources_of(one)]

    def _sources_of(self, rows: Rows) -> Iterator[dict[str, Json]]:
        if _URL.fullmatch(rows.place):
            yield {"url": rows.place, **rows.source}
            return
        names = rows.files or (rows.place,)
        base = None if rows.only_hub else self.places.find(rows.place)
        if rows.files and base is not None and base.is_dir():
            names = tuple(str(base / name) for name in rows.files)
        found = None if rows.only_hub else [self.places.find(name) for name in names]
        if found and all(found):
            for path in found:
                if path is not None:
                    yield from self._local(rows, path)
            return
        is_hub = not rows.only_file and _is_hub(rows)
        if rows.files and is_hub:
            message = f"takes single files of the dataset {rows.place} of the hub"
            self._refuse(rows, message, "Download these files, and name them there.")
            return
        if is_hub:
            yield from self._hub(rows)
            return
        missing = names[found.index(None)] if found else rows.place
        message = f"there is no file {excerpt(missing)} in {self.places.looked_in}"
        if rows.only_hub or ("/" not in rows.place and "." not in rows.place and not rows.files):
            message += ", and a dataset of the hub is called OWNER/NAME"
        self._refuse(rows, message, "Correct it there, or copy the file to one of these folders.")

    def _local(self, rows: Rows, path: Path) -> Iterator[dict[str, Json]]:
        split = rows.hub.get("split")
        if path.is_dir():
            yield from self._folder(rows, path, split)
            return
        if split not in (None, "train"):
            message = f"{excerpt(path.name)} is a file, which has no split {excerpt(str(split))}"
            self._refuse(rows, message, "Name a file for it there.")
            return
        try:
            detect_format(path.name)
        except DataError as error:
            self._refuse(rows, error.message, "Save the rows as .jsonl, and name that file.")
            return
        yield {"path": self._placed(rows, path), **rows.source}

    def _folder(self, rows: Rows, path: Path, split: Json) -> Iterator[dict[str, Json]]:
        if not any((path / mark).is_file() for mark in _SAVED):
            files = [one for one in sorted(path.iterdir()) if one.is_file() and _is_data(one)]
            if not files:
                message = f"the folder {excerpt(str(path))} has no data files"
                self._refuse(rows, message, "Name a file there.")
            for file in files:
                yield {"path": self._placed(rows, file), **rows.source}
            return
        if not self.places.holds(path):
            message = f"the dataset {excerpt(str(path))} is a folder outside the repository"
            remedy = f"Copy the folder to {FOLDER}/data/, and name it there."
            self._refuse(rows, message, remedy)
            return
        where: dict[str, Json] = {"path": self.places.relative(path)}
        self._tell(rows, f"is {where['path']}, relative to {FOLDER}/")
        yield {**where, **({"split": split} if split else {}), **rows.source}

    def _placed(self, rows: Rows, path: Path) -> str:
        """Return a file's path relative to the folder of specs; copy it if it is elsewhere."""
        if self.places.holds(path):
            written = self.places.relative(path)
            self._tell(rows, f"is {written}, relative to {FOLDER}/")
            return written
        taken = {target.name for source, target in self.copies.items() if source != path}
        name = path.name if path.name.startswith(self.name) else f"{self.name}-{path.name}"
        while name in taken:
            name = f"x-{name}"
        target = self.places.specs / "data" / name
        self.copies[path] = target
        self._tell(rows, f"is outside the repository: copied to {FOLDER}/data/{name}")
        return f"data/{name}"

    def _hub(self, rows: Rows) -> Iterator[dict[str, Json]]:
        hub, source = dict(rows.hub), dict(rows.source)
        split = str(hub.get("split") or "")
        if part := FIRST_ROWS.fullmatch(split):
            hub["split"], source["limit"] = part[1], int(part[2])
        elif "[" in split or "+" in split:
            message = f"{excerpt(split)} is a part of a split"
            self._refuse(rows, message, "Name a whole split; `limit` and `sample` take parts.")
            return
        self._tell(rows, f"is {rows.place} of the hub, downloaded when it is needed")
        yield {"hub": rows.place, **hub, **source}

    def _tell(self, rows: Rows, text: str) -> None:
        self.lines.append(
            Line(fate=Fate.TRANSLATED, key=rows.key, given=rows.place, text=text, line=rows.line)
        )

    def _refuse(self, rows: Rows, message: str, remedy: str) -> None:
        self.problems.append(
            Problem(file=self.file, line=rows.line, field=rows.key, message=message, remedy=remedy)
        )


def expanded(written: str) -> Path:
    """Return a path as a tool's configuration writes it, with the home folder that `~` stands for."""
    try:
        return Path(written).expanduser()
    except RuntimeError:
        # The home of a person whom this machine does not know: `~alice/data`.
        return Path(written)


def resolved(path: Path) -> Path | None:
    """Return a path that exists, resolved; None for another one, or one that may not be read."""
    try:
        return path.resolve() if path.exists() else None
    except OSError:
        return None


def find_base(
    written: str, key: str, places: Places, file: str, line: int | None
) -> tuple[str, Problem | None]:
    """Return a base model as a spec names it.

    Args:
        written: The base model as the configuration names it.
        key: Key that names it there.
        places: Folders in which a local model is looked for.
        file: The configuration, as messages name it.
        line: Line of the key.

    Returns:
        A path from the folder of specs, an absolute path, or a name of the hub; and what is wrong.
    """
    found = places.find(written) if written else None
    if found is not None and found.is_dir():
        if not places.holds(found):
            return str(found), None
        relative = places.relative(found)
        return relative if relative.startswith("../") else f"./{relative}", None
    looks_local = written.startswith((".", "/", "~")) or written.count("/") > 1
    if written and not looks_local and re.fullmatch(r"[\w.-]+(/[\w.-]+)?", written):
        return written, None
    message = (
        f"there is no model {excerpt(written)} in {places.looked_in}" if written else "is missing"
    )
    remedy = "Name a model of the hub, ORGANISATION/NAME, or a folder that exists."
    return written, Problem(file=file, line=line, field=key, message=message, remedy=remedy)


def _is_hub(rows: Rows) -> bool:
    """Return whether a place can be a dataset of the hub: `data/train.jsonl` is a file."""
    is_name = _HUB_ID.fullmatch(rows.place) is not None
    return is_name and (rows.only_hub or not _has_ending(rows.place))


def _has_ending(name: str) -> bool:
    try:
        detect_format(name)
    except DataError:
        return False
    return True


def _is_data(path: Path) -> bool:
    # Tools describe their datasets in files like `dataset_info.json`.
    is_description = path.name.startswith((".", "dataset_info")) or path.suffix.lower() == ".md"
    return _has_ending(path.name) and not is_description
