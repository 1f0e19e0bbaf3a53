"""Jobs, trained models and files that a server holds, whoever made them."""

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from backends.atomic_files import sync_folder
from backends.contract.errors import FileMissing, MachineFailed, ModelMissing, NotOffered
from backends.contract.inspector import Json
from backends.contract.inventory import HostedFile, HostedModel
from backends.contract.jobs import JobState
from backends.contract.methods import REINFORCEMENT, SUPERVISED
from backends.openai.api.protocol import (
    Body,
    OutcomeUnknown,
    Rejected,
    clean,
    mapping_in,
    name_in,
    number,
    read_pages,
    text_of,
    time_of,
)
from backends.openai.jobs.conversions import model_of, resolved_hyperparameters, state_of, to_job
from backends.openai.jobs.job_listing import read_jobs
from backends.openai.jobs.job_matching import NAME, key_of, metadata_of
from backends.openai.jobs.result_models import ResultModels
from backends.openai.profiles.profile import Profile
from backends.openai.shutdowns import day_of

if TYPE_CHECKING:
    from backends.openai.api.client import Client

_WHOLE: Final = 1 << 62
"""Models in a full page: a list without `has_more` has one page."""
_FILES: Final = 1000
"""Files in a page."""
_NO_LIST: Final = frozenset({404, 405, 501})
"""Statuses of servers without such a list."""
_NOT_FOR_KEY: Final = frozenset({401, 403})
_NOT_GIVEN: Final = frozenset({400, 403, 404, 405, 410, 501})
"""Statuses with which a server keeps a file to itself. OpenAI refuses some accounts with 400."""
_TRAINED: Final = re.compile(r"ft:[^:]+:.*|.+\.ft-[0-9a-f]+")
"""IDs of trained models, at OpenAI and at Azure."""
_CHECKPOINT: Final = ":ckpt-step-"
_OF_ID: Final = re.compile(r"ft:(?P<base>[^:]+):(?P<owner>[^:]*):(?P<suffix>[^:]*):[^:]+")


@dataclass(frozen=True, slots=True)
class _Known:
    """Contents of a server's lists of models and files; None without such a list."""

    models: dict[str, tuple[str | None, str | None, float | None]] | None
    """Day of the end, owner and time of each model, by its ID."""
    files: dict[str, tuple[str | None, int | None]] | None
    """Name and size of each file, by its ID."""


def read_inventory(
    client: "Client", results: ResultModels, profile: Profile, *, server: str
) -> Iterator[HostedModel]:
    """Yield jobs as the server lists them, then trained models whose jobs it does not list.

    Of models and files only a few words each are kept; jobs are read page by page.

    Raises:
        NotOffered: The server lists no jobs.
        Rejected: The server does not show its jobs.
        OutcomeUnknown: The server gave no usable answer.
    """
    known = _Known(_models(client), _files(client))
    rest = {
        model
        for model in known.models or ()
        if _TRAINED.fullmatch(model) and _CHECKPOINT not in model
    }
    try:
        for job in read_jobs(client):
            hosted = _hosted(results.named(job), profile, known)
            rest.discard(hosted.model_id or "")
            yield hosted
    except Rejected as error:
        if error.status not in _NO_LIST:
            raise
        raise NotOffered(
            f"{server} offers no list of fine-tuning jobs", "Check `base_url` and `kind`."
        ) from error
    for model in sorted(rest):
        yield _without_job(model, known)


def download(client: "Client", file: HostedFile, to: Path, server: str) -> None:
    """Write a file to a path: temporary file beside it, size checked, fsync, rename.

    Raises:
        FileMissing: The server does not give the file.
        OutcomeUnknown: The file did not arrive as a whole.
        MachineFailed: This machine cannot keep it.
    """
    with _writing(to):
        handle, temporary = tempfile.mkstemp(dir=to.parent, prefix=f".{to.name}.", suffix=".tmp")
        os.close(handle)
    partial = Path(temporary)

    def keep(pieces: Iterator[bytes]) -> None:
        size = 0
        with _writing(to), partial.open("wb") as written:
            for piece in pieces:
                written.write(piece)
                size += len(piece)
            written.flush()
            os.fsync(written.fileno())
        if file.size_bytes and size != file.size_bytes:
            raise OutcomeUnknown(
                f"the file {file.id} has {file.size_bytes:,} bytes, and {size:,} arrived"
            )

    try:
        try:
            client.download_file(file.id, keep)
        except Rejected as error:
            if error.status not in _NOT_GIVEN or not error.is_api_error:
                raise
            raise _missing(file, server, error) from error
        with _writing(to):
            partial.chmod(0o644)
            partial.replace(to)
            sync_folder(to.parent)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror or error}"
        remedy = "Free some space there, or make the folder writable; then run the command again."
        raise MachineFailed(message, remedy) from error


