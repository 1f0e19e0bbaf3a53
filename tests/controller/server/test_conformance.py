"""Requests and answers of a whole life against the official description of the protocol."""

import json

import httpx2
import openai
import pytest

from tests.controller.server.serve_helpers import BASE, TOKEN, lines, serving, until, upload
from tests.openai_api.description import description, errors, named


class Recorder(httpx2.BaseTransport):
    """Keeps every request and answer that goes through."""

    def __init__(self):
        self.inner = httpx2.HTTPTransport()
        self.seen = []

    def close(self):
        self.inner.close()

    def handle_request(self, request):
        body = b"" if "multipart" in request.headers.get("content-type", "") else request.read()
        answer = self.inner.handle_request(request)
        answer.read()
        self.seen.append((request, body, answer))
        return answer


def operation(request):
    """Return what the description says of an address."""
    path = request.url.path.removeprefix("/v1")
    parts = path.strip("/").split("/")
    for template, operations in description()["paths"].items():
        names = template.strip("/").split("/")
        fits = zip(names, parts, strict=False)
        if len(names) == len(parts) and all(n == p or n.startswith("{") for n, p in fits):
            return operations.get(request.method.lower())
    return None


def problems(request, body, answer):
    found = operation(request)
    place = f"{request.method} {request.url.path}"
    if found is None:
        return [f"{place}: not described"]
    if answer.status_code >= 400:
        return [f"{place}: {one}" for one in errors(answer.json(), named("ErrorResponse"))]
    said = []
    contents = found.get("requestBody", {}).get("content", {})
    if body and "application/json" in contents:
        schema = contents["application/json"]["schema"]
        said += errors(json.loads(body), schema)
    known = {one["name"] for one in found.get("parameters", []) if one.get("in") == "query"}
    said += [f"query {key}" for key in request.url.params if key.partition("[")[0] not in known]
    if not request.url.path.endswith("/content"):
        schema = found["responses"]["200"]["content"]["application/json"]["schema"]
        said += errors(answer.json(), schema)
    return [f"{place}: {one}" for one in said]


def live(client):
    """Do everything that the description knows, well and badly."""
    file, large = upload(client), upload(client, lines(20_000))
    client.files.retrieve(file.id)
    client.files.content(file.id)
    one = client.uploads.create(
        filename="a.jsonl", bytes=len(lines()), mime_type="text/plain", purpose="fine-tune"
    )
    part = client.uploads.parts.create(one.id, data=lines())
    done = client.uploads.complete(one.id, part_ids=[part.id])
    client.uploads.cancel(
        client.uploads.create(filename="b", bytes=1, mime_type="text/plain", purpose="fine-tune").id
    )
    jobs = client.fine_tuning.jobs
    job = jobs.create(
        model=BASE,
        training_file=file.id,
        validation_file=done.file.id,
        suffix="s",
        seed=1,
        metadata={"a": "b"},
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": "auto"}}},
    )
    bare = jobs.create(model=BASE, training_file=upload(client, b"x").id)
    made = until(client, job.id, "succeeded").fine_tuned_model
    until(client, bare.id, "failed")
    [*jobs.list(limit=1, metadata={"a": "b"})]
    [*jobs.list_events(job.id, limit=3)]
    jobs.list_events(bare.id)
    jobs.checkpoints.list(job.id, limit=10)
    jobs.checkpoints.list(bare.id)
    # Large, so that it is not over before it is cancelled.
    waiting = jobs.create(model=BASE, training_file=large.id)
    jobs.cancel(waiting.id)
    [*client.files.list(purpose="fine-tune", order="asc", limit=2)]
    client.files.list(purpose="vision")
    client.models.list()
    client.models.retrieve(made)
    client.models.delete(made)
    client.files.delete(file.id)
    for call in (client.files.retrieve, jobs.retrieve, jobs.cancel, client.models.retrieve):
        with pytest.raises(openai.NotFoundError):
            call("nope")
    with pytest.raises(openai.BadRequestError):
        jobs.create(model="nope", training_file=file.id)


def test_a_whole_life_conforms(tmp_path):
    recorder = Recorder()
    with serving(tmp_path) as server:
        http = httpx2.Client(transport=recorder)
        client = openai.OpenAI(api_key=TOKEN, base_url=server.url, max_retries=0, http_client=http)
        with client:
            live(client)
    found = [one for seen in recorder.seen for one in problems(*seen)]
    assert found == []
    assert len(recorder.seen) > 30


def test_the_check_would_notice():
    request = httpx2.Request("GET", "http://127.0.0.1/v1/files/file-1?up=1")
    answer = httpx2.Response(200, json={"id": 1, "object": "file"})
    found = problems(request, b"", answer)
    assert any("1 is not of type 'string'" in one for one in found)
    assert any("query up" in one for one in found)
