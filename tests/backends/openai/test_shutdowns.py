"""Announced ends of models: the server's list, models that are gone, and the shipped table."""

import pytest

from backends.contract.backend import Endpoint
from backends.contract.errors import BackendError, CredentialsMissing
from backends.openai.backend import OpenAIBackend
from backends.openai.prices import read_prices
from tests.backends.openai.servers.fault_server import Fault

BASE = "gpt-4o-mini-2024-07-18"
TUNED = f"ft:{BASE}:acme:triage:AbC"
LIST = ("GET", "/models")


def add(server, *names, **facts):
    for name in names:
        server.models[name] = {"id": name, "object": "model", "created": 1, **facts}


def asked(server):
    return [path for method, path, *_ in server.requests if method == "GET"]


@pytest.mark.parametrize(
    ("own", "base", "date", "wrong"),
    [
        ("2027-01-14", None, "2027-01-14", ""),
        # The model's own date counts before that of its base model, whichever is earlier.
        ("2027-03-01", "2027-01-14", "2027-03-01", ""),
        (None, "2027-01-14", "2027-01-14", ""),
        (None, None, None, ""),
        ("soon", "2027-01-14", "2027-01-14", "'soon'"),
        ("2027-02-30", None, None, "'2027-02-30'"),
        ("20270114", None, None, "'20270114'"),
        # What servers write for a time that is not set.
        ("0001-01-01", "2027-01-14", "2027-01-14", "'0001-01-01'"),
        ("1970-01-01", None, None, "'1970-01-01'"),
        (1800000000, None, None, "'1800000000'"),
        ({"day": "2027-01-14"}, None, None, "\"{'day': '2027-01-14'}\""),
        ("2027-01-14\x1b[2J", None, None, r"'2027-01-14\x1b[2J'"),
    ],
)
def test_a_date_of_the_list(server, backend, own, base, date, wrong):
    add(server, TUNED, shutdown_date=own)
    add(server, BASE, shutdown_date=base)

    found = backend.announced_shutdowns({TUNED: BASE})[TUNED]

    assert (found.date, found.wrong, found.gone) == (date, wrong, False)
    assert found.source == f"shutdown_date of test ({server.url})"


def test_ten_thousand_models_are_one_request(server, backend):
    add(server, *(f"ft:{BASE}:acme:m{n}:x" for n in range(10_000)), shutdown_date="2027-01-14")
    wanted = {f"ft:{BASE}:acme:m{n}:x": BASE for n in (0, 5_000, 9_999)}

    found = backend.announced_shutdowns(wanted)
    again = backend.announced_shutdowns(wanted)

    assert {notice.date for notice in found.values()} == {"2027-01-14"}
    assert again == found
    assert found.keys() == wanted.keys()
    assert asked(server) == ["/models"]


def test_a_list_in_pages_is_read_to_its_end(server, backend):
    model = {"id": TUNED, "shutdown_date": "2027-01-14"}
    first = {"data": [{"id": "other"}, "nonsense", {"id": ["list"]}], "has_more": True}
    first["data"].append({"id": "last"})
    pages = [Fault("body", body=first), Fault("body", body={"data": [model], "has_more": False})]
    server.put_fault(*LIST, *pages)

    assert backend.announced_shutdowns({TUNED: BASE})[TUNED].date == "2027-01-14"
    assert [query for *_, query, _ in server.requests] == [{}, {"after": "last"}]


def test_a_model_that_the_server_does_not_have_is_gone(server, backend):
    add(server, BASE, shutdown_date="2026-10-23")

    found = backend.announced_shutdowns({TUNED: BASE})[TUNED]

    assert (found.gone, found.date) == (True, "2026-10-23")
    assert "does not have it, or not for this key" in found.source
    assert asked(server) == ["/models", f"/models/{TUNED}"]


def test_a_model_that_is_not_listed_and_can_be_asked_for_is_not_gone(server, backend):
    add(server, TUNED, shutdown_date="2027-01-14")
    server.put_fault(*LIST, Fault("body", body={"object": "list", "data": []}))

    found = backend.announced_shutdowns({TUNED: BASE})[TUNED]

    assert (found.gone, found.date) == (False, "2027-01-14")


def test_a_refusal_to_show_a_model_is_no_proof_that_it_is_gone(server, backend):
    server.put_fault("GET", f"/models/{TUNED}", Fault("403"))

    found = backend.announced_shutdowns({TUNED: BASE})[TUNED]

    assert (found.gone, found.date) == (False, None)


def test_other_servers_need_not_list_what_they_serve(server, open_backend):
    found = open_backend(kind="compatible").announced_shutdowns({TUNED: BASE})[TUNED]

    assert (found.gone, found.date) == (False, None)
    assert asked(server) == ["/models"]


@pytest.mark.parametrize("status", ["404", "405"])
def test_a_server_without_a_list_announces_nothing(server, backend, status):
    server.put_fault(*LIST, Fault(status))

    assert backend.announced_shutdowns({TUNED: BASE}) == {}


@pytest.mark.parametrize("fault", [Fault("401"), Fault("html"), Fault("body", body={"data": 7})])
def test_an_answer_that_cannot_be_used_is_an_error(server, backend, fault):
    server.put_fault(*LIST, *[fault] * 3)

    with pytest.raises(BackendError):
        backend.announced_shutdowns({TUNED: BASE})


def official(tmp_path):
    endpoint = Endpoint(name="default", base_url="https://api.openai.com/v1")
    return OpenAIBackend(tmp_path, endpoint, environment={})


def test_the_shipped_table_needs_no_key(tmp_path):
    backend = official(tmp_path)
    other = "ft:gpt-6-luna:acme:x:y"

    found = backend.shipped_shutdowns({TUNED: BASE, BASE: BASE, other: "gpt-6-luna"})

    assert found.keys() == {TUNED, BASE}
    assert found[TUNED].date == "2027-01-14"
    assert found[TUNED].source == f"table of ftctl: {read_prices().shutdown_source}"
    assert "2026-10-14" in found[TUNED].source
    with pytest.raises(CredentialsMissing):
        backend.announced_shutdowns({TUNED: BASE})


def test_the_shipped_table_holds_for_no_other_server(backend):
    assert backend.shipped_shutdowns({TUNED: BASE}) == {}
