"""Datasets of the Hugging Face Hub, streamed by `datasets` from one commit.

The revision is first resolved to a commit. Rows of a known commit are not fetched again, and a full,
known commit hash needs no network. `datasets` no longer runs code of a dataset, and only files of
the commit are opened: a dataset's card can name other files, on this machine too. The login is
HF_TOKEN or that of `hf auth login`.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import datasets
import httpx2
from datasets.exceptions import DatasetNotFoundError
from huggingface_hub import HfApi
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils.tqdm import disable_progress_bars

from backends.contract.inspector import Json
from controller.data.errors import DataError, SourceUnavailable
from controller.data.fetch.arrow_rows import Table, TableWriter
from controller.data.fetch.library_message import library_message
from controller.data.fetch.snapshot import (
    FetchRequest,
    Memo,
    find_memo,
    new_snapshot,
    save_memo,
)
from controller.data.sources.source_file import LocatedFile
from controller.data.suggestions import choice, quote
from controller.spec.data import Source

_NAME = re.compile(r"[\w-][\w.-]*(?:/[\w-][\w.-]*)?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_TIMEOUT_S = 10
_BATCH = 1_000

_LOGIN = "Check the name; for a private dataset: export HF_TOKEN=hf_…"
_AGAIN = "Check the network, and run the command again."


def fetch(request: FetchRequest) -> LocatedFile:
    """Return the snapshot of one split of a dataset.

    Raises:
        SourceUnavailable: The hub does not answer, or wants a login.
        DataError: There is no such dataset, commit, configuration or split, or it cannot be read.
    """
    source = request.source
    name = str(source.hub)
    if not _NAME.fullmatch(name) or ".." in name:
        raise DataError(
            f"{quote(name)} is not a dataset's name",
            "Write it like this: hub: owner/name",
            field="hub",
        )
    display_path = _shown(source)
    token = request.environment.get("HF_TOKEN") or None
    commit = source.revision or ""
    if not _COMMIT.fullmatch(commit):
        commit = _commit(name, source.revision, display_path, token)
    key: Json = ["hub", name, source.config, source.split, commit]
    memo = find_memo(request.snapshots, key)
    if memo is None:
        # Resolve even a full hash: the commit must exist, and this login must see it.
        memo = _streamed(request, _commit(name, commit, display_path, token), token)
        save_memo(request.snapshots, key, memo)
    return LocatedFile(path=memo.path, display_path=display_path, format="jsonl", from_arrow=True)


def _shown(source: Source) -> str:
    revision = f"@{source.revision}" if source.revision else ""
    return " ".join(
        part for part in (f"{source.hub}{revision}", source.config, source.split) if part
    )


def _commit(name: str, revision: str | None, display_path: str, token: str | None) -> str:
    api = HfApi(token=token)
    try:
        return str(api.dataset_info(name, revision=revision, timeout=_TIMEOUT_S).sha)
    except RevisionNotFoundError:
        raise DataError(
            f"the dataset {name} has no revision {quote(revision)}",
            "Name a commit, branch or tag, or none for the newest.",
            field="revision",
        ) from None
    except GatedRepoError:
        raise SourceUnavailable(
            f"{display_path}: access has to be granted first",
            f"Ask for it at https://huggingface.co/datasets/{name}, then: export HF_TOKEN=hf_…",
        ) from None
    except RepositoryNotFoundError as error:
        # Without a login, the hub answers 401 for a private and for a missing dataset.
        if error.response.status_code == httpx2.codes.NOT_FOUND:
            raise DataError(f"there is no dataset {name}", _LOGIN, field="hub") from None
        raise SourceUnavailable(
            f"dataset {name} does not exist, or you need to log in", _LOGIN
        ) from None
    except HFValidationError as error:
        raise DataError(
            _message(error), "Write it like this: hub: owner/name", field="hub"
        ) from None
    except (HfHubHTTPError, httpx2.HTTPError, OSError) as error:
        raise SourceUnavailable(
            f"{display_path} cannot be read: {_message(error)}", _AGAIN
        ) from None


def _streamed(request: FetchRequest, commit: str, token: str | None) -> Memo:
    # Else it imports torch, for seconds, to count epochs of a stream.
    datasets.config.TORCH_AVAILABLE = False
    datasets.disable_progress_bars()
    disable_progress_bars()
    datasets.logging.set_verbosity_error()
    source, display_path = request.source, _shown(request.source)
    with new_snapshot(request.snapshots) as new:
        writer = TableWriter(new, field="hub")
        with _translated(display_path, writer):
            # `hf://` names no file of this machine. Never pass `trust_remote_code`.
            builder = datasets.load_dataset_builder(
                f"hf://datasets/{source.hub}", source.config, revision=commit, token=token
            )
        _check_files(builder, f"hf://datasets/{source.hub}@{commit}/", display_path)
        with _translated(display_path, writer):
            rows = _split(builder, source, display_path)
        for table in _tables(rows, display_path, writer):
            writer.add(table)
        return Memo(path=writer.finish(display_path), version=commit)


def _check_files(builder: datasets.DatasetBuilder, start: str, display_path: str) -> None:
    files = builder.config.data_files or {}
    for split in files.values():
        for file in split:
            if not str(file).startswith(start):
                raise DataError(
                    f"{display_path} names files of another dataset: {quote(str(file))}",
                    "Copy them into the dataset.",
                    field="hub",
                )


def _split(
    builder: datasets.DatasetBuilder, source: Source, display_path: str
) -> datasets.IterableDataset:
    splits = builder.as_streaming_dataset()
    wanted = source.split or "train"
    if wanted not in splits:
        names = [str(name) for name in splits]
        raise DataError(
            f"{display_path} has no split {quote(wanted)}",
            choice(wanted, names),
            field="split",
        )
    rows = splits[wanted]
    if rows.features is not None:
        # Images and sounds stay bytes: decoding needs packages, and opens files that they name.
        rows = rows.decode(enable=False)
    return rows.with_format("arrow")


def _tables(
    rows: datasets.IterableDataset, display_path: str, writer: TableWriter
) -> Iterator[Table]:
    batches = rows.iter(batch_size=_BATCH)
    while True:
        # Only errors of reading are the hub's: writing may fill the disk.
        with _translated(display_path, writer):
            table = next(batches, None)
        if table is None:
            return
        yield table


@contextmanager
def _translated(display_path: str, writer: TableWriter) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except (httpx2.HTTPError, ConnectionError, TimeoutError) as error:
        after = f" after {writer.count:,} rows" if writer.count else ""
        raise SourceUnavailable(
            f"{display_path} cannot be read{after}: {_message(error)}", _AGAIN
        ) from None
    except DatasetNotFoundError as error:
        raise SourceUnavailable(
            f"{display_path} cannot be read: {_message(error)}", _LOGIN
        ) from None
    except Exception as error:
        # One of many classes: no data files, an ambiguous configuration, an unknown format.
        raise DataError(
            f"{display_path}: {_message(error)}", "Correct `config` or `split`.", "hub"
        ) from error


def _message(error: Exception) -> str:
    # Before this text is a local folder, which `datasets` searched first.
    text = str(error).rpartition("on the Hugging Face Hub either: ")[2]
    # Its second line lists possible names.
    return library_message(error, text, lines=2)
