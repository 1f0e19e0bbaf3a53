"""Secrets, addresses, intervals and the log: what the service says, and what it never says."""

import io
import json
import logging
import os
import subprocess
from functools import partial
from urllib.parse import quote

import pytest

from controller.errors import FtctlError
from controller.watch.clone.git import git_environment
from controller.watch.clone.upstream import (
    checked_folder,
    checked_url,
    github_repository,
    token_for,
)
from controller.watch.health import Health, HealthBoard
from controller.watch.interval import parse_interval
from controller.watch.log import LOGGER, EventLog
from controller.watch.mask import masked, secrets_of


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fatal: unable to access 'https://me:t0ken@host/a.git/'", "'https://***@host/a.git/'"),
        ("https://ghp_secret@github.com/a/b", "https://***@github.com/a/b"),
        ("https://me:p@ss@host:8443/a?b=c", "https://***@host:8443/a?b=c"),
        ("two https://a:b@c/d ssh://git@e/f 둘", "two https://***@c/d ssh://***@e/f 둘"),
        ("mail minji@example.com about git@host:a/b", "mail minji@example.com about git@host:a/b"),
    ],
)
def test_urls_lose_user_and_password(text, said):
    assert masked(text).endswith(said)


def test_values_of_secret_variables_are_masked_wherever_they_stand():
    secrets = secrets_of({"HOSTED_KEY": "sk-0123456789", "MODE": "production", "X_TOKEN": "short"})
    assert secrets == ("sk-0123456789",)
    assert masked('{"error": "Bearer sk-0123456789"}', secrets) == '{"error": "Bearer ***"}'


SECRETS = {
    "APP_PRIVATE_KEY": "-----BEGIN KEY-----\nMIIEvQ  IBADANBg\n\tkqhkiG9w0BAQ==\n-----END KEY-----\n",
    "DB_PASSWORD": 'pa"ss\\wörd\t12',
    "GITHUB_PAT": "github_pat_0123456789",
    "REGISTRY_AUTH": "bWU6c2VjcmV0cw==/+",
    "PGPASSWORD": "geheim@&%비밀번호입니다",
}
"""Values that a line of the log, JSON, Python and an address each write in another way."""


