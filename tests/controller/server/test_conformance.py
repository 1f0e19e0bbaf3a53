"""Requests and answers of a whole life against the official description of the protocol.

The description is not part of this repository; without it beside the repository nothing is checked.
"""

from pathlib import Path

import httpx2
import jsonschema
import openai
import pytest
import yaml
from serve_helpers import BASE, TOKEN, lines, serving, until, upload

DESCRIPTION = Path(__file__).parents[4] / "shared" / "openai" / "openapi-finetuning.yaml"
pytestmark = pytest.mark.skipif(not DESCRIPTION.exists(), reason="no description of the protocol")


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


def mended(value):
    """Write two of OpenAPI 3.0's words as JSON Schema 2020-12 does; the file mixes both."""
    if isinstance(value, list):
        return [mended(item) for item in value]
    if not isinstance(value, dict):
        return value
    new = {key: mended(item) for key, item in value.items()}
    if new.get("exclusiveMinimum") is True:
        new["exclusiveMinimum"] = new.pop("minimum")
    if new.pop("nullable", False):
        new = {"anyOf": [new, {"type": "null"}]}
    return new


@pytest.fixture(scope="module")
def description():
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return mended(yaml.load(DESCRIPTION.read_text(encoding="utf-8"), Loader=loader))


def operation(description, request):
    """Return what the description says of an address."""
    path = request.url.path.removeprefix("/v1")
    parts = path.strip("/").split("/")
    for template, operations in description["paths"].items():
        names = template.strip("/").split("/")
        fits = zip(names, parts, strict=False)
        if len(names) == len(parts) and all(n == p or n.startswith("{") for n, p in fits):
            return operations.get(request.method.lower())
    return None


def check(description, value, schema):
    whole = {"components": description["components"], **schema}
    errors = jsonschema.Draft202012Validator(whole).iter_errors(value)
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in errors]


def problems(description, request, body, answer):
    found = operation(description, request)
    place = f"{request.method} {request.url.path}"
    if found is None:
        return [f"{place}: not described"]
    if answer.status_code >= 400:
        schema = {"$ref": "#/components/schemas/ErrorResponse"}
        return [f"{place}: {one}" for one in check(description, answer.json(), schema)]
    said = []
    contents = found.get("requestBody", {}).get("content", {})
    if body and "application/json" in contents:
        schema = contents["application/json"]["schema"]
        said += check(description, yaml.safe_load(body), schema)
    known = {one["name"] for one in found.get("parameters", []) if one.get("in") == "query"}
    said += [f"query {key}" for key in request.url.params if key.partition("[")[0] not in known]
    if not request.url.path.endswith("/content"):
        schema = found["responses"]["200"]["content"]["application/json"]["schema"]
        said += check(description, answer.json(), schema)
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


def test_a_whole_life_conforms(tmp_path, description):
    recorder = Recorder()
    with serving(tmp_path) as server:
        http = httpx2.Client(transport=recorder)
        client = openai.OpenAI(api_key=TOKEN, base_url=server.url, max_retries=0, http_client=http)
        with client:
            live(client)
    found = [one for seen in recorder.seen for one in problems(description, *seen)]
    assert found == []
    assert len(recorder.seen) > 30


def test_the_check_would_notice(description):
    request = httpx2.Request("GET", "http://127.0.0.1/v1/files/file-1?up=1")
    answer = httpx2.Response(200, json={"id": 1, "object": "file"})
    found = problems(description, request, b"", answer)
    assert any("1 is not of type 'string'" in one for one in found)
    assert any("query up" in one for one in found)
