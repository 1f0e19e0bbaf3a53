"""The launcher `manual`: a person, or another engine that reads a file, starts the jobs.

Submitting a job only notes in the store that it waits to be started, so that every machine that shares
the store knows it. `ftctl export NAME --job KIND` writes a file that starts it.
"""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backends.contract.errors import InvalidInput
from backends.contract.inspector import Json
from backends.launchers.launcher import (
    Capacity,
    LauncherError,
    Placed,
    PlacedState,
    Placement,
)
from backends.pydantic_errors import in_our_words
from backends.stores.objects import SharedStore, StoreError
from backends.stores.open_store import open_store

_JOBS: Final = "jobs/"
"""Folder of the store with a note for each job that waits."""
_WORDS: Final = "waits to be started, by a file of `ftctl export NAME --job KIND`"


class ManualSettings(BaseModel):
    """Settings of a machine whose jobs are started by hand or by another engine."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, use_attribute_docstrings=True
    )

    runs: str = Field(min_length=1)
    """The machine's `runs`: a folder, or the address of a bucket."""
    accelerator: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    """Kind of GPU, as SkyPilot calls it: `H100`. Only its files need it."""


class Manual:
    """Implements `Launcher`; see there for what each method promises."""

    def __init__(self, store: SharedStore) -> None:
        self._store = store

    def find(self, names: Collection[str]) -> Mapping[str, Placed]:
        """Return those that wait, whether or not somebody has started them."""
        found = {}
        for name in names:
            note = self._note(name)
            if note is not None:
                comment = str(note.get("comment"))
                found[name] = Placed(state=PlacedState.QUEUED, words=_WORDS, comment=comment)
        return found

    def submit(self, placement: Placement) -> None:
        """Note that a job waits."""
        if placement.code is not None:
            raise LauncherError(
                "a file brings no code to its machine",
                "Write `runtime: {image: NAME}` or `runtime: {venv: FOLDER}` for the machine.",
            )
        note = {"comment": placement.comment, "command": placement.command}
        try:
            self._store.write(_key(placement.name), json.dumps(note).encode())
        except StoreError as error:
            raise LauncherError(error.message, error.remedy) from error

    def stop(self, name: str, *, at_once: bool) -> None:
        """Forget that a job waits; a worker reads in its run folder that it is to stop."""
        del at_once
        try:
            self._store.remove([_key(name)])
        except StoreError as error:
            raise LauncherError(error.message, error.remedy) from error

    def ending_s(self) -> float:
        """Return 0: a job whose note is removed has ended."""
        return 0.0

    def logs(self, name: str, lines: int) -> list[str]:
        """Return nothing: the engine that runs a job has its output."""
        del name, lines
        return []

    def capacity(self) -> Capacity:
        """Return that nothing is known."""
        return Capacity()

    def _note(self, name: str) -> Mapping[str, Any] | None:
        try:
            data = self._store.read(_key(name))
        except StoreError as error:
            raise LauncherError(error.message, error.remedy) from error
        try:
            note = json.loads(data or b"")
        except ValueError:
            return None
        return note if isinstance(note, dict) else None


def create(settings: Mapping[str, Json], _environment: Mapping[str, str]) -> Manual:
    """Return the launcher of a machine; nothing is asked of its store.

    Raises:
        InvalidInput: The settings have problems; `field` is a key.
    """
    try:
        parsed = ManualSettings.model_validate(dict(settings))
    except ValidationError as error:
        wrongs = in_our_words(error, settings, [ManualSettings])
        raise InvalidInput([wrong.problem() for wrong in wrongs]) from None
    return Manual(cast("SharedStore", open_store(parsed.runs, Path("/"), private=False)))


def _key(name: str) -> str:
    return f"{_JOBS}{name}.json"
