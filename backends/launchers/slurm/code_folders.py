"""Code that a job brings along: unpacked once into a folder that all nodes share."""

import base64
import hashlib
from pathlib import Path
from typing import Final

from backends.launchers.launcher import LauncherError
from backends.launchers.slurm.commands import Commands

_DIGITS: Final = 16
_UNPACK: Final = """\
[ -d "$1" ] && exit 0
new="$1.$$"
trap 'rm -rf "$new"' EXIT
mkdir -p "$new/code" && base64 -d >"$new/zip" && python3 -m zipfile -e "$new/zip" "$new/code" || exit
mv -T "$new/code" "$1" || [ -d "$1" ]
"""
"""The folder appears complete, or not at all, also if two unpack it at once."""


def unpack(commands: Commands, code: Path, folder: str) -> str:
    """Unpack a zip file where Slurm is, unless it is there already; return its folder.

    Args:
        commands: Runs commands there.
        code: The file, on this machine.
        folder: Folder there that all nodes share.

    Raises:
        LauncherError: It cannot be unpacked.
    """
    content = code.read_bytes()
    target = f"{folder}/code-{hashlib.sha256(content).hexdigest()[:_DIGITS]}"
    text = base64.encodebytes(content).decode()
    answer = commands.run(["bash", "-c", _UNPACK, "bash", target], text)
    if answer.status != 0:
        raise LauncherError(
            f"ftctl's own code cannot be unpacked on {commands.place}: {answer.words}",
            "Install ftctl there, and write `runtime: {venv: FOLDER}`.",
        )
    return target
