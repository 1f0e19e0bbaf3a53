"""The SDK, and nothing but the SDK: each method is one call, answered in plain JSON.

Imported through one door, `OpenAIBackend._client`, because the SDK takes half a second to import
and is an extra. Answers are read raw: the SDK does not check them, so whoever uses them does.
"""

import json
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar
from urllib.request import getproxies, proxy_bypass

import openai

from backends.openai.api.causes import (
    NETWORK_LOGIN,
    Way,
    connection_failure,
    is_page,
    page_cause,
    redirect_cause,
    snippet,
)
from backends.openai.api.endpoints import Settings, host_of, shown_url
from backends.openai.api.error_answers import retry_after, said_in
from backends.openai.api.protocol import NOT_THE_API, Body, OutcomeUnknown, Rejected, clean
from backends.openai.api.retry_policy import RetryLimits
from backends.openai.api.retrying import Failure, may_pass, repeat
from backends.openai.api.waiting import Waiting

_Answer = TypeVar("_Answer")

_CALL_S: Final = 60.0
"""For everything that is neither an upload nor an answer of a model."""
_LONG_S: Final = 600.0
_CONFLICTS: Final = frozenset({408, 409})
_SERVER_ERROR: Final = 500
_LIMITS: Final = RetryLimits(pause_s=0.5, longest_asked_s=120.0, attempts=3)
"""For requests that may be repeated; a longer pause is left to the caller."""
_ONCE: Final = RetryLimits(pause_s=0.0, attempts=1)
_OF_ANSWERS: Final = frozenset({"id", "object", "data", "choices"})
"""Keys of which every API answer has at least one; a failed job also has an `error`."""
_KEEPS_METHOD: Final = frozenset({307, 308})
_READS: Final = frozenset({"GET", "HEAD"})


class _Request(Protocol):
    """The part of a request that this module reads."""

    @property
    def method(self) -> str: ...


