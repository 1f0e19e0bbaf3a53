"""The SDK, and nothing but the SDK: each method is one call, answered in plain JSON.

Imported through one door, `OpenAIBackend._client`, because the SDK takes half a second to import
and is an extra. Answers are read raw: the SDK does not check them, so whoever uses them does.
"""

import json
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import openai

from backends.openai.endpoints import Settings
from backends.openai.wire import Body, Refused, Unclear, clean

_CALL_S: Final = 60.0
"""For everything that is neither an upload nor an answer of a model."""
_LONG_S: Final = 600.0
_NEVER_SENT: Final = frozenset({"ConnectError", "ConnectTimeout", "UnsupportedProtocol"})
"""What the HTTP library calls a request that never left this machine."""
_CONFLICTS: Final = frozenset({408, 409})
_SERVER_ERROR: Final = 500


class _Raw(Protocol):
    """The part of a raw answer that is read."""

    @property
    def text(self) -> str: ...
    @property
    def content(self) -> bytes: ...
    @property
    def headers(self) -> Mapping[str, str]: ...


class Client:
    """One server. Raises `Refused` and `Unclear`, nothing else."""

    def __init__(self, settings: Settings) -> None:
        self._secret = settings.api_key
        self._sdk = openai.OpenAI(
            api_key=settings.api_key,
            base_url=settings.base_url,
            organization=settings.organization,
            project=settings.project,
            timeout=_CALL_S,
        )
        # The SDK would fill in what is None from variables, even from blank ones.
        self._sdk.organization = settings.organization
        self._sdk.project = settings.project
        # Nobody closes a backend; its connections end with it.
        weakref.finalize(self, self._sdk.close)
        self._once = self._sdk.with_options(max_retries=0)
        self._long = self._sdk.with_options(max_retries=0, timeout=_LONG_S)

    def list_jobs(self, *, limit: int, after: str | None, metadata: Mapping[str, str]) -> Body:
        """Return one page of jobs; a server may ignore the filter."""
        return self._json(
            lambda: self._sdk.fine_tuning.jobs.with_raw_response.list(
                limit=limit,
                after=after if after is not None else openai.omit,
                metadata=dict(metadata) or openai.omit,
            )
        )

    def create_job(self, body: Body) -> Body:
        """Create a job. Sent exactly once, whatever happens."""
        rest = {key: body[key] for key in body if key not in {"model", "training_file"}}
        return self._json(
            lambda: self._once.fine_tuning.jobs.with_raw_response.create(
                model=str(body["model"]), training_file=str(body["training_file"]), extra_body=rest
            )
        )

    def retrieve_job(self, job_id: str) -> Body:
        """Return one job."""
        return self._json(lambda: self._sdk.fine_tuning.jobs.with_raw_response.retrieve(job_id))

    def cancel_job(self, job_id: str) -> Body:
        """Ask a job to stop."""
        return self._json(lambda: self._sdk.fine_tuning.jobs.with_raw_response.cancel(job_id))

    def pause_job(self, job_id: str) -> Body:
        """Ask a job to pause."""
        return self._json(lambda: self._sdk.fine_tuning.jobs.with_raw_response.pause(job_id))

    def resume_job(self, job_id: str) -> Body:
        """Let a paused job go on."""
        return self._json(lambda: self._sdk.fine_tuning.jobs.with_raw_response.resume(job_id))

    def list_events(self, job_id: str, *, limit: int, after: str | None) -> Body:
        """Return one page of a job's events, newest first."""
        return self._json(
            lambda: self._sdk.fine_tuning.jobs.with_raw_response.list_events(
                job_id, limit=limit, after=after if after is not None else openai.omit
            )
        )

    def list_checkpoints(self, job_id: str) -> Body:
        """Return the models saved along the way."""
        return self._json(
            lambda: self._sdk.fine_tuning.jobs.checkpoints.with_raw_response.list(job_id)
        )

    def list_files(self, *, limit: int, after: str | None) -> Body:
        """Return one page of the files for training, newest first."""
        return self._json(
            lambda: self._sdk.files.with_raw_response.list(
                purpose="fine-tune",
                limit=limit,
                after=after if after is not None else openai.omit,
            )
        )

    def retrieve_file(self, file_id: str) -> Body:
        """Return what is known of a file."""
        return self._json(lambda: self._sdk.files.with_raw_response.retrieve(file_id))

    def file_content(self, file_id: str) -> bytes:
        """Return a file's bytes; for small files."""
        return self._ask(lambda: self._sdk.files.with_raw_response.content(file_id)).content

    def delete_file(self, file_id: str) -> Body:
        """Delete a file."""
        return self._json(lambda: self._sdk.files.with_raw_response.delete(file_id))

    def upload_file(self, path: Path, name: str) -> Body:
        """Upload a file under a name, streaming; sent once."""
        with path.open("rb") as file:
            return self._json(
                lambda: self._long.files.with_raw_response.create(
                    file=(name, file), purpose="fine-tune"
                )
            )

    def upload_in_parts(self, path: Path) -> Body:
        """Upload a file under its own name, in parts of 64 MB; return the file object."""
        try:
            upload = self._long.with_options(max_retries=2).uploads.upload_file_chunked(
                file=path, mime_type="application/jsonl", purpose="fine-tune"
            )
        except openai.APIError as error:
            raise self._failure(error) from error
        if not isinstance(upload, openai.BaseModel) or upload.file is None:
            raise Unclear("the upload ended without a file")
        return upload.file.model_dump(mode="json", warnings=False)

    def retrieve_model(self, model: str) -> Body:
        """Return what is known of a model."""
        return self._json(lambda: self._sdk.models.with_raw_response.retrieve(model))

    def delete_model(self, model: str) -> Body:
        """Delete a model."""
        return self._json(lambda: self._sdk.models.with_raw_response.delete(model))

    def chat(self, body: Body) -> tuple[Body, Mapping[str, str]]:
        """Return a model's answer and the headers; sent once, for the caller paces."""
        raw = self._ask(
            lambda: self._long.chat.completions.with_raw_response.create(**_chat_arguments(body))
        )
        return self._parsed(raw), raw.headers

    def stream_chat(self, body: Body) -> Iterator[Body]:
        """Yield the pieces of a model's answer."""
        options = {"stream": True, "stream_options": {"include_usage": True}}
        try:
            stream = self._sdk.with_options(timeout=_LONG_S).chat.completions.create(
                **_chat_arguments({**body, **options})
            )
            with stream:
                for chunk in stream:
                    yield chunk.model_dump(mode="json", warnings=False)
        except openai.APIError as error:
            raise self._failure(error) from error

    def _json(self, call: Callable[[], _Raw]) -> Body:
        return self._parsed(self._ask(call))

    def _ask(self, call: Callable[[], _Raw]) -> _Raw:
        try:
            return call()
        except openai.APIError as error:
            raise self._failure(error) from error

    def _parsed(self, raw: _Raw) -> Body:
        try:
            parsed = json.loads(raw.content)
        except ValueError:
            raise Unclear(f"the answer is no JSON: {self._clean(raw.text[:80])}") from None
        if not isinstance(parsed, dict):
            raise Unclear("the answer is no JSON object")
        return parsed

    def _failure(self, error: openai.APIError) -> Refused | Unclear:
        if not isinstance(error, openai.APIStatusError):
            cause = type(error.__cause__).__name__
            reason = self._clean(f"{error.message} ({cause})" if error.__cause__ else error.message)
            return Unclear(reason, sent=cause not in _NEVER_SENT)
        body = error.body if isinstance(error.body, Mapping) else {}
        said = self._clean(body.get("message") or error.response.text or "no message")
        status = error.status_code
        retry_after_s = _retry_after(error.response.headers)
        if status in _CONFLICTS or status >= _SERVER_ERROR:
            return Unclear(f"HTTP {status}: {said}", retry_after_s=retry_after_s)
        return Refused(
            status,
            said,
            code=self._clean(body.get("code") or ""),
            param=self._clean(body.get("param") or ""),
            retry_after_s=retry_after_s,
            speaks="message" in body,
        )

    def _clean(self, text: object) -> str:
        return clean(text, self._secret)


def _chat_arguments(body: Body) -> dict[str, Any]:
    rest = {key: body[key] for key in body if key not in {"model", "messages", "stream"}}
    return {
        "model": body["model"],
        "messages": body["messages"],
        "stream": body.get("stream", False),
        "extra_body": rest,
    }


def _retry_after(headers: Mapping[str, str]) -> float | None:
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * unit
        except (KeyError, ValueError):
            continue
        if seconds >= 0:
            return seconds
    return None