def delete_model(client: "Client", model_id: str, server: str) -> None:
    """Delete a model.

    Raises:
        ModelMissing: The server does not have it.
    """
    try:
        client.delete_model(model_id)
    except Rejected as error:
        if not error.is_missing:
            raise
        raise ModelMissing(
            f"{server} has no model {model_id}",
            "Take another model: there is nothing to delete.",
        ) from error


def _missing(file: HostedFile, server: str, error: Rejected) -> FileMissing:
    what = "does not have" if error.is_missing else "does not give"
    return FileMissing(
        f"{server} {what} the file {file.id}: {error.message}",
        "Take the file from where it was made, or export stored completions into a new one.",
    )


def _models(client: "Client") -> dict[str, tuple[str | None, str | None, float | None]] | None:
    try:
        return {
            name: (day_of(model), name_in(model.get("owned_by")) or None, _time(model, "created"))
            for model in read_pages(lambda after: client.list_models(after=after), _WHOLE)
            if (name := name_in(model.get("id")))
        }
    except Rejected as error:
        if error.status not in _NO_LIST | _NOT_FOR_KEY:
            raise
        return None


def _files(client: "Client") -> dict[str, tuple[str | None, int | None]] | None:
    try:
        return {
            name: (clean(text_of(file.get("filename"))) or None, _count(file.get("bytes")))
            for file in read_pages(
                lambda after: client.list_files(limit=_FILES, after=after), _FILES
            )
            if (name := name_in(file.get("id")))
        }
    except Rejected as error:
        if error.status not in _NO_LIST | _NOT_FOR_KEY:
            raise
        return None


def _hosted(job: Body, profile: Profile, known: _Known) -> HostedModel:
    model, state = model_of(job), state_of(job)
    listed = None if known.models is None or model is None else model in known.models
    if listed is False and profile.kind != "openai":
        # Other servers need not list a model that is not deployed.
        listed = None
    day, owner, _ = (known.models or {}).get(model or "", (None, None, None))
    return HostedModel(
        model_id=model,
        is_listed=listed,
        job_id=name_in(job.get("id")),
        base_model=name_in(job.get("model")) or None,
        method=_method(job),
        hyperparameters=_hyperparameters(job, profile),
        seed=_count(job.get("seed")),
        suffix=name_in(job.get("user_provided_suffix")) or name_in(job.get("suffix")) or None,
        state=state,
        error=None if state is JobState.SUCCEEDED else to_job(job).error,
        created_s=_time(job, "created_at"),
        finished_s=_time(job, "finished_at"),
        trained_tokens=_count(job.get("trained_tokens")),
        training_file=_file(job.get("training_file"), known),
        validation_file=_file(job.get("validation_file"), known),
        shutdown_date=day,
        organization=name_in(job.get("organization_id")) or owner,
        metadata={key: value for key, value in metadata_of(job).items() if isinstance(value, str)},
        made_for=name_in(metadata_of(job).get(NAME)) or None if key_of(job) else None,
    )


def _without_job(model: str, known: _Known) -> HostedModel:
    day, owner, created_s = (known.models or {})[model]
    parts = _OF_ID.fullmatch(model)
    return HostedModel(
        model_id=model,
        is_listed=True,
        base_model=parts["base"] if parts else None,
        suffix=(parts["suffix"] or None) if parts else None,
        created_s=created_s,
        shutdown_date=day,
        organization=owner,
    )


def _method(job: Body) -> str:
    """Return the training method; jobs older than the field are supervised."""
    return text_of(mapping_in(job, "method").get("type")) or SUPERVISED.name


def _hyperparameters(job: Body, profile: Profile) -> Mapping[str, Json]:
    found = resolved_hyperparameters(job)
    found |= {
        name: job[name] for name in profile.body_settings if isinstance(job.get(name), str | int)
    }
    if _method(job) == REINFORCEMENT.name:
        own = mapping_in(job, "method", REINFORCEMENT.name)
        found |= {key: own[key] for key in ("grader", "response_format") if own.get(key)}
    return found


def _file(file_id: object, known: _Known) -> HostedFile | None:
    name = name_in(file_id)
    if not name:
        return None
    if known.files is None:
        return HostedFile(id=name)
    shown, size = known.files.get(name, (None, None))
    return HostedFile(id=name, name=shown, size_bytes=size, available=name in known.files)


def _count(value: object) -> int | None:
    found = number(value)
    return None if found is None or found < 0 else int(found)


def _time(body: Body, key: str) -> float | None:
    return time_of(body.get(key))
