"""What a person types to install more, for every way in which ftctl can have been installed."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from backends.installation import install_command, package_command, requirement

ROOT = Path(__file__).parents[2]
# As pip writes them; only addresses and digests are shortened.
RECORDS = {
    "an index": (None, "'ftctl[local]'"),
    "a checkout, editable": (
        '{"dir_info": {"editable": true}, "url": "file:///srv/ftctl"}',
        "-e '/srv/ftctl[local]'",
    ),
    "a checkout, copied": (
        '{"dir_info": {}, "url": "file:///srv/ftctl"}',
        "'/srv/ftctl[local]'",
    ),
    "a folder with a blank and Korean letters": (
        '{"dir_info": {"editable": true}, "url": "file:///srv/my%20models/%EB%AA%A8%EB%8D%B8"}',
        "-e '/srv/my models/모델[local]'",
    ),
    "a git repository": (
        (
            '{"url": "https://example.com/team/ftctl.git", "vcs_info": {"commit_id": "2b744461f26e", '
            '"vcs": "git"}}'
        ),
        "'ftctl[local] @ git+https://example.com/team/ftctl.git'",
    ),
    "a tag of a git repository": (
        (
            '{"url": "ssh://git@example.com/team/ftctl.git", "vcs_info": {"commit_id": '
            '"2b744461f26e", "requested_revision": "v0.1.0", "vcs": "git"}}'
        ),
        "'ftctl[local] @ git+ssh://git@example.com/team/ftctl.git@v0.1.0'",
    ),
    "a folder of a git repository": (
        (
            '{"subdirectory": "tools/ftctl", "url": "https://example.com/team/all.git", "vcs_info": '
            '{"commit_id": "2b744461f26e", "vcs": "git"}}'
        ),
        "'ftctl[local] @ git+https://example.com/team/all.git#subdirectory=tools/ftctl'",
    ),
    "a wheel": (
        (
            '{"archive_info": {"hash": "sha256=bf46", "hashes": {"sha256": "bf46"}}, "url": '
            '"https://example.com/ftctl-0.1.0-py3-none-any.whl"}'
        ),
        "'ftctl[local] @ https://example.com/ftctl-0.1.0-py3-none-any.whl'",
    ),
}


@pytest.mark.parametrize("origin", RECORDS)
def test_the_requirement_leads_to_where_ftctl_came_from(origin):
    record, expected = RECORDS[origin]
    assert requirement(record, "local") == expected


@pytest.fixture
def python(tmp_path):
    """Run a program with a Python whose folder, packages and commands are those of a test."""
    packages = tmp_path / "packages"
    packages.mkdir()
    folder = tmp_path / "environment with a blank" / "bin"
    folder.mkdir(parents=True)
    executable = folder / "python"
    executable.symlink_to(sys.executable)

    def run(*path: Path, modules=("pip",), record=None) -> str:
        for module in modules:
            (packages / f"{module}.py").touch()
        metadata = packages / "ftctl-0.1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text("Metadata-Version: 2.4\nName: ftctl\nVersion: 0.1.0\n")
        if record is not None:
            (metadata / "direct_url.json").write_text(record)
        program = (
            "import sys; sys.path[:0] = sys.argv[1:]; "
            f"sys.executable = {str(executable)!r}\n"
            "from backends.installation import install_command, package_command\n"
            "print(install_command('data')); print(package_command('s3fs'))"
        )
        return subprocess.run(
            [executable, "-S", "-c", program, str(packages), str(ROOT)],
            env={"PATH": os.pathsep.join(map(str, path))},
            capture_output=True,
            text=True,
            check=True,
            timeout=110,
        ).stdout

    run.folder = folder
    return run


def program(folder: Path, name: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("#!/bin/sh\n")
    (folder / name).chmod(0o755)
    return folder


def test_pip_alone_where_it_belongs_to_this_python(python):
    said = python(program(python.folder, "pip"))
    assert said == "pip install 'ftctl[data]'\npip install s3fs\n"


def test_the_python_is_named_where_pip_means_another(python, tmp_path):
    other = program(tmp_path / "other", "pip")
    said = python(other, python.folder, record=RECORDS["a checkout, editable"][0])
    named = shlex.quote(str(python.folder / "python"))
    assert said == (f"{named} -m pip install -e '/srv/ftctl[data]'\n{named} -m pip install s3fs\n")


def test_uv_where_the_environment_has_no_pip(python, tmp_path):
    tools = program(program(tmp_path / "tools", "pip"), "uv")
    named = shlex.quote(str(python.folder / "python"))
    said = python(tools, modules=())
    assert said == (
        f"uv pip install --python {named} 'ftctl[data]'\nuv pip install --python {named} s3fs\n"
    )


def test_this_very_ftctl_is_named_by_its_own_record():
    """The record that the installer of this test environment wrote is one of the known kinds."""
    assert install_command("local").split(" install ")[1].count("[local]") == 1
    assert package_command("s3fs").endswith(" install s3fs")
