"""The manifest of a build: its files, and the digests of their pieces. Pure."""

import json
from collections.abc import Sequence
from typing import Annotated, TypeAlias

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from backends.stores.objects import PIECE, StoreError

FORMAT = 1
Digest: TypeAlias = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
MOST_BYTES = 32 << 20
"""Maximum size of a manifest: of a model of several terabytes."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class StoredFile(_Part):
    """One file, and the objects that hold its pieces in order."""

    path: str
    """Relative, with `/` between folders."""
    bytes: int = Field(ge=0)
    sha256: Digest
    pieces: tuple[Digest, ...]
    """Each has `piece_bytes` but the last."""

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, path: str) -> str:
        """Refuse a path that leads out of the folder that files are written into."""
        parts = path.split("/")
        if not path.isprintable() or "\\" in path or {"", ".", ".."} & {*parts}:
            raise ValueError("is not a path inside a folder")
        return path


class Manifest(_Part):
    """All files of one build, or all answers of its model."""

    format: int = FORMAT
    fingerprint: str
    attempt: int
    backend: str
    model_id: str
    piece_bytes: Annotated[int, Field(gt=0, le=PIECE)] = PIECE
    files: tuple[StoredFile, ...]

    @model_validator(mode="after")
    def _adds_up(self) -> "Manifest":
        names = [file.path for file in self.files]
        if len({*names}) != len(names):
            raise ValueError("names a file twice")
        for file in self.files:
            if len(file.pieces) != -(-file.bytes // self.piece_bytes):
                raise ValueError(f"{file.path} has {len(file.pieces)} pieces")
        return self

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(file.bytes for file in self.files)

    @property
    def pieces(self) -> Sequence[str]:
        """Digests of all pieces, each once."""
        return list(dict.fromkeys(piece for file in self.files for piece in file.pieces))


def dump_manifest(manifest: Manifest) -> bytes:
    """Return the bytes of a manifest: equal manifests have equal bytes."""
    value = manifest.model_dump(mode="json")
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.encode()


def parse_manifest(data: bytes, where: str) -> Manifest:
    """Read a manifest.

    Args:
        data: Its bytes.
        where: The store and the object, for messages.

    Raises:
        StoreError: It is damaged, or written by a newer ftctl.
    """
    try:
        value = json.loads(data) if len(data) <= MOST_BYTES else None
        form = value.get("format") if isinstance(value, dict) else None
        if isinstance(form, int) and form > FORMAT:
            raise StoreError(f"{where} was written by a newer ftctl", "Upgrade ftctl.")
        return Manifest.model_validate_json(data)
    except (ValueError, RecursionError, ValidationError):
        message = f"{where} is not a manifest of a model"
        raise StoreError(message, "Remove the object; `ftctl store verify` names all.") from None
