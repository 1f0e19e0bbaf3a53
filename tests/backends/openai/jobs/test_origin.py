"""What a job came from is kept in its metadata, and jobs are found by their fine-tune's name."""

import json

import pytest

from backends.openai.api.client import Client
from backends.openai.api.endpoints import Settings
from backends.openai.jobs.job_listing import JobList, find_jobs_by_name
from backends.openai.jobs.job_matching import origin_of, to_metadata
from tests.backends.openai.servers.emulator import error_body
from tests.backends.openai.servers.fault_server import KEY, Fault

CREATE = ("POST", "/fine_tuning/jobs")
LIST = ("GET", "/fine_tuning/jobs")
ORIGIN = {
    "inputs": {
        "base_model": "카페  base\n",
        "seed": 42,
        "lr": 0.1,
        "limit": None,
        "z": [True, "😀"],
    },
    "datasets": {"train": "sha256:" + "ab" * 32},
}
KEYS = {"ftctl_fingerprint", "ftctl_attempt", "ftctl_name"}


def long_origin(characters):
    """Return an origin whose JSON has so many characters."""
    return {"x": "y" * (characters - len('{"x":""}'))}


@pytest.mark.parametrize("size", [8, 511, 512, 513, 1024, 6143, 6144])
def test_an_origin_is_cut_as_the_protocol_allows(size):
    origin = long_origin(size)

    pairs = to_metadata(origin)

    assert len(pairs) == -(-size // 512) <= 12
    assert all(len(key) <= 64 and len(value) <= 512 for key, value in pairs.items())
    assert origin_of({"metadata": {"ftctl_name": "x", **pairs}}) == origin


def test_an_origin_survives_servers_that_strip_values_and_count_bytes():
    pairs = to_metadata({"words": " a \\ b " * 100, "카페": "é\ud83d"})

    assert all(value.isascii() and value == value.strip() for value in pairs.values())
    assert not any(" " in value for value in pairs.values())
    assert origin_of({"metadata": pairs}) == {"words": " a \\ b " * 100, "카페": "é\ud83d"}


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_an_origin_of_which_a_piece_is_missing_is_not_guessed(lost):
    pairs = to_metadata(long_origin(1500))
    del pairs[f"ftctl_origin_{lost}"]
    assert origin_of({"metadata": pairs}) == {}


@pytest.mark.parametrize(
    "metadata", [None, {}, "x", {"ftctl_origin_0": 7}, {"ftctl_origin_0": "[1]"}]
)
def test_what_is_no_origin_is_empty(metadata):
    assert origin_of({"metadata": metadata}) == {}


def test_an_origin_that_does_not_fit_is_left_out(server, backend, make_request):
    assert to_metadata(long_origin(6145)) == {}

    job = backend.submit(make_request(origin=long_origin(6145)))

    assert job.origin == {}
    assert server.jobs[job.id]["metadata"].keys() == KEYS


def test_the_origin_comes_back_wherever_a_job_does(server, backend, open_backend, make_request):
    request = make_request(origin=ORIGIN)

    submitted = backend.submit(request)

    elsewhere = open_backend()
    assert submitted.origin == ORIGIN
    assert elsewhere.find_jobs([request.fingerprint])[request.fingerprint][0].origin == ORIGIN
    assert elsewhere.observe([submitted.id])[submitted.id].origin == ORIGIN
    assert elsewhere.find_jobs_by_name([request.name])[request.name][0].origin == ORIGIN
    assert len(server.jobs) == 1


def test_the_origin_costs_no_request_and_changes_nothing_else(server, open_backend, make_request):
    sent = []
    for origin in ({}, ORIGIN):
        for kept in (server.requests, server.jobs, server.files):
            kept.clear()
        open_backend().submit(make_request(origin=origin))
        [body] = [one[3] for one in server.requests if one[:2] == CREATE]
        bare = {key: body["metadata"][key] for key in KEYS}
        sent.append(({**body, "metadata": bare}, [one[:3] for one in server.requests]))
    assert sent[0] == sent[1]


@pytest.mark.parametrize(
    "refusal",
    [
        error_body("Too many metadata pairs", "invalid_request", "metadata"),
        error_body("metadata values may have 256 characters"),
        error_body("Bad request"),
    ],
)
def test_a_server_that_refuses_the_origin_gets_the_job_without_it(
    server, backend, make_request, refusal
):
    server.put_fault(*CREATE, Fault("400", body=refusal))

    job = backend.submit(make_request(origin=ORIGIN))

    assert server.jobs[job.id]["metadata"].keys() == KEYS
    assert len(server.jobs) == 1


def test_a_server_that_knows_no_metadata_gets_the_job_without_any(server, backend, make_request):
    unknown = error_body("Unknown parameter: 'metadata'", "unknown_parameter", "metadata")
    server.no_metadata = True
    server.put_fault(*CREATE, Fault("400", body=unknown), Fault("400", body=unknown))

    job = backend.submit(make_request(origin=ORIGIN))

    assert [one[3].get("metadata", {}).keys() for one in server.requests if one[:2] == CREATE] == [
        {*KEYS, "ftctl_origin_0"},
        KEYS,
        set(),
    ]
    assert backend.observe([job.id])[job.id].origin == {}


def test_what_is_refused_for_another_reason_is_not_sent_again(server, backend, make_request):
    body = error_body("The file is too short", "invalid_n_examples", "training_file")
    server.put_fault(*CREATE, Fault("400", body=body), Fault("400", body=body))

    with pytest.raises(Exception, match="too short"):
        backend.submit(make_request(origin=ORIGIN))

    assert len([one for one in server.requests if one[:2] == CREATE]) == 1


def test_every_job_of_a_name_is_found_oldest_first(server, backend, make_request):
    old = backend.submit(make_request(fingerprint="ft1:" + "01" * 32))
    new = backend.submit(make_request(fingerprint="ft1:" + "02" * 32, attempt=2))
    other = backend.submit(make_request(fingerprint="ft1:" + "03" * 32, name="other"))
    # Somebody else's, under the same name; and one of ours whose server lost the name.
    theirs = backend.submit(make_request(fingerprint="ft1:" + "04" * 32))
    del server.jobs[theirs.id]["metadata"]["ftctl_fingerprint"]
    bare = backend.submit(make_request(fingerprint="ft1:" + "05" * 32))
    server.jobs[bare.id]["metadata"] = None
    server.jobs[new.id]["created_at"] = server.jobs[old.id]["created_at"] + 5
    server.requests.clear()

    found = backend.find_jobs_by_name(["cafe-consultant", "other", "nobody"])

    assert {name: [job.id for job in jobs] for name, jobs in found.items()} == {
        "cafe-consultant": [old.id, new.id],
        "other": [other.id],
    }
    assert [(one[:2], one[2]) for one in server.requests] == [(LIST, {"limit": "100"})]
    assert backend.find_jobs_by_name([]) == {}
    assert len(server.requests) == 1


@pytest.fixture
def client(server):
    return Client(Settings(base_url=server.url, api_key=KEY))


def test_a_trusted_server_is_asked_for_the_name(server, client, backend, make_request):
    names = [f"n{number}" for number in range(5)]
    jobs = {
        name: backend.submit(make_request(name=name, fingerprint=f"ft1:{number:064d}")).id
        for number, name in enumerate(names)
    }
    server.requests.clear()

    found = find_jobs_by_name(client, [], names[:2], trusted=True)

    assert {name: list(one) for name, one in found.items()} == {n: [jobs[n]] for n in names[:2]}
    assert [one[2].get("metadata[ftctl_name]") for one in server.requests] == ["n0", "n1"]

    server.requests.clear()
    assert find_jobs_by_name(client, JobList(client, for_s=0.0), names, trusted=True).keys() == set(
        names
    )
    assert len(server.requests) == 1

    server.requests.clear()
    server.ignore_filter = True
    assert find_jobs_by_name(client, [], names[:2], trusted=True).keys() == {"n0", "n1"}
    assert len(server.requests) == 1


def test_json_alone_says_what_an_origin_is():
    pairs = to_metadata(ORIGIN)
    assert json.loads("".join(pairs.values())) == ORIGIN
