"""The folder of an export: whole or absent, and never over a person's files."""

import json
import signal
import subprocess
import sys

import pytest

from controller.errors import FtctlError
from controller.weights.folder import (
    MANIFEST,
    export_folder,
    files_of,
    read_manifest,
    require_replaceable,
)
from tests.children import ROOT


def write(target, state, **files):
    with export_folder(target, state) as folder:
        for name, text in files.items():
            (folder / name).write_text(text)
        (folder / MANIFEST).write_text(json.dumps({"files": files_of(folder)}))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_an_export_replaces_an_earlier_one_whole(tmp_path):
    target = tmp_path / "out" / "cafe"
    write(target, tmp_path / "state", a="1", b="2")
    assert names(target) == ["a", "b", MANIFEST]
    assert read_manifest(target)["files"]["a"] == {
        "bytes": 1,
        "sha256": "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b",
    }
    write(target, tmp_path / "state", c="3")
    assert names(target) == ["c", MANIFEST]
    assert names(target.parent) == ["cafe"]


def test_an_error_leaves_the_earlier_one(tmp_path):
    target = tmp_path / "cafe"
    write(target, tmp_path / "state", a="1")
    with pytest.raises(TypeError):
        write(target, tmp_path / "state", b="half", c=None)
    assert names(target) == ["a", MANIFEST]
    assert names(tmp_path) == ["cafe", "state"]


def test_what_a_killed_process_left_is_repaired(tmp_path):
    target = tmp_path / "cafe"
    write(target, tmp_path / "state", a="1")
    # It died after it had moved the earlier export away.
    target.rename(tmp_path / ".cafe.former")
    (tmp_path / ".cafe.partial").mkdir()
    (tmp_path / ".cafe.partial" / "half").write_text("")
    write(target, tmp_path / "state", b="2")
    assert names(target) == ["b", MANIFEST]
    assert names(tmp_path) == ["cafe", "state"]


def test_an_empty_folder_is_taken(tmp_path):
    target = tmp_path / "cafe"
    target.mkdir()
    write(target, tmp_path / "state", a="1")
    assert names(target) == ["a", MANIFEST]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda target: target.write_text("mine"), "exists and is not a folder"),
        (lambda target: target.symlink_to("elsewhere"), "exists and is not a folder"),
        (lambda target: _folder(target, notes="mine"), "is not an export of ftctl"),
        (lambda target: _folder(target, **{MANIFEST: "{"}), "is not an export of ftctl"),
        (
            lambda target: _folder(
                target, a="1", notes="mine", **{MANIFEST: '{"files": {"a": {}}}'}
            ),
            "has files that ftctl did not export: notes",
        ),
    ],
)
def test_a_persons_files_are_left_alone(tmp_path, make, words):
    target = tmp_path / "cafe"
    make(target)
    with pytest.raises(FtctlError, match=words) as caught:
        require_replaceable(target)
    assert "--out" in caught.value.remedy
    with pytest.raises(FtctlError), export_folder(target, tmp_path / "state"):
        pytest.fail("it was begun")


def test_a_former_export_comes_back_if_the_new_one_fails(tmp_path):
    target = tmp_path / "cafe"
    write(target, tmp_path / "state", a="1")
    target.rename(tmp_path / ".cafe.former")
    with pytest.raises(TypeError):
        write(target, tmp_path / "state", b=None)
    assert names(target) == ["a", MANIFEST]


def test_two_processes_do_not_write_one_export(tmp_path):
    target, state = tmp_path / "cafe", tmp_path / "state"
    with (
        export_folder(target, state) as folder,
        pytest.raises(FtctlError, match="another ftctl is exporting"),
        export_folder(target, state),
    ):
        pytest.fail("it was begun twice")
    assert not folder.exists()
    assert names(target) == []


def _folder(target, **files):
    target.mkdir()
    for name, text in files.items():
        (target / name).write_text(text)


KILLED = """
import os, signal, sys
from pathlib import Path
from controller.weights.folder import export_folder
with export_folder(Path(sys.argv[1]), Path(sys.argv[2])) as folder:
    (folder / "weights").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_leaves_the_earlier_export_and_frees_its_place(tmp_path):
    target, state = tmp_path / "cafe", tmp_path / "state"
    write(target, state, a="1")
    command = [sys.executable, "-c", KILLED, target, state]
    ended = subprocess.run(command, cwd=ROOT, timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert names(target) == ["a", MANIFEST]
    assert (tmp_path / ".cafe.partial/weights").exists()
    write(target, state, b="2")
    assert names(target) == ["b", MANIFEST]
    assert names(tmp_path) == ["cafe", "state"]
