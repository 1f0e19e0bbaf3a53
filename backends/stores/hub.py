"""A store in a model repository of the Hugging Face hub. Needs the extra `store`.

Pieces are uploaded as large files ahead of the commit that names them, and one commit makes them
visible together with the build's manifest. A commit names its parent, and the hub refuses it if the
repository has changed meanwhile: so nothing is overwritten.
"""

import contextlib
import logging
import os
import threading
from collections.abc import Collection, Iterator
from typing import Any, Final

from httpx2 import HTTPError
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    hf_hub_url,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    HFValidationError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import build_hf_headers, http_backoff

from backends.hub_token import REMEDY, UNUSABLE, hub_token, is_token
from backends.stores.objects import OBJECTS, StoredObject, StoreError

_ATTRIBUTES: Final = ".gitattributes"
_LARGE: Final = b"objects/** filter=lfs diff=lfs merge=lfs -text\n"
"""The hub keeps pieces as large files, whatever they hold."""
_ATTEMPTS: Final = 6
"""Commits that are tried while other machines commit."""
_RETRIES: Final = 4
_TIMEOUT_S: Final = 120.0
_DENIED: Final = frozenset({401, 403})
_MISSING: Final = 404
_MOVED: Final = frozenset({409, 412})


def open_hub(url: str, *, private: bool) -> "HubStore":
    """Open a repository; it is made, private, if it does not exist.

    Args:
        url: `hf://ORG/REPO`.
        private: True to require that only members of the organisation can read it.

    Raises:
        StoreError: No token is set, the hub refuses, or the repository is public.
    """
    token = hub_token()
    if token is None:
        remedy = "Set HF_TOKEN to a token that may write to the repository."
        raise StoreError(f"the store {url} needs a token, and HF_TOKEN is not set", remedy)
    if not is_token(token):
        raise StoreError(UNUSABLE, REMEDY)
    # Its client prints bars and hints for people at a terminal of its own.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    store = HubStore(url, token)
    store.prepare(private=private)
    return store


