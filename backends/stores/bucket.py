"""A store in a bucket: S3 and what speaks its protocol, Google Cloud Storage, Azure. Needs `store`.

obstore and not fsspec: only the former stores an object on the condition that there is none.
Credentials and regions are read from the environment by obstore, as their own tools name them.
"""

import contextlib
import os
import re
from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import AzureStore, GCSStore, S3Store

from backends.excerpt import excerpt
from backends.stores.objects import (
    PIECE,
    ObjectDamaged,
    StoredObject,
    StoreError,
    StoreUnavailable,
)

_RETRY_S: Final = timedelta(seconds=60)
_CONNECT_S: Final = timedelta(seconds=10)
_TIMEOUT_S: Final = timedelta(seconds=120)
"""Time limit of one request, which may carry an object of 8 MiB over a slow line."""
_ENDPOINTS: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_CREDENTIALS: Final[Mapping[str, str]] = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
_STATUS: Final = re.compile(r"status code: (\d{3}[^:\n<]{0,40})")
_CODE: Final = re.compile(r"<Code>(\w{1,80})</Code>")
_NO_BUCKET: Final = ("NoSuchBucket", "ContainerNotFound", "specified bucket does not exist")
_DENIED: Final = ("401", "403")
_NO_LOGIN: Final = ("credential", "Account must be specified", "MissingAccount")
_CAUSES: Final = (
    ("kind: Connect", "no connection"),
    ("kind: Timeout", "no answer in time"),
    ("dns error", "its address is not known"),
)


class BucketStore:
    """Implements `SharedStore` with the objects of a bucket."""

    def __init__(self, url: str) -> None:
        self.url = url
        parts = urlsplit(url)
        self._scheme = parts.scheme
        with self._translated():
            self._store = _open(parts.scheme, parts.netloc, parts.path.strip("/") or None)

    def create(self, key: str, data: bytes) -> bool:
        """Put an object on the condition that there is none."""
        with self._translated():
            try:
                obstore.put(self._store, key, data, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
            return True

    def write(self, key: str, data: bytes) -> None:
        """Put an object, whatever was there."""
        with self._translated():
            obstore.put(self._store, key, data, use_multipart=False)

    def read(self, key: str) -> bytes | None:
        """Get an object, which has at most the size of a piece."""
        with self._translated():
            try:
                found = obstore.get(self._store, key)
            except FileNotFoundError as error:
                self._require_bucket(error)
                return None
            if found.meta["size"] > 2 * PIECE:
                raise ObjectDamaged(
                    f"{self.url}: object {key} is damaged: it has {found.meta['size']:,} bytes"
                )
            return bytes(found.bytes())

    def has(self, key: str) -> bool:
        """Ask for an object's head."""
        with self._translated():
            try:
                obstore.head(self._store, key)
            except FileNotFoundError as error:
                self._require_bucket(error)
                return False
            return True

    def find(self, prefix: str) -> Iterator[StoredObject]:
        """List a prefix, page by page."""
        with self._translated():
            for page in obstore.list(self._store, prefix.rstrip("/")):
                for meta in page:
                    yield StoredObject(
                        key=meta["path"],
                        bytes=meta["size"],
                        modified_s=meta["last_modified"].timestamp(),
                    )

    def remove(self, keys: Collection[str]) -> None:
        """Delete objects."""
        with self._translated():
            for key in keys:
                with contextlib.suppress(FileNotFoundError):
                    obstore.delete(self._store, key)

    def _require_bucket(self, error: FileNotFoundError) -> None:
        """Tell a bucket without the object from no bucket at all."""
        if any(sign in str(error) for sign in _NO_BUCKET):
            raise error

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """Translate the errors of the library. Its texts may hold signed addresses: none is shown."""
        try:
            yield
        except (UnauthenticatedError, PermissionDeniedError) as error:
            raise self._denied(error) from None
        except FileNotFoundError:
            raise self._no_bucket() from None
        except (BaseError, OSError, ValueError) as error:
            raise self._translate(error) from None

    def _translate(self, error: Exception) -> StoreError:
        """Return the error for one of the library that has no class of its own."""
        text = str(error)
        status, code = _STATUS.search(text), _CODE.search(text)
        if any(sign in text for sign in _NO_BUCKET):
            return self._no_bucket()
        if status is not None and status[1][:3] in _DENIED:
            return self._denied(error)
        if any(sign in text for sign in _NO_LOGIN):
            return StoreError(
                f"the store {self.url} finds no credentials in this environment",
                f"Set {_CREDENTIALS[self._scheme]}.",
            )
        cause = next((words for sign, words in _CAUSES if sign in text), type(error).__name__)
        if status is not None:
            cause = " ".join(filter(None, [status[1].strip(), code[1] if code else ""]))
        return StoreUnavailable(
            f"the store {self.url} does not answer: {excerpt(cause)}",
            "Check the network and the address, and run the same command again: it continues "
            "where it stopped.",
        )

    def _denied(self, error: Exception) -> StoreError:
        code = _CODE.search(str(error))
        reason = f" ({code[1]})" if code else ""
        return StoreError(
            f"the store {self.url} refuses the credentials of this environment{reason}",
            f"Set {_CREDENTIALS[self._scheme]}, with the right to read, write, list and delete.",
        )

    def _no_bucket(self) -> StoreError:
        message = f"the store {self.url} does not exist"
        return StoreError(message, "Create the bucket, or correct `store.url` in ftctl.yaml.")


def _open(scheme: str, bucket: str, prefix: str | None) -> S3Store | GCSStore | AzureStore:
    client: dict[str, Any] = {"connect_timeout": _CONNECT_S, "timeout": _TIMEOUT_S}
    options: dict[str, Any] = {
        "prefix": prefix,
        "client_options": client,
        "retry_config": {"max_retries": 5, "retry_timeout": _RETRY_S},
    }
    if scheme == "gs":
        return GCSStore(bucket, **options)
    if scheme == "az":
        return AzureStore(bucket, **options)
    endpoint = next((os.environ[name] for name in _ENDPOINTS if os.environ.get(name)), None)
    if endpoint is not None:
        options["endpoint"] = endpoint
        client["allow_http"] = endpoint.startswith("http://")
    return S3Store(bucket, **options)