class _Response(Protocol):
    """The part of a redirect response that this module reads."""

    @property
    def status_code(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def request(self) -> _Request: ...
    @property
    def has_redirect_location(self) -> bool: ...


class _Raw(Protocol):
    """The part of a raw answer that is read."""

    @property
    def text(self) -> str: ...
    @property
    def content(self) -> bytes: ...
    @property
    def headers(self) -> Mapping[str, str]: ...


class Client:
    """One server. Raises `Rejected` and `OutcomeUnknown`, nothing else."""

    def __init__(self, settings: Settings, waiting: Waiting | None = None) -> None:
        self._secret = settings.api_key
        self._way = Way(url=shown_url(settings.base_url), proxy=_proxy(settings.base_url))
        self._waiting = waiting or Waiting()
        # All retries happen in this class, which announces long waits.
        self._sdk = openai.OpenAI(
            api_key=settings.api_key,
            base_url=settings.base_url,
            organization=settings.organization,
            project=settings.project,
            timeout=_CALL_S,
            max_retries=0,
            http_client=openai.DefaultHttpxClient(
                event_hooks={"response": [self._refuse_redirect]}
            ),
        )
        # The SDK would fill in what is None from variables, even from blank ones.
        self._sdk.organization = settings.organization
        self._sdk.project = settings.project
        # Nobody closes a backend; its connections end with it.
        weakref.finalize(self, self._sdk.close)
        self._long = self._sdk.with_options(timeout=_LONG_S)

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
            lambda: self._sdk.fine_tuning.jobs.with_raw_response.create(
                model=str(body["model"]), training_file=str(body["training_file"]), extra_body=rest
            ),
            _ONCE,
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
        size_mb = path.stat().st_size / 1e6
        reason = f"{self._way.host} to receive {size_mb:,.0f} MB"
        with path.open("rb") as file, self._waiting.during(reason):
            raw = self._ask(
                lambda: self._long.files.with_raw_response.create(
                    file=(name, file), purpose="fine-tune"
                ),
                _ONCE,
            )
        return self._parsed(raw)

    def upload_in_parts(self, path: Path) -> Body:
        """Upload a file under its own name, in parts of 64 MB; return the file object."""
        reason = f"{self._way.host} to receive {path.stat().st_size / 1e6:,.0f} MB in parts"
        try:
            with self._waiting.during(reason):
                upload = self._long.with_options(max_retries=2).uploads.upload_file_chunked(
                    file=path, mime_type="application/jsonl", purpose="fine-tune"
                )
        except openai.APIError as error:
            raise self._failure(error) from error
        except ValueError as error:
            raise OutcomeUnknown(f"the answer is no JSON: {self._clean(error)}") from error
        if not isinstance(upload, openai.BaseModel) or upload.file is None:
            raise OutcomeUnknown("the upload ended without a file")
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
            lambda: self._long.chat.completions.with_raw_response.create(**_chat_arguments(body)),
            _ONCE,
        )
        return self._parsed(raw), raw.headers

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
                self._require_no_page(raw)
                if raw.text.lstrip().startswith("{"):
                    yield _as_piece(self._parsed(raw))
                    return
            with raw.parse() as stream:
                for chunk in stream:
                    # Anything else that a server sends is not a piece of an answer.
                    if isinstance(chunk, openai.BaseModel):
                        yield chunk.model_dump(mode="json", warnings=False)
        except openai.APIError as error:
            raise self._failure(error) from error
        except ValueError as error:
            raise OutcomeUnknown(
                f"a piece of the answer is no JSON: {self._clean(error)}"
            ) from error

    def repeat(
        self,
        call: Callable[[], _Answer],
        limits: RetryLimits,
        reason: Callable[[Failure], str],
        *,
        may_pass: Callable[[Failure], bool] = may_pass,
        over: threading.Event | None = None,
    ) -> _Answer:
        """Repeat a call after failures that may pass. See `retrying.repeat`."""
        return repeat(call, limits, self._waiting, reason, may_pass=may_pass, over=over)

    def _json(self, call: Callable[[], _Raw], limits: RetryLimits = _LIMITS) -> Body:
        with self._waiting.during(f"an answer of {self._way.host}"):
            return self._parsed(self._ask(call, limits))

    def _ask(self, call: Callable[[], _Raw], limits: RetryLimits = _LIMITS) -> _Raw:
        """Call the SDK; repeat the call after failures that may pass."""

        def ask() -> _Raw:
            try:
                return call()
            except openai.APIError as error:
                raise self._failure(error) from error

        return self.repeat(ask, limits, self._pause_reason)

    def _pause_reason(self, failure: Failure) -> str:
        if isinstance(failure, OutcomeUnknown):
            return f"{self._way.host}, which did not answer: {failure.reason}"
        return f"{self._way.host}, which limits how often it may be asked"

    def _parsed(self, raw: _Raw) -> Body:
        self._require_no_page(raw)
        try:
            parsed = json.loads(raw.content)
        except (ValueError, RecursionError):
            said = self._clean(raw.text[:80]) or "it is empty"
            raise OutcomeUnknown(f"the answer is no JSON: {said}", cause=NOT_THE_API) from None
        if not isinstance(parsed, dict):
            raise OutcomeUnknown("the answer is no JSON object", cause=NOT_THE_API)
        error = parsed.get("error")
        if error and not parsed.keys() & _OF_ANSWERS:
            # Some gateways report an error with a success status.
            raise OutcomeUnknown(f"an error with HTTP 200: {self._clean(said_in(error) or error)}")
        return parsed

    def _require_no_page(self, raw: _Raw) -> None:
        """Refuse a page for browsers that came instead of the API's answer.

        Raises:
            OutcomeUnknown: The answer is a page; what the server did is not known.
        """
        kind = raw.headers.get("content-type", "")
        if is_page(kind, raw.text):
            cause = page_cause(200, raw.headers, raw.text, self._way)
            raise OutcomeUnknown(f"a web page: {self._snippet(raw.text)}", cause=cause)

    def _refuse_redirect(self, response: _Response) -> None:
        """Refuse a redirect to another host, or a redirect that turns a change into a read.

        Raises:
            Rejected: The server did not process the request.
            OutcomeUnknown: The server may have made a change, and its answer is at another address.
        """
        if not response.has_redirect_location:
            return
        status, method = response.status_code, response.request.method
        location = response.headers["location"]
        elsewhere = host_of(location) not in {"", self._way.host}
        if not elsewhere and (method in _READS or status in _KEEPS_METHOD):
            return
        cause = redirect_cause(self._way, location)
        if elsewhere or status in _KEEPS_METHOD:
            raise Rejected(status, "a redirect", is_api_error=False).because(cause)
        raise OutcomeUnknown(f"a redirect (HTTP {status})", may_pass=False, cause=cause)

    def _failure(self, error: openai.APIError) -> Rejected | OutcomeUnknown:
        if not isinstance(error, openai.APIStatusError):
            found = connection_failure(error, self._way)
            # A stream may carry an error of the API in one of its pieces.
            said = self._clean(error.message) if type(error) is openai.APIError else found.reason
            return OutcomeUnknown(said, sent=found.sent, may_pass=found.may_pass, cause=found.cause)
        status, text = error.status_code, error.response.text
        headers = error.response.headers
        body = error.body if isinstance(error.body, Mapping) else {}
        page = is_page(headers.get("content-type", ""), text) and "message" not in body
        said = self._snippet(text) if page else self._clean(said_in(error.body) or text)
        said = said or "no message"
        retry_after_s = retry_after(headers)
        cause = page_cause(status, headers, text, self._way) if page else None
        if status == NETWORK_LOGIN:
            cause = page_cause(status, headers, text, self._way)
        elif status in _CONFLICTS or status >= _SERVER_ERROR:
            return OutcomeUnknown(f"HTTP {status}: {said}", retry_after_s=retry_after_s)
        return Rejected(
            status,
            said,
            code=self._clean(body.get("code") or ""),
            param=self._clean(body.get("param") or ""),
            retry_after_s=retry_after_s,
            is_api_error="message" in body,
        ).because(cause)

    def _snippet(self, page: str) -> str:
        return self._clean(snippet(page.replace(self._secret, "***")))

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


def _as_piece(answer: Body) -> Body:
    """Return a whole answer as the only piece of a stream."""
    choices = answer.get("choices")
    found = choices if isinstance(choices, list) else []
    pieces = [{**one, "delta": one.get("message")} for one in found if isinstance(one, Mapping)]
    return {**answer, "choices": pieces}


def _proxy(url: str) -> str | None:
    """Return host and port of the proxy for requests to a URL."""
    host = host_of(url)
    if not host or proxy_bypass(host):
        return None
    proxies = getproxies()
    proxy = proxies.get(url.partition(":")[0].lower()) or proxies.get("all")
    return None if proxy is None else proxy.rpartition("@")[2].rpartition("//")[2].rstrip("/")
