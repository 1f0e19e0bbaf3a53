"""URLs of objects, checked and split."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import SplitResult, unquote, urlsplit

from controller.data.errors import DataError
from controller.data.fetch.library_message import library_message
from controller.data.fetch.snapshot import FetchRequest
from controller.data.sources.locate import detect_format
from controller.data.suggestions import join_names
from controller.spec.data import FileFormat

WEB = ("http", "https")
STORES: Mapping[str, str] = {
    "abfs": "adlfs",
    "abfss": "adlfs",
    "az": "adlfs",
    "gcs": "gcsfs",
    "gs": "gcsfs",
    "hf": "huggingface_hub",
    "memory": "fsspec",
    "oci": "ocifs",
    "oss": "ossfs",
    "s3": "s3fs",
    "s3a": "s3fs",
    "sftp": "paramiko",
    "tos": "tosfs",
}
"""Package with which fsspec opens each scheme. Only remote stores: a spec in a stranger's pull
request must not read files of this machine."""

_ENDINGS = re.compile(r"\.[A-Za-z0-9]{1,10}(?:\.(?:gz|zst))?$", re.IGNORECASE)
_PACKING = re.compile(r"\.(?:gz|zst)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectUrl:
    """An object in a store."""

    url: str
    """URL as written; it may hold a signature."""
    scheme: str
    display_path: str
    """URL without its query, which may be secret."""
    format: FileFormat
    endings: str
    """Endings of the snapshot's name: `.csv.gz`."""

    def redact(self, error: Exception) -> str:
        """Return an error's own message: one line, without the URL's secrets."""
        query = urlsplit(self.url).query
        secrets = ((self.url, self.display_path), (query, "***"), (unquote(query), "***"))
        return library_message(error, secrets=secrets)


def parse_object_url(request: FetchRequest) -> ObjectUrl:
    """Return the parts of a source's URL.

    Raises:
        DataError: It may not be opened, or its format is not known.
    """
    written = str(request.source.url)
    parts = _parts(written)
    name = PurePosixPath(unquote(parts.path)).name
    try:
        file_format = detect_format(name, request.source.format)
    except DataError as error:
        error.field = "url"
        raise
    return ObjectUrl(
        url=written,
        scheme=parts.scheme,
        display_path=f"{parts.scheme}://{parts.netloc}{parts.path}",
        format=file_format,
        endings=_endings(name, file_format),
    )


def _parts(written: str) -> SplitResult:
    if not written.isprintable() or "::" in written:
        # Not shown: a chain of URLs may hold secrets.
        raise DataError(
            "`url` must be one address, without `::`",
            "Write it like this: s3://bucket/a.jsonl",
            "url",
        )
    try:
        parts = urlsplit(written)
        login = parts.username is not None or parts.password is not None
    except ValueError:
        raise DataError(
            "`url` is not an address", "Write it like this: https://example.com/a.jsonl", "url"
        ) from None
    if parts.scheme not in WEB and parts.scheme not in STORES:
        what = f"{parts.scheme}:" if parts.scheme else "a path"
        remedy = "Name a file of the repository with `path`."
        known = join_names(f"{scheme}://" for scheme in (*WEB, *STORES) if scheme != "memory")
        raise DataError(
            f"`url` is {what}, which cannot be opened; these can: {known}", remedy, "url"
        )
    if login:
        raise DataError(
            "`url` holds a login, which a spec must not",
            "Remove it; stores find their credentials in the environment.",
            field="url",
        )
    if not parts.netloc:
        raise DataError(
            "`url` names no server or bucket", "Write it like this: s3://bucket/a.jsonl", "url"
        )
    return parts


def _endings(name: str, file_format: FileFormat) -> str:
    written = _ENDINGS.search(name)
    try:
        if written and detect_format(name) == file_format:
            return written[0].lower()
    except DataError:
        # The spec names the format because the ending does not.
        pass
    packing = _PACKING.search(name)
    return f".{file_format}{packing[0].lower() if packing else ''}"
