"""A lockfile or `.env` that leads elsewhere, and plug-ins that fail, under commands that plan."""

import os

import pytest

pytestmark = pytest.mark.usefixtures("installed")
TYPED = pytest.mark.parametrize(
    "typed", [["plan"], ["apply", "-y"], ["reconcile"], ["status"], ["retry", "faq"]], ids=" ".join
)


@TYPED
@pytest.mark.parametrize("kind", ["pipe", "link", "device"])
def test_a_lockfile_that_is_no_plain_file_of_the_repository_is_refused(shell, typed, kind):
    shell.declare()
    secret = shell.root.parent / "secret"
    secret.write_text('{"aws_key": "hunter2"')
    path = shell.root / "finetunes/ftctl.lock"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero" if kind == "device" else secret)
    code, text = shell(*typed)
    assert code == 1
    assert text.startswith("finetunes/ftctl.lock: ")
    assert "aws" not in text


def test_an_env_file_that_leads_out_is_refused(shell, monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    shell.declare(backend="openai", base="gpt-4.1-mini-2025-04-14")
    (shell.root.parent / "secret").write_text("OPENAI_API_KEY=hunter2\n")
    (shell.root / ".env").symlink_to("../secret")
    code, text = shell("apply", "-y")
    assert code == 1
    assert ".env leaves the repository through a link" in text
