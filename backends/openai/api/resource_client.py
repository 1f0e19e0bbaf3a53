"""A client of a service with paths of its own, with the calls of the protocol.

The profile says how the service's paths and fields are called. Chat stays as it is.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urljoin

from backends.openai.api.bounded_answers import BOUNDS, AnswerBounds
from backends.openai.api.client import Client
from backends.openai.api.endpoints import Settings
from backends.openai.api.protocol import Body, OutcomeUnknown, Rejected, clean, objects, text_of
from backends.openai.api.resource_bodies import Translator, filled
from backends.openai.api.retry_policy import ONCE
from backends.openai.api.waiting import Waiting
from backends.openai.profiles.profile import profile_of

_TAKEN: Final = "already exists"
"""Part of the message of a service whose ID is taken."""


class ResourceClient(Client):
    """One service with paths of its own. Raises `Rejected` and `OutcomeUnknown`, nothing else."""

    def __init__(
        self,
        settings: Settings,
        waiting: Waiting | None = None,
        bounds: AnswerBounds = BOUNDS,
    ) -> None:
        super().__init__(settings, waiting, bounds)
        profile, account = profile_of(settings.kind), settings.account or ""
        if profile.api is None:
            raise ValueError(f"servers of `kind: {settings.kind}` speak the protocol")
        self._api = profile.api
        self._translator = Translator(api=profile.api, settings=profile.settings, account=account)
        base = settings.base_url.rstrip("/") + "/"
        self._root = urljoin(base, self._api.root.format(account=account))
        self._versions = urljoin(self._root, "../")

    def list_jobs(self, *, limit: int, after: str | None, metadata: Mapping[str, str]) -> Body:
        """Return one page of jobs; the service has no metadata."""
        del metadata
        jobs, token = self._page(self._api.jobs.path, limit, after)
        return _list([self._translator.to_job(job) for job in jobs], token)

    def create_job(self, body: Body) -> Body:
        """Create a job under the ID that its suffix is; sent exactly once.

        Raises:
            OutcomeUnknown: The ID is taken, too: the job may be the same.
        """
        jobs = self._api.jobs
        query = {jobs.query_id: str(body["suffix"])}
        sent = self._translator.job_body(body)
        try:
            made = self.request("POST", self._url(jobs.path), query=query, body=sent, limits=ONCE)
        except Rejected as error:
            if _TAKEN not in error.message.lower():
                raise
            raise OutcomeUnknown(f"HTTP {error.status}: {error.message}") from error
        return self._translator.to_job(made)

    def retrieve_job(self, job_id: str) -> Body:
        """Return one job."""
        job = self.request("GET", self._url(self._api.jobs.path, job_id))
        return self._translator.to_job(job)

    def cancel_job(self, job_id: str) -> Body:
        """Ask a job to stop."""
        return self.request("POST", self._url(self._api.jobs.path, f"{job_id}:cancel"), body={})

    def pause_job(self, job_id: str) -> Body:
        """Refuse to pause a job.

        Raises:
            Rejected: The service has no such call.
        """
        raise Rejected(405, f"a job of this service cannot pause: {clean(job_id)}")

    def resume_job(self, job_id: str) -> Body:
        """Let a paused job continue."""
        return self.request("POST", self._url(self._api.jobs.path, f"{job_id}:resume"), body={})

    def list_events(self, job_id: str, *, limit: int, after: str | None) -> Body:
        """Return no events: the service has none."""
        del job_id, limit, after
        return _list([])

    def list_checkpoints(self, job_id: str) -> Body:
        """Return no checkpoints: the service has none."""
        del job_id
        return _list([])

    def list_files(self, *, limit: int, after: str | None) -> Body:
        """Return one page of the files."""
        files, token = self._page(self._api.files.path, limit, after)
        return _list([self._translator.to_file(file) for file in files], token)

    def files_named(self, name: str, *, limit: int) -> Iterator[Body]:
        """Yield the file of a name, if the service has its bytes; its ID depends on the name."""
        del limit
        try:
            file = self.retrieve_file(self._api.ids.of(name))
        except Rejected as error:
            if not error.is_missing:
                raise
            return
        if file["status"] == "processed":
            yield file

    def retrieve_file(self, file_id: str) -> Body:
        """Return a file's description."""
        return self._translator.to_file(
            self.request("GET", self._url(self._api.files.path, file_id))
        )

    def _has_file(self, file_id: str) -> bool:
        try:
            self.retrieve_file(file_id)
        except Rejected as error:
            if not error.is_missing:
                raise
            return False
        return True

    def delete_file(self, file_id: str) -> Body:
        """Delete a file."""
        return self.request("DELETE", self._url(self._api.files.path, file_id))

    def upload_file(self, path: Path, name: str) -> Body:
        """Create the record of a file and upload its bytes, streaming; again does no harm."""
        files, key = self._api.files, self._api.ids.of(name)
        with path.open("rb") as lines:
            count = sum(1 for line in lines if line.strip())
        values = {"id": key, "filename": name, "lines": str(count)}
        try:
            record = filled(files.sent, values)
            self.request("POST", self._url(files.path), body=record, limits=ONCE)
        except (Rejected, OutcomeUnknown) as error:
            # The record may be there: from this call, or from an earlier upload that broke off.
            if not self._has_file(key):
                raise error from None
        size_mb = path.stat().st_size / 1e6
        reason = f"{self.host} to receive {size_mb:,.0f} MB"
        with path.open("rb") as file, self._waiting.during(reason):
            url = self._url(files.path, f"{key}:upload")
            sent = self.request("POST", url, files={"file": (name, file)}, limits=ONCE)
        if not text_of(sent.get("id")):
            raise OutcomeUnknown("the answer to the upload names no file")
        return self.retrieve_file(key)

    def upload_in_parts(self, path: Path) -> Body:
        """Refuse an upload in parts.

        Raises:
            Rejected: The service has no such call.
        """
        raise Rejected(405, f"this service takes no file in parts: {clean(path.name)}")

    def list_models(self, *, after: str | None) -> Body:
        """Return one page of the account's models."""
        models, token = self._page("models", self._api.paging.most, after)
        return _list([{**model, "id": text_of(model.get("name"))} for model in models], token)

    def retrieve_model(self, model: str) -> Body:
        """Return a model's description."""
        found = self.request("GET", urljoin(self._versions, self._full(model)))
        return {**found, "id": text_of(found.get("name"))}

    def delete_model(self, model: str) -> Body:
        """Delete a model."""
        return self.request("DELETE", urljoin(self._versions, self._full(model)))

    def _full(self, model: str) -> str:
        """Return the full name of a model, which may be in another account."""
        name = model.partition("#")[0]
        return name if "/" in name else self._translator.model_name(name)

    def _url(self, *parts: str) -> str:
        return "/".join((self._root, *parts))

    def _page(self, path: str, limit: int, after: str | None) -> tuple[list[Body], str | None]:
        paging = self._api.paging
        query = {paging.size: str(min(limit, paging.most))}
        if after:
            query[paging.token] = after
        page = self.request("GET", self._url(path), query=query)
        # An empty list may be left out of the answer.
        items = objects({"data": page.get(path, [])})
        return list(items), text_of(page.get(paging.next)) or None


def _list(items: list[Body], token: str | None = None) -> Body:
    return {"object": "list", "data": items, "has_more": token is not None, "next_cursor": token}
