"""Which trackers are declared, and which of them are servers."""

import shutil
import subprocess

import pytest

from controller.errors import InvalidInput
from controller.project.project import commit_page
from controller.spec.settings import load_settings
from controller.track.targets import targets_of


def declared(tmp_path, text: str):
    (tmp_path / "ftctl.yaml").write_text(text)
    return load_settings(tmp_path).tracking


@pytest.mark.parametrize(
    ("text", "environment", "expected"),
    [
        ("tensorboard: {folder: runs}", {}, {"tensorboard": False}),
        ("trackio: {project: cafe}", {}, {"trackio": False}),
        ("wandb: {project: cafe}", {}, {"wandb": True}),
        ("wandb: {project: cafe}", {"WANDB_MODE": "offline"}, {"wandb": False}),
        ("mlflow: {experiment: cafe}", {}, {"mlflow": False}),
        ("mlflow: {experiment: cafe}", {"MLFLOW_TRACKING_URI": "http://m:5000"}, {"mlflow": True}),
        ("mlflow: {experiment: c, tracking_uri: 'http://m:5000'}", {}, {"mlflow": True}),
        ("mlflow: {experiment: c, tracking_uri: databricks}", {}, {"mlflow": True}),
        ("mlflow: {experiment: c, tracking_uri: 'databricks://p'}", {}, {"mlflow": True}),
        ("mlflow: {experiment: c, tracking_uri: 'postgresql://db/m'}", {}, {"mlflow": True}),
        ("mlflow: {experiment: c, tracking_uri: 'sqlite:///m.db'}", {}, {"mlflow": False}),
        ("mlflow: {experiment: c, tracking_uri: ./mlruns}", {}, {"mlflow": False}),
    ],
)
def test_servers(tmp_path, text, environment, expected):
    trackers = declared(tmp_path, f"tracking: {{{text}}}")
    assert {one.tracker: one.is_server for one in targets_of(trackers, environment)} == expected


def test_nothing_is_declared_without_the_section(tmp_path):
    assert list(targets_of(load_settings(tmp_path).tracking, {"WANDB_API_KEY": "k"})) == []


@pytest.mark.parametrize(
    ("text", "field", "message"),
    [
        ("wandb: {}", "tracking.wandb.project", "missing"),
        ("wandb: {project: a, api_key: k}", "tracking.wandb.api_key", "known key"),
        ("neptune: {project: a}", "tracking.neptune", "known key"),
        ("mlflow: {experiment: a, tracking_uri: 'https://u:p@h'}", "tracking.mlflow", "password"),
    ],
)
def test_mistakes_are_named(tmp_path, text, field, message):
    with pytest.raises(InvalidInput) as raised:
        declared(tmp_path, f"tracking: {{{text}}}")
    (problem,) = raised.value.problems
    assert problem.field.startswith(field)
    assert message in problem.message
    assert "u:p" not in str(problem)
    assert problem.remedy


@pytest.mark.parametrize(
    ("remote", "page"),
    [
        ("https://github.com/acme/models.git", "https://github.com/acme/models/commit/0123abc"),
        ("https://me:token@github.com/acme/m", "https://github.com/acme/m/commit/0123abc"),
        ("git@github.com:acme/models.git", "https://github.com/acme/models/commit/0123abc"),
        ("ssh://git@gitlab.acme.io:2222/a/b.git", "https://gitlab.acme.io/a/b/commit/0123abc"),
        ("/srv/git/models.git", None),
        ("file:///srv/git/models.git", None),
    ],
)
def test_the_page_of_a_commit(tmp_path, remote, page):
    program = shutil.which("git")
    if program is None:
        pytest.skip("git is not installed")

    def git(*arguments: str) -> None:
        subprocess.run([program, "-C", str(tmp_path), *arguments], check=True, timeout=60)

    git("init", "-q")
    assert commit_page(tmp_path, "0123abc") is None
    git("remote", "add", "origin", remote)
    assert commit_page(tmp_path, "0123abc") == page
    assert commit_page(tmp_path, "0123abc-dirty") is None
