"""Aliases that this server answers to, read from the specs again whenever one of them changes."""

import logging
import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from controller.lockfile.model import Lockfile
from controller.project.project import Project
from controller.resolve.aliases import Clash, find_clashes
from controller.spec.load import ENDING, FOLDER, is_spec, read_spec

_log = logging.getLogger(__name__)
Stamp: TypeAlias = tuple[int, int, int] | None
"""What changes when a file does; None without a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasTable:
    """Aliases at one moment."""

    finetunes: dict[str, str]
    """The fine-tune that each alias stands for."""
    clashes: dict[str, Clash]
    """Aliases that stand for nothing, because of what else has the name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """Specs as they were read last."""

    stamps: dict[str, Stamp] = field(default_factory=dict)
    aliases: dict[str, list[str]] = field(default_factory=dict)


@dataclass(slots=True)
class ServedAliases:
    """The aliases of all specs. Its methods read files; call them from a thread."""

    project: Project
    _read: _Read = field(default_factory=_Read)
    _made: tuple[_Read, Lockfile, AliasTable] | None = None
    """The table, after what it was made from."""

    def table(self, lockfile: Lockfile, bases: Collection[str]) -> AliasTable:
        """Return the aliases as the specs have them now.

        Args:
            lockfile: What is recorded.
            bases: Public IDs of the base models of this server.
        """
        read, made = self._refresh(), self._made
        if made is None or made[0] is not read or made[1] is not lockfile:
            made = self._made = (read, lockfile, _make_table(read, lockfile, bases))
        return made[2]

    def _refresh(self) -> _Read:
        """Return the specs' aliases. A spec that cannot be read keeps those that it had.

        People edit specs below a running server, and a typing error must not silence a model.
        """
        last, stamps = self._read, _stamps(self.project.root / FOLDER)
        if stamps == last.stamps:
            return last
        aliases = dict[str, list[str]]()
        for name, stamp in sorted(stamps.items()):
            known = last.aliases.get(name, [])
            is_new = name not in last.stamps or last.stamps[name] != stamp
            aliases[name] = self._aliases_of(name, known) if is_new else known
        self._read = _Read(stamps=stamps, aliases=aliases)
        return self._read

    def _aliases_of(self, name: str, known: list[str]) -> list[str]:
        root, file = self.project.root, f"{FOLDER}/{name}.yaml"
        loaded, problems = read_spec(root, root / FOLDER / f"{name}.yaml", file=file)
        if loaded is not None:
            return loaded.spec.aliases
        _log.warning(
            "the aliases of %s stay as they were until its spec can be read: %s", name, problems[0]
        )
        return known


def stamp_of(path: "Path | os.DirEntry[str]") -> Stamp:
    """Return what changes when a file does; None without a file."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _stamps(folder: Path) -> dict[str, Stamp]:
    """Return the stamp of each spec, with one look at the folder: many requests ask for it."""
    try:
        with os.scandir(folder) as entries:
            return {
                entry.name.removesuffix(ENDING): stamp_of(entry)
                for entry in entries
                if is_spec(entry.name)
            }
    except (FileNotFoundError, NotADirectoryError):
        return {}


def _make_table(read: _Read, lockfile: Lockfile, bases: Collection[str]) -> AliasTable:
    clashes = find_clashes(read.aliases, read.stamps.keys(), lockfile, bases)
    table = AliasTable(finetunes={}, clashes={})
    for name, aliases in read.aliases.items():
        refused = clashes.get(name, {})
        table.clashes.update(refused)
        table.finetunes.update({alias: name for alias in aliases if alias not in refused})
    return table
