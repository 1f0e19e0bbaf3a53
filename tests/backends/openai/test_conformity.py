"""Requests, and the emulator's answers, conform to the official description."""

import json
from itertools import product

import pytest

from backends.contract.errors import BackendError
from backends.openai.examples.example_checks import check_example
from backends.openai.limits import PUBLISHED
from tests.openai_api.description import errors, named

PATHS = {
    ("POST", "/fine_tuning/jobs"): ("CreateFineTuningJobRequest", "FineTuningJob"),
    ("GET", "/fine_tuning/jobs"): (None, "ListPaginatedFineTuningJobsResponse"),
    ("GET", "/fine_tuning/jobs/{}"): (None, "FineTuningJob"),
    ("POST", "/fine_tuning/jobs/{}/cancel"): (None, "FineTuningJob"),
    ("GET", "/fine_tuning/jobs/{}/events"): (None, "ListFineTuningJobEventsResponse"),
    ("GET", "/fine_tuning/jobs/{}/checkpoints"): (None, "ListFineTuningJobCheckpointsResponse"),
    ("GET", "/files"): (None, "ListFilesResponse"),
    ("POST", "/files"): (None, "OpenAIFile"),
    ("GET", "/models/{}"): (None, "Model"),
}
QUERIES = {
    "/fine_tuning/jobs": {"after", "limit", "metadata"},
    "/files": {"purpose", "limit", "order", "after"},
}


def check(name, value):
    found = errors(value, named(name))
    assert not found, (name, found, value)


@pytest.fixture
def watched(server):
    """Check every request of a test, and every answer."""
    seen = set()
    route = server.route

    def checked(method, path, query, body):
        status, answer = route(method, path, query, body)
        parts = path.strip("/").split("/")
        shape = path
        if parts[0] in {"files", "models"} and len(parts) > 1:
            shape = f"/{parts[0]}/{{}}" + "".join(f"/{p}" for p in parts[2:])
        elif parts[0] == "fine_tuning" and len(parts) > 2:
            shape = "/fine_tuning/jobs/{}" + "".join(f"/{p}" for p in parts[3:])
        asked, answered = PATHS.get((method, shape), (None, None))
        seen.add((method, shape))
        if asked is not None:
            check(asked, body)
        if method == "GET" and shape in QUERIES:
            assert {key.partition("[")[0] for key in query} <= QUERIES[shape]
        if answered is not None and status == 200:
            check(answered, json.loads(json.dumps(_strict(answer))))
        return status, answer

    server.route = checked
    return seen


def _strict(answer):
    """Leave out what real answers have and the description does not allow."""
    if isinstance(answer, dict) and answer.get("error") == {}:
        return answer | {"error": None}
    if isinstance(answer, dict) and isinstance(answer.get("data"), list):
        return answer | {"data": [_strict(one) for one in answer["data"]]}
    return answer


@pytest.mark.parametrize("method", ["supervised", "dpo", "reinforcement"])
def test_a_whole_life_conforms(server, backend, make_request, watched, method):
    grader = {
        "type": "string_check",
        "name": "same",
        "input": "{{ sample.output_text }}",
        "reference": "x",
        "operation": "eq",
    }
    raw = {"learning_rate_multiplier": 1.5, "n_epochs": 2}
    settings = backend.parse_hyperparameters(
        method, raw | ({"grader": grader} if method == "reinforcement" else {})
    )

    job = backend.submit(make_request(method=method, hyperparameters=settings))
    server.events[job.id] = []
    backend.observe([job.id])
    backend.observe([f"ftjob-{number}" for number in range(5)])
    list(backend.events(job.id))
    backend.find_jobs([job.fingerprint])
    file = server.add_file("result.csv", 5, "fine-tune-results", b"step\n1\n")
    server.finish(job.id, result_files=[file["id"]])
    backend.observe([job.id])
    backend.cancel(job.id)

    assert {path for path in PATHS if path[1] != "/fine_tuning/jobs/{}/cancel"} <= watched


FUNCTION = {"name": "hours", "arguments": "{}"}
CALL = {"id": "call_1", "type": "function", "function": FUNCTION}
ABSENT = object()
ANSWERS = {
    "content": [ABSENT, None, "9", 7, [], [{"type": "text", "text": "9"}], [{"type": "text"}]],
    "refusal": [ABSENT, None, "no", 7],
    "name": [ABSENT, "bot", 7],
    "weight": [ABSENT, 0, 1, 2, True, "1", None],
    "tool_calls": [ABSENT, [CALL], [CALL | {"id": 1}], [CALL | {"function": {}}], [7], None],
    "function_call": [ABSENT, None, FUNCTION, {"name": "hours"}, "hours"],
}
"""Values of each key of an answer, right ones and wrong ones."""


def test_every_answer_that_passes_is_an_answer_of_the_description():
    passed = 0
    for values in product(*ANSWERS.values()):
        given = dict(zip(ANSWERS, values, strict=True))
        answer = {key: value for key, value in given.items() if value is not ABSENT}
        messages = [{"role": "user", "content": "?"}, {"role": "assistant", **answer}]
        try:
            check_example("supervised", {"messages": messages}, PUBLISHED["openai"])
        except BackendError:
            continue
        check("FineTuneChatCompletionRequestAssistantMessage", messages[1])
        passed += 1
    assert passed > 200
