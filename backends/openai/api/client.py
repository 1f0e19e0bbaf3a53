"""Calls of the SDK: each method is one request and returns plain JSON.

Only `OpenAIBackend._client` imports this module, because the SDK takes half a second to import and
is an extra. The SDK does not check answers, so callers must.
"""

import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import httpx2
import openai

from backends.openai.api.authorities import authorities
from backends.openai.api.bounded_answers import BOUNDS, AnswerBounds
from backends.openai.api.connections import Connections
from backends.openai.api.endpoints import Settings
from backends.openai.api.protocol import Body, OutcomeUnknown, read_pages
from backends.openai.api.raw_answers import AnswerReader, RawAnswer
from backends.openai.api.retry_policy import ONCE, RetryLimits
from backends.openai.api.retrying import Failure, Repeater
from backends.openai.api.waiting import Waiting

_CALL_S: Final = 60.0
"""Limit of requests other than uploads and answers of models."""
_LONG_S: Final = 600.0
_PIECE: Final = 1 << 18
"""Bytes of a file that are held in memory."""
_LIMITS: Final = RetryLimits(pause_s=0.5, longest_asked_s=120.0, attempts=3)
"""For requests that may be repeated; a longer pause is left to the caller."""
_WRITES: Final = frozenset({"POST", "PUT"})


