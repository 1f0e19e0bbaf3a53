"""The create call of a request: what the job must be made from, and the body that is sent."""

from typing import Any, Final

from backends.contract.jobs import TrainRequest
from backends.openai.api.protocol import Rejected
from backends.openai.jobs.files import RemoteFile, read_local
from backends.openai.jobs.job_matching import (
    ATTEMPT,
    FINGERPRINT,
    NAME,
    ORIGIN,
    ExpectedJob,
    key_tag,
    make_suffix,
    to_metadata,
)
from backends.openai.limits import PUBLISHED
from backends.openai.profiles.profile import profile_of

_INVALID: Final = frozenset({400, 413, 422})


def expected_job(request: TrainRequest, kind: str) -> ExpectedJob:
    """Return the job that a request asks for; reads the request's files once.

    Args:
        request: The request.
        kind: The endpoint's kind.

    Raises:
        BackendError: A file is larger than the server accepts.
    """
    tag = key_tag(request.fingerprint, request.attempt)
    settings = dict(request.hyperparameters)
    own = {key: settings.pop(key) for key in ("grader", "response_format") if key in settings}
    for name in profile_of(kind).body_settings:
        settings.pop(name, None)
    most_bytes = PUBLISHED[kind].file_bytes
    held_out = read_local(request.held_out, most_bytes)
    return ExpectedJob(
        request=request,
        train=read_local(request.train, most_bytes),
        held_out=held_out if held_out.size else None,
        suffix=make_suffix(request.name, tag, kind),
        tag=tag,
        method={"type": request.method, request.method: {"hyperparameters": settings} | own},
    )


def create_body(
    expected: ExpectedJob, kind: str, train: RemoteFile, held_out: RemoteFile | None
) -> dict[str, Any]:
    """Return the body of the create call.

    Args:
        expected: The job to create.
        kind: The endpoint's kind.
        train: The training file at the server.
        held_out: The held-out file at the server; None if the held-out set is empty.
    """
    request, profile = expected.request, profile_of(kind)
    body: dict[str, Any] = {
        "model": expected.model,
        "training_file": train.id,
        "seed": expected.seed,
        "suffix": expected.suffix,
    }
    if profile.metadata:
        body["metadata"] = {
            FINGERPRINT: request.fingerprint,
            ATTEMPT: str(request.attempt),
            NAME: request.name,
            **to_metadata(request.origin),
        }
    if held_out is not None:
        body["validation_file"] = held_out.id
    if profile.sent_in != "top":
        body["method"] = expected.method
    if profile.sent_in != "method":
        body["hyperparameters"] = expected.method[request.method]["hyperparameters"]
    if "wandb" in request.tracking:
        body["integrations"] = [{"type": "wandb", "wandb": request.tracking["wandb"]}]
    for name in profile.body_settings:
        if name in request.hyperparameters:
            body[name] = request.hyperparameters[name]
    return body


def without_refused_metadata(
    body: dict[str, Any], error: Rejected, *, trusted: bool
) -> dict[str, Any] | None:
    """Return a refused create call without the metadata that the server may have refused.

    Args:
        body: The refused create call.
        error: The server's error.
        trusted: True if the server's error names the field.

    Returns:
        The body without the origin, or without metadata; None if metadata was not the reason.
    """
    metadata = body.get("metadata", {})
    kept = {key: metadata[key] for key in metadata if not key.startswith(ORIGIN)}
    said = f"{error.param} {error.code} {error.message}".lower()
    may_be_origin = "metadata" in said or not (trusted or error.param)
    if kept != metadata and error.status in _INVALID and may_be_origin:
        return {**body, "metadata": kept}
    if error.param == "metadata" and metadata:
        # The server does not know metadata; the suffix carries the tag.
        return {key: body[key] for key in body if key != "metadata"}
    return None