def test_secrets_that_are_written_otherwise_in_a_line_stay_out_of_log_and_health():
    secrets = secrets_of({**SECRETS, "GIT_AUTHOR_NAME": "Kim Minji", "PATH": "/usr/local/bin"})
    board = HealthBoard(Health(started_s=0.0), partial(masked, secrets=secrets))
    board.begin_outage("pass", f"said {' and '.join(SECRETS.values())}", 0.0)
    told = [json.dumps(board.now.json(), ensure_ascii=False)]
    for as_json in (True, False):
        stream = io.StringIO()
        log = EventLog(as_json=as_json, secrets=secrets, stream=stream)
        for value in SECRETS.values():
            log.fail("fails", f"Kim Minji in /usr/local/bin: {value}", what=value, more=[value])
            log.fail("fails", f"{value!r} {json.dumps(value)} https://host/?key={quote(value)}")
            log.fail("fails", f"{value}".replace("\n", "\r\n"))
            try:
                int(value)
            except ValueError:
                LOGGER.exception("a defect")
        told.append(stream.getvalue())
        assert stream.getvalue().count("Kim Minji in /usr/local/bin: ***") == len(SECRETS)
    parts = [
        "MIIEvQ",
        "kqhkiG",
        "ss\\",
        "rd\\t12",
        "wörd",
        "0123456",
        "bWU6c2",
        "geheim",
        "비밀번호",
    ]
    assert [part for part in parts for text in told if part in text] == []
    LOGGER.handlers = [logging.NullHandler()]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("60s", 60), ("5m", 300), ("1.5h", 5400), ("90", 90), (" 0.2s ", 0.2)],
)
def test_intervals(text, seconds):
    assert parse_interval(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1s", "1d", "1e3", "nan", "0", "0.05s", "\uff19s"])
def test_what_is_not_an_interval_is_refused(text):
    with pytest.raises(ValueError, match="is "):
        parse_interval(text)


OWN = {"GITHUB_SERVER_URL": "https://git.acme.example:8443"}


@pytest.mark.parametrize(
    ("url", "environment", "found"),
    [
        ("https://github.com/acme/models.git", {}, ("https://api.github.com", "acme/models")),
        ("git@github.com:acme/models.git", {}, ("https://api.github.com", "acme/models")),
        ("ssh://git@github.com:22/acme/models", {}, ("https://api.github.com", "acme/models")),
        (
            "https://git.acme.example:8443/acme/models",
            OWN,
            ("https://git.acme.example:8443/api/v3", "acme/models"),
        ),
        ("https://github.com/acme/models", OWN, ("https://api.github.com", "acme/models")),
        ("https://gitlab.com/acme/models", {}, None),
        ("https://github.com.evil.example/acme/models", {}, None),
        ("https://github.com/acme", {}, None),
        ("/srv/git/models.git", {}, None),
        ("file:///srv/github.com/acme/models.git", {}, None),
    ],
)
def test_repositories_at_github(url, environment, found):
    repository = github_repository(url, environment)
    assert (repository and (repository.api, repository.name)) == found


def test_a_token_goes_to_its_own_server_alone_and_never_unprotected():
    github, elsewhere = "https://github.com/a/b", "https://git.example/a/b"
    tokens = {"GITHUB_TOKEN": "hub", "FTCTL_GIT_TOKEN": "any"}
    assert token_for(github, {"GITHUB_TOKEN": "hub"}) == "hub"
    assert token_for(elsewhere, {"GITHUB_TOKEN": "hub"}) == ""
    assert token_for(github, tokens) == token_for(elsewhere, tokens) == "any"
    with pytest.raises(FtctlError, match="unprotected"):
        token_for("http://git.example/a/b", tokens)
    environment = git_environment(
        {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "a.b", "GIT_CONFIG_VALUE_0": "c"},
        elsewhere,
        "s3cret\\n",
    )
    filled = subprocess.run(
        ["git", "credential", "fill"],
        input=b"protocol=https\nhost=git.example\npath=a/b\n\n",
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **environment},
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert b"username=x-access-token\npassword=s3cret\\n\n" in filled.stdout
    others = subprocess.run(
        ["git", "credential", "fill"],
        input=b"protocol=https\nhost=other.example\n\n",
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **environment},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (others.returncode, others.stdout) == (128, b"")


@pytest.mark.parametrize(
    "url", ["https://me:t0ken@host/a", "https://t0ken@host/a", "ssh://g:p@h/a"]
)
def test_an_address_with_a_secret_is_refused_and_not_repeated(url):
    with pytest.raises(FtctlError, match="holds a user or a password") as found:
        checked_url(url)
    assert "t0ken" not in str(found.value)
    assert "g:p" not in str(found.value)
    assert checked_url("ssh://git@host/a") == "ssh://git@host/a"


def test_folders_stay_in_the_repository():
    assert checked_folder("./ml/models/") == "ml/models"
    assert checked_folder(".") == checked_folder("") == ""
    for folder in ("..", "ml/../..", "/srv", ".git/x"):
        with pytest.raises(FtctlError):
            checked_folder(folder)


def test_a_line_of_the_log_is_one_line_in_either_form():
    for as_json in (True, False):
        stream = io.StringIO()
        log = EventLog(as_json=as_json, secrets=("s3cret-value",), stream=stream)
        log.fail(
            "fails", "no column 모델\n    Add it.\n\x1b[2Jhttps://a:b@c/d s3cret-value", name="모델"
        )
        [line] = stream.getvalue().splitlines()
        assert (
            "no column 모델\\n" if as_json else "error   fails: no column 모델. Add it. "
        ) in line
        assert "\x1b" not in line
        assert "s3cret" not in line
        assert "https://***@c/d" in line
    log = EventLog(as_json=True, secrets=("s3cret-value",), stream=stream)
    try:
        int("s3cret-value")
    except ValueError:
        LOGGER.exception("a defect")
    told = json.loads(stream.getvalue().splitlines()[-1])
    assert (told["level"], told["type"], told["message"]) == ("error", "defect", "a defect")
    assert "invalid literal for int() with base 10: '***'" in told["traceback"]
    LOGGER.handlers = [logging.NullHandler()]
