"""Datasets of the Hugging Face Hub, streamed by `datasets` from one commit.

The revision is first resolved to a commit; what was fetched of a commit before is not fetched
again, and a full commit hash that is known needs no network at all. No code of a dataset is ever
run (`datasets` has no way left to), and only files of that very commit are opened: a dataset's card
can name others, on this machine too. A login is taken from HF_TOKEN or from `hf auth login`.
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
from controller.data.fetch.snapshot import (
    Fetched,
    FetchRequest,
    Memo,
    find_memo,
    new_snapshot,
    save_memo,
)
from controller.data.suggestions import choice, quote
from controller.spec.data import Source

_NAME = re.compile(r"[\w-][\w.-]*(?:/[\w-][\w.-]*)?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_TIMEOUT_S = 10
_BATCH = 1_000
_LONGEST = 300
"""Characters of a library's own message that are shown."""

_LOGIN = "Check the name; for a private dataset: export HF_TOKEN=hf_…"
_AGAIN = "Check the network, and run the command again."


def fetch(asked: FetchRequest) -> Fetched:
    """Return the snapshot of one split of a dataset.

    Raises:
        SourceUnavailable: The hub does not answer, or wants a login.
        DataError: There is no such dataset, commit, configuration or split, or it cannot be read.
    """
    source = asked.source
    name = str(source.hub)
    if not _NAME.fullmatch(name) or ".." in name:
        raise DataError(
            f"{quote(name)} is no dataset's name",
            "Write it like this: hub: owner/name",
            field="hub",
        )
    display_path = _shown(source)
    token = asked.environment.get("HF_TOKEN") or None
    commit = source.revision or ""
    if not _COMMIT.fullmatch(commit):
        commit = _commit(name, source.revision, display_path, token)
    key: Json = ["hub", name, source.config, source.split, commit]
    memo = find_memo(asked.snapshots, key)
    if memo is None:
        # Asked even for a full hash: that it exists, and that this login may see it.
        memo = _streamed(asked, _commit(name, commit, display_path, token), token)
        save_memo(asked.snapshots, key, memo)
    return Fetched(path=memo.path, display_path=display_path, format="jsonl")


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
        # The hub says 401 to whoever has not logged in, whether there is a private one or none.
        if error.response.status_code == httpx2.codes.NOT_FOUND:
            raise DataError(f"there is no dataset {name}", _LOGIN, field="hub") from None
        raise SourceUnavailable(
            f"there is no dataset {name} for who is not logged in", _LOGIN
        ) from None
    except HFValidationError as error:
        raise DataError(_said(error), "Write it like this: hub: owner/name", field="hub") from None
    except (HfHubHTTPError, httpx2.HTTPError, OSError) as error:
        raise SourceUnavailable(f"{display_path} cannot be read: {_said(error)}", _AGAIN) from None


def _streamed(asked: FetchRequest, commit: str, token: str | None) -> Memo:
    datasets.disable_progress_bars()
    disable_progress_bars()
    datasets.logging.set_verbosity_error()
    source, display_path = asked.source, _shown(asked.source)
    with new_snapshot(asked.snapshots) as new:
        lines = TableWriter(new, field="hub")
        with _explained(display_path, lines):
            # `hf://`: nothing on this machine has that name. No `trust_remote_code`, ever.
            builder = datasets.load_dataset_builder(
                f"hf://datasets/{source.hub}", source.config, revision=commit, token=token
            )
        _check_files(builder, f"hf://datasets/{source.hub}@{commit}/", display_path)
        with _explained(display_path, lines):
            rows = _split(builder, source, display_path)
        for table in _tables(rows, display_path, lines):
            lines.add(table)
        return Memo(path=lines.finish(display_path), version=commit)


def _check_files(builder: datasets.DatasetBuilder, start: str, display_path: str) -> None:
    files = builder.config.data_files or {}
    for split in files.values():
        for file in split:
            if not str(file).startswith(start):
                raise DataError(
                    f"{display_path} names files that are not its own: {quote(str(file))}",
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
        # Images and sounds stay bytes: decoding them needs packages, and opens what they name.
        rows = rows.decode(enable=False)
    return rows.with_format("arrow")


def _tables(
    rows: datasets.IterableDataset, display_path: str, lines: TableWriter
) -> Iterator[Table]:
    batches = rows.iter(batch_size=_BATCH)
    while True:
        # Around the reading alone: a disk that is full is not the hub's fault.
        with _explained(display_path, lines):
            table = next(batches, None)
        if table is None:
            return
        yield table


@contextmanager
def _explained(display_path: str, lines: TableWriter) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except (httpx2.HTTPError, ConnectionError, TimeoutError) as error:
        after = f" after {lines.count:,} rows" if lines.count else ""
        raise SourceUnavailable(
            f"{display_path} cannot be read{after}: {_said(error)}", _AGAIN
        ) from None
    except DatasetNotFoundError as error:
        raise SourceUnavailable(f"{display_path} cannot be read: {_said(error)}", _LOGIN) from None
    except Exception as error:
        # Of its own many kinds: no data files, configurations to choose from, files of no format.
        raise DataError(
            f"{display_path}: {_said(error)}", "Fix `config` or `split`.", "hub"
        ) from error


def _said(error: Exception) -> str:
    """Return an error's message on one line; `datasets` puts the names to choose on the second."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = " ".join(lines[:2]) if lines else type(error).__name__
    # It looks for a folder of that name here first, and says so first.
    said = said.rpartition("on the Hugging Face Hub either: ")[2]
    return said if len(said) <= _LONGEST else f"{said[:_LONGEST]}…"
