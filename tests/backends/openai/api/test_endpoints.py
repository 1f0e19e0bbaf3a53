"""Which server, with which key; and that importing the backend needs no SDK."""

import subprocess
import sys
from pathlib import Path

import pytest

from backends.contract.backend import Endpoint
from backends.contract.deployments import DeploySettings
from backends.contract.errors import BackendError, BaseModelMissing
from backends.installation import install_command
from backends.openai.api.endpoints import (
    base_url,
    deployment_settings,
    is_loopback,
    is_official,
    settings,
)
from backends.openai.backend import OpenAIBackend, create

ROOT = Path(__file__).parents[4]
SECRET = "sk-secret-value"


def test_a_blank_base_url_counts_as_unset(tmp_path):
    endpoint = Endpoint(name="default", env_file=tmp_path / ".env")
    assert base_url(endpoint, {"OPENAI_BASE_URL": " "}) == "https://api.openai.com/v1"

    (tmp_path / ".env").write_text("OPENAI_BASE_URL=http://127.0.0.1:8000/v1\n")
    assert base_url(endpoint, {"OPENAI_BASE_URL": ""}) == "http://127.0.0.1:8000/v1"
    assert base_url(endpoint, {"OPENAI_BASE_URL": "http://b/v1"}) == "http://b/v1"
    named = Endpoint(name="own", base_url="http://c/v1", env_file=tmp_path / ".env")
    assert base_url(named, {"OPENAI_BASE_URL": "http://b/v1"}) == "http://c/v1"


def test_the_env_file_counts_where_the_environment_is_silent(tmp_path):
    (tmp_path / ".env").write_text(
        f'AZURE_KEY="{SECRET}"\nOPENAI_ORG_ID=org-1\nOPENAI_PROJECT_ID=${{HOME}}\n'
    )
    endpoint = Endpoint(name="azure", api_key_env="AZURE_KEY", env_file=tmp_path / ".env")

    found = settings(endpoint, {"OPENAI_ORG_ID": "org-2"})

    assert (found.api_key, found.organization, found.project) == (SECRET, "org-2", "${HOME}")
    assert SECRET not in repr(found)


@pytest.mark.parametrize(
    "url",
    [
        "api.openai.com",
        "ftp://x/v1",
        "http://",
        "http://[::1/v1",
        "http://:80/v1",
        "http://host:abc/v1",
        "http://host:99999/v1",
        "http://host:0/v1",
        "http://.com/v1",
        "http://a..b/v1",
        f"https://{'a' * 64}.com/v1",
        "https://api openai.com/v1",
        "https://api.openai.com /v1",
        "https://ho\nst/v1",
        "https://host/v1\n",
        "https://host\x00/v1",
        "https://host/v1\u202e",
    ],
)
def test_an_address_that_no_request_can_be_sent_to_is_an_error(url):
    with pytest.raises(BackendError, match="is not the address of a server"):
        base_url(Endpoint(name="default", base_url=url), {})
    deploying = Endpoint(
        name="x", kind="nebius", api_key_env="KEY", deploy=DeploySettings(base_url=url)
    )
    with pytest.raises(BackendError, match="is not the address of a server"):
        deployment_settings(deploying, {"KEY": "k"})


@pytest.mark.parametrize(
    "url",
    [
        "http://host:65535/v1",
        "https://host./v1",
        "https://한국.kr/v1",
        "http://[fe80::1%25eth0]:8000/v1",
        "https://user:pw@host/a b/v1?key=1",
    ],
)
def test_an_unusual_address_is_one(url):
    assert base_url(Endpoint(name="default", base_url=url), {}) == url


@pytest.mark.parametrize("name", ["한국", "a\nb", "a\r\nX-Evil: 1", " org-1", "org-1\t", "a\x00"])
@pytest.mark.parametrize("key", ["organization", "project"])
def test_a_name_that_no_header_can_carry_is_refused(key, name, tmp_path):
    endpoint = Endpoint(name="x", base_url="http://127.0.0.1:9/v1", **{key: name})
    backend = OpenAIBackend(tmp_path, endpoint, environment={"OPENAI_API_KEY": "k"})

    with pytest.raises(BackendError) as caught:
        backend.find_jobs(["ft1:x"])

    assert caught.value.message.startswith(f"endpoint x: {key} ")
    assert "cannot be sent in a request" in caught.value.message
    assert caught.value.message.isprintable()


