"""One recorded conversation for each kind: what is sent, and what comes of the answers."""

import json

import pytest

from backends.contract.completions import Prompt, Sampling
from backends.contract.errors import ModelMissing
from backends.contract.jobs import JobState
from backends.openai.profiles.profile import PROFILES
from tests.asking import complete
from tests.backends.openai.servers.fault_server import Fault
from tests.backends.openai.servers.fault_table import CREATE, UPLOAD
from tests.backends.openai.servers.servers_by_kind import SETTINGS, changes_for, server_of

PROMPT = Prompt(messages=[{"role": "user", "content": "?"}])


@pytest.fixture(params=PROFILES)
def kind(request):
    return request.param


@pytest.fixture
def server(kind):
    started = server_of(kind)
    yield started
    started.close()


def written(server, seen):
    """Return the requests since `seen` as lines, bodies in order of their keys."""
    lines = []
    for method, path, query, body in server.requests[seen:]:
        filters = "&".join(f"{key}={value}" for key, value in sorted(query.items()))
        lines.append(f"{method} {path}{'?' if filters else ''}{filters}")
        if body and server.place(method, path) != UPLOAD:
            lines += json.dumps(body, ensure_ascii=False, indent=1, sort_keys=True).splitlines()
    return lines


def test_a_whole_life(server, open_backend, make_request, golden, kind):
    own = {}
    backend = open_backend(kind=kind, deployments=own, **SETTINGS.get(kind, {}))
    request = make_request(**changes_for(kind, backend.parse_hyperparameters))

    job = backend.submit(request)
    lines = ["# submit", *written(server, 0)]
    backend = open_backend(kind=kind, deployments=own, **SETTINGS.get(kind, {}))
    seen = len(server.requests)
    assert backend.find_jobs([request.fingerprint])[request.fingerprint][0].id == job.id
    lines += ["", "# find", *written(server, seen)]
    profile = PROFILES[kind]
    server.succeed(job.id)
    seen = len(server.requests)
    ended = backend.observe([job.id])[job.id]
    assert ended.state is JobState.SUCCEEDED
    facts = dict(ended.result.facts)
    seconds = facts.pop("seconds")
    # What is known about the model and its base is asked in any order.
    lines += ["", "# observe", *sorted(written(server, seen)), ""]
    lines += [f"model {ended.result.model_id}"]
    lines += json.dumps(facts, ensure_ascii=False, indent=1, sort_keys=True).splitlines()
    assert seconds == 60.0

    model = ended.result.model_id
    seen = len(server.requests)
    if profile.deploy is None:
        answers = complete(backend, request.base_model, [model], [PROMPT], Sampling(max_tokens=1))
    else:
        server.models.pop(model, None)
        with pytest.raises(ModelMissing) as caught:
            complete(backend, request.base_model, [model], [PROMPT], Sampling(max_tokens=1))
        lines += ["", "# not deployed", *caught.value.remedy.splitlines()]
        server.models["deployed"] = {"id": "deployed", "object": "model", "created": 1}
        own[model] = "deployed"
        seen = len(server.requests)
        answers = complete(backend, request.base_model, [model], [PROMPT], Sampling(max_tokens=1))
    assert answers
    lines += ["", "# answer", *written(server, seen)]
    golden(f"openai/conversation-{kind}.txt", "\n".join(lines))


@pytest.mark.parametrize("kind", ["crusoe", "nebius"], indirect=True)
def test_a_job_is_open_until_a_checkpoint_names_its_model(server, open_backend, make_request, kind):
    backend = open_backend(kind=kind)
    request = make_request(**changes_for(kind, backend.parse_hyperparameters))
    job = backend.submit(request)
    server.succeed(job.id)
    path = f"/fine_tuning/jobs/{job.id}/checkpoints"

    server.put_fault("GET", path, Fault("404"), Fault("body", body={"data": []}))
    states = [open_backend(kind=kind).observe([job.id])[job.id].state for _ in range(3)]

    assert states == [JobState.RUNNING, JobState.RUNNING, JobState.SUCCEEDED]
    assert open_backend(kind=kind).submit(request).id == job.id
    assert len(server.trainings) == 1


@pytest.mark.parametrize("kind", ["nebius"], indirect=True)
def test_progress_comes_from_the_job_where_it_tells(server, open_backend, make_request, kind):
    backend = open_backend(kind=kind)
    job = backend.submit(make_request(**changes_for(kind, backend.parse_hyperparameters)))
    server.jobs[job.id] |= {"status": "running", "trained_steps": 2}

    progress = backend.observe([job.id])[job.id].progress

    assert (progress.step, progress.total_steps) == (2, 6)


@pytest.mark.parametrize("kind", ["crusoe", "nebius"], indirect=True)
def test_the_curve_comes_from_checkpoints(server, open_backend, make_request, kind):
    backend = open_backend(kind=kind)
    job = backend.submit(make_request(**changes_for(kind, backend.parse_hyperparameters)))
    server.succeed(job.id)

    assert [(one.step, one.held_out_loss) for one in backend.curve(job.id)] == [
        (3, 2 / 3),
        (6, 2 / 6),
    ]


VALUES = {"whole": 64, "number": 0.25, "flag": None, "choice": None}


def other_value(own):
    """Return a value of a setting that is not its default."""
    if own.type == "flag":
        return not own.default
    if own.type == "choice":
        return own.choices[-1]
    value = VALUES[own.type]
    return type(value)(min(own.most or value, max(value, own.least or value)))


@pytest.mark.parametrize("kind", ["azure", "crusoe", "fireworks", "nebius"], indirect=True)
def test_every_setting_of_a_kind_is_sent(server, open_backend, make_request, kind):
    backend = open_backend(kind=kind, **SETTINGS.get(kind, {}))
    wanted = {name: other_value(own) for name, own in PROFILES[kind].settings.items()}
    parsed = backend.parse_hyperparameters("supervised", wanted)
    assert parsed.items() >= wanted.items()

    changes = changes_for(kind, backend.parse_hyperparameters) | {"hyperparameters": parsed}
    backend.submit(make_request(**changes))

    (sent,) = [
        body for method, path, _, body in server.requests if server.place(method, path) == CREATE
    ]
    nested = sent.get("method", {}).get("supervised", {}).get("hyperparameters", {})
    found = {**sent, **nested, **sent.get("hyperparameters", {})}
    names = {name: own.sent_as or name for name, own in PROFILES[kind].settings.items()}
    assert {name: found.get(names[name]) for name in wanted} == wanted