class Client:
    """One server. Raises `Rejected` and `OutcomeUnknown`, nothing else."""

    def __init__(
        self,
        settings: Settings,
        waiting: Waiting | None = None,
        bounds: AnswerBounds = BOUNDS,
    ) -> None:
        self._bounds = bounds
        self._reader = AnswerReader(settings.base_url, settings.api_key)
        self._settings = settings
        self._connections = Connections()
        self._waiting = waiting or Waiting()
        self.repeat = Repeater(self._waiting)
        # All retries happen in this class, which announces long waits.
        self._sdk = openai.OpenAI(
            api_key=settings.api_key,
            base_url=settings.base_url,
            organization=settings.organization,
            project=settings.project,
            timeout=_CALL_S,
            max_retries=0,
            http_client=openai.DefaultHttpxClient(
                verify=authorities(),
                event_hooks={
                    "request": [self._connections.watch],
                    "response": [self._reader.refuse_redirect, bounds.limit],
                },
            ),
        )
        # The SDK would fill in what is None from variables, even from blank ones.
        self._sdk.organization = settings.organization
        self._sdk.project = settings.project
        # A backend has no close method; its connections end with it.
        weakref.finalize(self, self._sdk.close)
        self._long = self._sdk.with_options(timeout=openai.Timeout(_LONG_S, connect=_CALL_S))
        self._jobs = self._sdk.fine_tuning.jobs.with_raw_response
        self._files = self._sdk.files.with_raw_response
        self._models = self._sdk.models.with_raw_response
        self._stored = self._sdk.chat.completions.with_raw_response
        self._stored_messages = self._sdk.chat.completions.messages.with_raw_response

    @contextmanager
    def apart(self) -> Iterator["Client"]:
        """Open a client to the same server, with connections of its own."""
        client = type(self)(self._settings, self._waiting, self._bounds)
        try:
            yield client
        finally:
            client.close()

    def close(self) -> None:
        """Close connections that no request uses."""
        self._sdk.close()

    def abort(self) -> None:
        """Break off all requests of this client, which cannot send others."""
        self._connections.abort()

    def list_jobs(self, *, limit: int, after: str | None, metadata: Mapping[str, str]) -> Body:
        """Return one page of jobs; a server may ignore the filter."""
        wanted = dict(metadata) or openai.omit
        return self._json(self._jobs.list, limit=limit, after=after or openai.omit, metadata=wanted)

    def create_job(self, body: Body) -> Body:
        """Create a job; sent exactly once."""
        rest = {key: body[key] for key in body if key not in {"model", "training_file"}}
        model, file = str(body["model"]), str(body["training_file"])
        return self._json(
            self._jobs.create, model=model, training_file=file, extra_body=rest, limits=ONCE
        )

    def retrieve_job(self, job_id: str) -> Body:
        """Return one job."""
        return self._json(self._jobs.retrieve, job_id)

    def cancel_job(self, job_id: str) -> Body:
        """Ask a job to stop."""
        return self._json(self._jobs.cancel, job_id)

    def pause_job(self, job_id: str) -> Body:
        """Ask a job to pause."""
        return self._json(self._jobs.pause, job_id)

    def resume_job(self, job_id: str) -> Body:
        """Let a paused job continue."""
        return self._json(self._jobs.resume, job_id)

    def list_events(self, job_id: str, *, limit: int, after: str | None) -> Body:
        """Return one page of a job's events, newest first."""
        return self._json(self._jobs.list_events, job_id, limit=limit, after=after or openai.omit)

    def list_checkpoints(self, job_id: str) -> Body:
        """Return the models saved along the way."""
        return self._json(self._jobs.checkpoints.list, job_id)

    def list_files(self, *, limit: int, after: str | None) -> Body:
        """Return one page of the files for training, newest first."""
        after_file = after or openai.omit
        return self._json(self._files.list, purpose="fine-tune", limit=limit, after=after_file)

    def files_named(self, name: str, *, limit: int) -> Iterator[Body]:
        """Yield the files of a name, from pages of a length."""
        files = read_pages(lambda after: self.list_files(limit=limit, after=after), limit)
        return (file for file in files if file.get("filename") == name)

    def retrieve_file(self, file_id: str) -> Body:
        """Return a file's description."""
        return self._json(self._files.retrieve, file_id)

    def file_content(self, file_id: str) -> bytes:
        """Return a file's bytes; for small files."""
        return self._ask(lambda: self._files.content(file_id)).content

    def download_file(self, file_id: str, keep: Callable[[Iterator[bytes]], None]) -> None:
        """Stream a file's bytes; for files of any size.

        Args:
            file_id: The file.
            keep: Takes the pieces; called again with all pieces after a failure that may pass.
        """

        def receive() -> None:
            try:
                with self._long.files.with_streaming_response.content(file_id) as answer:
                    keep(answer.iter_bytes(_PIECE))
            except openai.APIError as error:
                raise self._reader.failure(error) from error
            except httpx2.HTTPError as error:
                reason = f"the file broke off: {self._reader.clean(error)}"
                raise OutcomeUnknown(reason) from error

        with self._waiting.during(f"{self._reader.host} to send a file"):
            self.repeat(receive, _LIMITS, self._pause_reason)

    def delete_file(self, file_id: str) -> Body:
        """Delete a file."""
        return self._json(self._files.delete, file_id)

    def upload_file(self, path: Path, name: str) -> Body:
        """Upload a file under a name, streaming; sent once."""
        size_mb = path.stat().st_size / 1e6
        reason = f"{self._reader.host} to receive {size_mb:,.0f} MB"
        with path.open("rb") as file, self._waiting.during(reason):
            raw = self._ask(
                lambda: self._long.files.with_raw_response.create(
                    file=(name, file), purpose="fine-tune"
                ),
                ONCE,
            )
        return self._reader.parsed(raw)

    def upload_in_parts(self, path: Path) -> Body:
        """Upload a file under its own name, in parts of 64 MB; return the file object."""
        reason = f"{self._reader.host} to receive {path.stat().st_size / 1e6:,.0f} MB in parts"
        try:
            with self._waiting.during(reason):
                upload = self._long.with_options(max_retries=2).uploads.upload_file_chunked(
                    file=path, mime_type="application/jsonl", purpose="fine-tune"
                )
        except openai.APIError as error:
            raise self._reader.failure(error) from error
        except ValueError as error:
            raise OutcomeUnknown(f"the answer is not JSON: {self._reader.clean(error)}") from error
        if not isinstance(upload, openai.BaseModel) or upload.file is None:
            raise OutcomeUnknown("the upload ended without a file")
        return upload.file.model_dump(mode="json", warnings=False)

    def list_models(self, *, after: str | None) -> Body:
        """Return one page of models; the official server has a single page."""
        page = {"after": after} if after else {}
        return self._json(self._models.list, extra_query=page)

    def retrieve_model(self, model: str) -> Body:
        """Return a model's description."""
        return self._json(self._models.retrieve, model)

    def delete_model(self, model: str) -> Body:
        """Delete a model."""
        return self._json(self._models.delete, model)

    def chat(self, body: Body) -> tuple[Body, Mapping[str, str]]:
        """Return a model's answer and its headers; sent once, since the caller repeats it."""
        raw = self._ask(
            lambda: self._long.chat.completions.with_raw_response.create(**_chat_arguments(body)),
            ONCE,
        )
        return self._reader.parsed(raw), raw.headers

    def list_stored(
        self, *, limit: int, after: str | None, model: str | None, metadata: Mapping[str, str]
    ) -> Body:
        """Return one page of stored completions, newest first; a server may ignore the filters."""
        return self._json(
            self._stored.list,
            limit=limit,
            after=after or openai.omit,
            model=model or openai.omit,
            metadata=dict(metadata) or openai.omit,
            order="desc",
        )

    def list_stored_messages(self, completion_id: str, *, limit: int, after: str | None) -> Body:
        """Return one page of the messages before the answer of a stored completion."""
        return self._json(
            self._stored_messages.list, completion_id, limit=limit, after=after or openai.omit
        )

    def stream_chat(self, body: Body) -> Iterator[Body]:
        """Yield the pieces of a model's answer."""
        options = {"stream": True, "stream_options": {"include_usage": True}}
        try:
            raw = self._long.chat.completions.with_raw_response.create(
                **_chat_arguments({**body, **options})
            )
            if "event-stream" not in raw.headers.get("content-type", "event-stream").lower():
                # The answer is whole (a server without streaming), or a page of another program.
                raw.http_response.read()
                self._reader.require_no_page(raw)
                if raw.text.lstrip().startswith("{"):
                    yield _as_piece(self._reader.parsed(raw))
                    return
            with raw.parse() as stream:
                for chunk in stream:
                    # Anything else that a server sends is not a piece of an answer.
                    if isinstance(chunk, openai.BaseModel):
                        yield chunk.model_dump(mode="json", warnings=False)
        except openai.APIError as error:
            raise self._reader.failure(error) from error
        except ValueError as error:
            raise OutcomeUnknown(
                f"a piece of the answer is not JSON: {self._reader.clean(error)}"
            ) from error

    @property
    def host(self) -> str:
        """The server's host."""
        return self._reader.host

    def request(
        self,
        method: str,
        url: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Body | None = None,
        files: Mapping[str, tuple[str, IO[bytes]]] | None = None,
        limits: RetryLimits = _LIMITS,
    ) -> Body:
        """Send a request that is not one of the protocol's; return the answer's JSON object."""
        options: dict[str, object] = {"params": dict(query or {})}
        given: dict[str, Any] = {"cast_to": httpx2.Response, "options": options}
        sdk = self._sdk
        if method in _WRITES:
            given |= {"body": body, "files": files}
        if files is not None:
            sdk = self._long
            options["headers"] = {"Content-Type": "multipart/form-data"}
        verb: Callable[..., RawAnswer] = getattr(sdk, method.lower())
        return self._json(verb, url, limits=limits, **given)

    def request_items(self, url: str, query: Mapping[str, str] | None = None) -> list[Body]:
        """Return the objects of a list that is not one of the protocol's.

        Raises:
            OutcomeUnknown: The answer is not a list.
        """
        given: dict[str, Any] = {
            "cast_to": httpx2.Response,
            "options": {"params": dict(query or {})},
        }
        get: Callable[..., RawAnswer] = self._sdk.get
        return self._reader.items(self._ask(lambda: get(url, **given)))

    def _json(
        self,
        call: Callable[..., RawAnswer],
        *given: str,
        limits: RetryLimits = _LIMITS,
        **named: object,
    ) -> Body:
        with self._waiting.during(f"an answer of {self._reader.host}"):
            return self._reader.parsed(self._ask(lambda: call(*given, **named), limits))

    def _ask(self, call: Callable[[], RawAnswer], limits: RetryLimits = _LIMITS) -> RawAnswer:
        """Call the SDK; repeat the call after failures that may pass."""

        def ask() -> RawAnswer:
            try:
                return call()
            except openai.APIError as error:
                raise self._reader.failure(error) from error

        return self.repeat(ask, limits, self._pause_reason)

    def _pause_reason(self, failure: Failure) -> str:
        if isinstance(failure, OutcomeUnknown):
            return f"{self._reader.host}, which did not answer: {failure.reason}"
        return f"{self._reader.host}, which limits the rate of requests"


def _chat_arguments(body: Body) -> dict[str, Any]:
    rest = {key: body[key] for key in body if key not in {"model", "messages", "stream"}}
    return {
        "model": body["model"],
        "messages": body["messages"],
        "stream": body.get("stream", False),
        "extra_body": rest,
    }


def _as_piece(answer: Body) -> Body:
    """Return a whole answer as the only piece of a stream."""
    choices = answer.get("choices")
    found = choices if isinstance(choices, list) else []
    pieces = [
        {**choice, "delta": choice.get("message")}
        for choice in found
        if isinstance(choice, Mapping)
    ]
    return {**answer, "choices": pieces}