def test_names_with_blanks_inside_are_sent():
    endpoint = Endpoint(name="x", organization="My Company", project="p-1")
    found = settings(endpoint, {"OPENAI_API_KEY": "k"})
    assert (found.organization, found.project) == ("My Company", "p-1")


def test_an_address_is_never_shown_with_its_password(tmp_path):
    for url in ("user:pw-1@host/v1", "https://user:pw-1@127.0.0.1:9/v1?key=pw-1"):
        backend = OpenAIBackend(
            tmp_path, Endpoint(name="x", base_url=url), environment={"OPENAI_API_KEY": "k"}
        )
        with pytest.raises(BackendError) as caught:
            backend.observe(["ftjob-1"])
        assert "pw-1" not in f"{caught.value.message}{caught.value.remedy}"


def test_a_missing_key_names_the_variable(tmp_path):
    endpoint = Endpoint(name="azure", api_key_env="AZURE_KEY", base_url="http://127.0.0.1:9/v1")
    backend = OpenAIBackend(tmp_path, endpoint, environment={"OPENAI_API_KEY": "x"})

    with pytest.raises(BackendError, match="AZURE_KEY is not set"):
        backend.observe(["ftjob-1"])


@pytest.mark.parametrize(
    ("url", "near", "official"),
    [
        ("http://127.0.0.1:8000/v1", True, False),
        ("http://[::1]:8000/v1", True, False),
        ("http://localhost/v1", True, False),
        ("https://api.openai.com/v1", False, True),
        ("https://eu.api.openai.com/v1", False, True),
        ("https://api.openai.com.evil.example/v1", False, False),
        ("http://127.0.0.1.evil.example/v1", False, False),
    ],
)
def test_where_a_server_is(url, near, official, tmp_path):
    assert (is_loopback(url), is_official(url)) == (near, official)
    found = OpenAIBackend(tmp_path, Endpoint(name="x", base_url=url), environment={}).capabilities()
    assert (found.remote, found.paid) == (not near, not near)


def test_identity_is_the_model_alone(tmp_path):
    backend = create(tmp_path, Endpoint(name="x", base_url="http://a/v1"))

    found = backend.resolve_base_model("gpt-4.1-2025-04-14", None, tmp_path)

    assert (found.identity, found.revision) == ("model:gpt-4.1-2025-04-14", None)
    for model, revision in (("./folder", None), ("gpt-4o", "abc"), (" ", None)):
        with pytest.raises(BaseModelMissing):
            backend.resolve_base_model(model, revision, tmp_path)


def test_importing_and_checking_need_no_sdk(tmp_path):
    program = """
import sys
for name in ("openai", "dotenv", "bpe_openai", "tenacity"):
    sys.modules[name] = None
from pathlib import Path
from backends.contract.backend import Endpoint
from backends.contract.deployments import DeploySettings
from backends.contract.errors import BackendError
from backends.openai.backend import OpenAIBackend
backend = OpenAIBackend(Path(sys.argv[1]), Endpoint(name="x"), environment={"OPENAI_API_KEY": "x"})
backend.parse_hyperparameters("supervised", {})
base = backend.resolve_base_model("gpt-4o", None, Path())
backend.capabilities()
inspector = backend.inspector(base, "supervised", {})
for ask in (lambda: backend.find_jobs(["f"]), lambda: inspector.count([{"messages": []}])):
    try:
        ask()
    except BackendError as error:
        print(error.message, error.remedy, sep=" / ")
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=110,
    )

    assert done.stdout.splitlines() == [
        f"the openai backend needs the package openai / {install_command('openai')}",
        f"counting tokens needs the package bpe_openai / {install_command('openai')}",
    ]


def test_the_key_never_shows(open_backend):
    for backend in (
        open_backend(key=SECRET),
        open_backend(key=SECRET, url="http://127.0.0.1:9/v1"),
    ):
        with pytest.raises(BackendError) as caught:
            backend.find_jobs(["ft1:x"])
        assert SECRET not in f"{caught.value.message} {caught.value.remedy} {caught.value!r}"
