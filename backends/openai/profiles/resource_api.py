"""Services with paths of their own: what the calls of the protocol are called there. Data.

A service of this form keeps resources (jobs, datasets) under IDs that the client chooses. The ID of
a job is made from its fingerprint and attempt, so a second create call finds the ID taken.
"""

import re
from collections.abc import Mapping
from typing import TypeAlias

from pydantic import BaseModel, ConfigDict

Template: TypeAlias = str | bool | Mapping[str, str | bool | Mapping[str, str]]
"""A JSON value; texts hold `{NAME}` for the values of the protocol."""


class _Data(BaseModel):
    """Base of the parts."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Paging(_Data):
    """Paging of a list."""

    size: str
    """Query field with the length of a page."""
    most: int
    """Longest page."""
    token: str
    """Query field with the mark of a page."""
    next: str
    """Key of the answer with the mark of the next page."""


class Ids(_Data):
    """Form of the IDs that the client chooses. An ID starts with a letter."""

    characters: str
    """Characters, as in a class of a regular expression."""
    most: int
    """Most characters."""

    def of(self, text: str) -> str:
        """Return a text as an ID; what is too long is cut."""
        plain = re.sub(f"[^{self.characters}]+", "-", text.lower()).strip("-")
        return (plain if plain[:1].isalpha() else f"ft-{plain}")[: self.most].rstrip("-")


class Jobs(_Data):
    """Jobs. `PATH/ID:cancel` and `PATH/ID:resume` stop a job and let it continue."""

    path: str
    """Path below the root; the key of a list, too."""
    query_id: str
    """Query field of the create call with the chosen ID."""
    sent: Mapping[str, Template]
    """Body of the create call; a field whose value is missing is left out."""
    read: Mapping[str, str]
    """Where the answer holds the fields of the protocol; a dot leads into an object."""


class Files(_Data):
    """Files: a record that is created first, and filled by `PATH/ID:upload`."""

    path: str
    sent: Mapping[str, Template]
    read: Mapping[str, str]
    ready: tuple[str, ...]
    """States, in lower case, of a file that may be trained on."""


class ResourceApi(_Data):
    """Paths and fields of one service."""

    root: str
    """Address of everything but chat, relative to `base_url`."""
    paging: Paging
    ids: Ids
    model: str
    """Full name of a model, made from its `{id}`."""
    jobs: Jobs
    files: Files