class HubStore:
    """Implements `ObjectStore` with the files of a repository."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self._token = token
        self._repository = url.removeprefix("hf://").strip("/")
        self._endpoint = os.environ.get("HF_ENDPOINT")
        self._api = HfApi(endpoint=self._endpoint, token=token)
        self._pending: dict[str, CommitOperationAdd] = {}
        self._lock = threading.Lock()
        self._is_prepared = False

    def prepare(self, *, private: bool) -> None:
        """Make the repository if it is absent, and require that it is as private as declared."""
        with self._translated():
            try:
                found = self._api.model_info(self._repository)
            except RepositoryNotFoundError:
                self._api.create_repo(self._repository, private=True, exist_ok=True)
                found = self._api.model_info(self._repository)
            if private and found.private is not True:
                raise StoreError(
                    f"the store {self.url} is declared private, and everybody can read it",
                    "Make the repository private, or remove `private: true` from `store`.",
                )

    def create(self, key: str, data: bytes) -> bool:
        """Upload a piece, or commit a small file with the pieces before it."""
        operation = CommitOperationAdd(path_in_repo=key, path_or_fileobj=data)
        if not key.startswith(OBJECTS):
            return self._commit_new(key, operation)
        with self._translated():
            self._require_large()
            self._api.preupload_lfs_files(self._repository, additions=[operation], num_threads=1)
        with self._lock:
            self._pending[key] = operation
        return True

    def read(self, key: str) -> bytes | None:
        """Download a file of the newest commit."""
        address = hf_hub_url(self._repository, key, endpoint=self._endpoint)
        with self._translated():
            found = http_backoff(
                "GET",
                address,
                max_retries=_RETRIES,
                headers=build_hf_headers(token=self._token),
                follow_redirects=True,
                timeout=_TIMEOUT_S,
            )
            if found.status_code == _MISSING:
                return None
            found.raise_for_status()
            content: bytes = found.content
            return content

    def has(self, key: str) -> bool:
        """Return whether the newest commit has a file; a piece may be uploaded for the next one."""
        if key in self._pending:
            return True
        with self._translated():
            return bool(self._api.file_exists(self._repository, key))

    def find(self, prefix: str) -> Iterator[StoredObject]:
        """List a folder of the newest commit."""
        with self._translated():
            try:
                tree = self._api.list_repo_tree(
                    self._repository, prefix.rstrip("/"), recursive=True, expand=True
                )
                for file in tree:
                    size, commit = getattr(file, "size", None), getattr(file, "last_commit", None)
                    if size is not None:
                        modified_s = commit.date.timestamp() if commit is not None else 0.0
                        yield StoredObject(key=file.path, bytes=size, modified_s=modified_s)
            except EntryNotFoundError:
                return

    def remove(self, keys: Collection[str]) -> None:
        """Delete files in one commit; the history of the repository still holds them."""
        for _ in range(_ATTEMPTS):
            with self._translated():
                head = self._api.model_info(self._repository).sha
                there = [key for key in keys if self._api.file_exists(self._repository, key)]
                if not there:
                    return
                operations = [CommitOperationDelete(path_in_repo=key) for key in there]
                if self._committed(operations, f"Remove {len(there)} files", head):
                    return
        raise self._busy()

    def _require_large(self) -> None:
        """Let the hub keep pieces as large files, once for a repository."""
        with self._lock:
            if self._is_prepared:
                return
            rules = self.read(_ATTRIBUTES) or b""
            if _LARGE not in rules:
                added = CommitOperationAdd(path_in_repo=_ATTRIBUTES, path_or_fileobj=rules + _LARGE)
                message = "Keep models of ftctl here"
                self._api.create_commit(self._repository, [added], commit_message=message)
            self._is_prepared = True

    def _commit_new(self, key: str, operation: CommitOperationAdd) -> bool:
        for _ in range(_ATTEMPTS):
            with self._translated():
                head = self._api.model_info(self._repository).sha
                if self._api.file_exists(self._repository, key, revision=head):
                    return False
                with self._lock:
                    pieces = dict(self._pending)
                if self._committed([*pieces.values(), operation], f"Store {key}", head):
                    with self._lock:
                        for stored in pieces:
                            self._pending.pop(stored, None)
                    return True
        raise self._busy()

    def _committed(self, operations: list[Any], message: str, head: str | None) -> bool:
        """Commit on top of a commit; return False if another one came first."""
        try:
            self._api.create_commit(
                self._repository, operations, commit_message=message, parent_commit=head
            )
        except HfHubHTTPError as error:
            if error.response.status_code in _MOVED:
                return False
            raise
        return True

    def _busy(self) -> StoreError:
        message = f"the store {self.url} changes faster than this machine can write to it"
        return StoreError(message, "Run the same command again.")

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """Translate the errors of the library. Its texts may hold signed addresses: none is shown."""
        again = "Check the network, and run the same command again: it continues where it stopped."
        try:
            yield
        except HfHubHTTPError as error:
            status = error.response.status_code
            if status in _DENIED:
                raise StoreError(
                    f"the store {self.url} refuses HF_TOKEN ({status})",
                    "Give the token the right to write to the repository.",
                ) from None
            if status == _MISSING:
                message = f"the store {self.url} does not exist, or HF_TOKEN may not see it"
                raise StoreError(message, "Check the name, and the rights of the token.") from None
            raise StoreError(f"the store {self.url} answers {status}", again) from None
        except (LocalTokenNotFoundError, HFValidationError, OfflineModeIsEnabled) as error:
            message = f"the store {self.url} cannot be used: {type(error).__name__}"
            raise StoreError(message, "Check HF_TOKEN, HF_HUB_OFFLINE and the name.") from None
        except (HTTPError, OSError, RuntimeError) as error:
            cause = type(error).__name__
            raise StoreError(f"the store {self.url} does not answer: {cause}", again) from None
