"""Tell if the merge that is checked out changes anything of the fine-tunes, without a package.

FOLDER          the folder with finetunes/, from here
OUT             the folder for plan.md, which says so where nothing is changed
GITHUB_OUTPUT   `any=true` or `any=false`; `true` where it cannot be told
"""

import os
import re
import subprocess
import sys
from pathlib import Path, PurePosixPath

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from api import output

NOTHING = (
    "<!-- ftctl:plan -->\n<!-- ftctl:nothing -->\n### ftctl plan\n\n"
    "Nothing of this pull request concerns fine-tunes.\n"
)
_ELSEWHERE = re.compile(rb"(?:\.\./)+[^\s'\",\[\]{}*?#]*")
"""A path that leads out of `finetunes/`, up to what may stand for other characters."""
LIMIT = 1 << 20


def changed(folder: Path) -> "list[str] | None":
    """Return the files that the merge changes, from the top; None if its base is not here."""
    command = [
        "git",
        "-C",
        str(folder),
        "diff",
        "--name-only",
        "--no-renames",
        "-z",
        "HEAD^1",
        "HEAD",
    ]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        return None
    return [os.fsdecode(name) for name in done.stdout.split(b"\0") if name]


def watched(folder: Path, prefix: str) -> "list[str]":
    """Return what a change of begins with, if it concerns fine-tunes."""
    found = [f"{prefix}finetunes/", f"{prefix}ftctl.yaml", ".github/workflows/fine-tunes"]
    for path in sorted((folder / "finetunes").glob("*.y*ml")):
        if path.is_symlink() or not path.is_file():
            continue
        with path.open("rb") as file:
            text = file.read(LIMIT)
        for written in _ELSEWHERE.findall(text):
            joined = PurePosixPath(f"{prefix}finetunes", os.fsdecode(written))
            found.append(os.path.normpath(joined))
    return found


def main() -> None:
    """Look, and write the answer."""
    folder = Path(os.environ["FOLDER"])
    top = ["git", "-C", str(folder), "rev-parse", "--show-prefix"]
    prefix = subprocess.run(top, capture_output=True, check=True).stdout.rstrip(b"\n")
    files = changed(folder)
    starts = tuple(watched(folder, os.fsdecode(prefix)))
    concerns = files is None or any(name.startswith(starts) for name in files)
    output(any=str(concerns).lower())
    if concerns:
        sys.stdout.write("Fine-tunes are concerned.\n")
        return
    out = Path(os.environ["OUT"])
    out.mkdir(parents=True, exist_ok=True)
    (out / "plan.md").write_text(NOTHING, encoding="utf-8")
    sys.stdout.write("Nothing concerns fine-tunes: nothing is installed, nothing is planned.\n")


if __name__ == "__main__":
    main()
