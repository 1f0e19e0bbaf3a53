"""The settings of a Ray cluster: every mistake at once, and where a token may go."""

import pytest

from backends.contract.errors import CredentialsMissing, InvalidInput
from backends.launchers.launcher import LauncherError
from backends.launchers.table import known_launchers, open_launcher
from tests.backends.launchers.ray.conftest import launcher_of

TOKEN = "ray-secret-0123456789"
HEAD = "http://head:8265"


def refused(**settings):
    with pytest.raises(InvalidInput) as caught:
        open_launcher("ray", settings, {})
    return {problem.field: problem for problem in caught.value.problems}


def test_it_is_known_by_name():
    assert "ray" in known_launchers()


def test_every_mistake_is_told_at_once():
    problems = refused(
        address="head:8265",
        tokenenv="A",
        cpus=0,
        resources={"GPU": 8, "CPU": 2, "disk": 1},
        runtime_env={"env_vars": {}},
        timeout_s="30",
    )

    assert {field: str(problem) for field, problem in problems.items()} == {
        "address": "address: must be an http or https address, not the text 'head:8265'\n"
        "    Write the address of the dashboard: `address: http://head:8265`.",
        "tokenenv": "tokenenv: is not a known key\n    Did you mean `token_env`?",
        "cpus": "cpus: must be more than 0, not 0",
        "resources.CPU": "resources.CPU: is a resource of Ray's own\n"
        "    Write `cpus: N` beside `resources`.",
        "runtime_env.env_vars": "runtime_env.env_vars: is set by ftctl\n"
        "    Write `environment: {NAME: VALUE}` in the machine's settings.",
        "timeout_s": "timeout_s: must be a number, not the text '30'\n"
        "    Write the number without quotes.",
    }


def test_the_address_is_needed():
    assert refused()["address"].message == "is missing"


@pytest.mark.parametrize(
    "address",
    [
        *("head:8265", "ftp://head:8265", "http://", "http://head:port", "http://head:99999"),
        *(
            "http://he ad",
            "http://head\n",
            "https://head?x=1",
            "https://head/#top",
            "",
            "ray://head:10001",
            "http://.com:8265",
            "http://a..b:8265",
            f"http://{'a' * 64}:8265",
            "http://head:0",
            "http://head:99999",
        ),
    ],
)
def test_what_is_no_address_is_refused(address):
    assert list(refused(address=address)) == ["address"]


def test_a_password_in_the_address_is_refused_and_not_repeated():
    problem = refused(address="https://me:hunter2@head")["address"]

    assert "hunter2" not in str(problem)
    assert "token_env" in problem.remedy


@pytest.mark.parametrize(
    "address",
    ["http://head:8265", "http://10.0.0.7:8265", "http://127.0.0.1.evil.example"],
)
def test_a_token_never_goes_over_an_open_line(address):
    problem = refused(address=address, token_env="RAY_TOKEN")["token_env"]

    assert "unencrypted" in problem.message
    assert "ssh -L" in problem.remedy


@pytest.mark.parametrize(
    "address",
    ["https://head", "http://127.0.0.1:8265", "http://localhost:8265", "http://[::1]:8265"],
)
def test_a_token_goes_over_tls_or_stays_on_this_machine(address):
    open_launcher("ray", {"address": address, "token_env": "RAY_TOKEN"}, {"RAY_TOKEN": TOKEN})


def test_a_cluster_with_a_token_gets_it(head):
    head.token = TOKEN
    launcher = launcher_of(head, {"RAY_TOKEN": TOKEN}, token_env="RAY_TOKEN")

    assert launcher.find(["ftctl-a"]) == {}
    assert head.logins == [f"Bearer {TOKEN}"]


def test_a_token_that_is_not_set_is_named_at_the_first_request(head):
    launcher = launcher_of(head, token_env="RAY_TOKEN")

    with pytest.raises(LauncherError, match="the variable RAY_TOKEN is not set") as caught:
        launcher.find(["ftctl-a"])

    assert isinstance(caught.value, CredentialsMissing)
    assert head.requests == []


@pytest.mark.parametrize("token", ["", "  ", "two words", "line\nend", "토큰"])
def test_what_is_no_token_is_not_sent(head, token):
    launcher = launcher_of(head, {"RAY_TOKEN": token}, token_env="RAY_TOKEN")

    with pytest.raises(CredentialsMissing, match="RAY_TOKEN"):
        launcher.capacity()

    assert head.requests == []
