"""The rules of style, kept by a machine: size, docstrings, comments, and what checkers overlook.

Each failure says what to do. A rule is changed here, on purpose, or not at all.
"""

import ast
import io
import re
import shutil
import subprocess
import tokenize
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from tests.architecture.sources import PACKAGES, ROOT, expect_none, functions, shown, sources, tree

MAX_FILE_LINES = 400
MAX_FILES = 15
MAX_FILES_IN = {"controller/cli": 40}  # one file a command
MAX_FUNCTION_LINES = 60
MAX_FUNCTION_LINES_IN = {"backends/local_gpu/training/train.py": 100}


# How often a checker may be told to look away. Lower these when one goes; raise one only with a
# reason that stands beside the comment, and as part of the same change.
AT_MOST = {"noqa": 74, "type: ignore": 6, "pragma: no cover": 0}
ABSOLUTE = ("root", "work", "home/[a-z]+/", "Users", "opt/(?:wheels|pypi)", "tmp/(?!$)[a-z]+_jobs")


def test_files_and_functions_are_short():
    found = []
    for path in sources().values():
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > MAX_FILE_LINES:
            found.append(f"{shown(path)}: {lines} lines, of {MAX_FILE_LINES}: split it")
        limit = MAX_FUNCTION_LINES_IN.get(shown(path), MAX_FUNCTION_LINES)
        for function in functions(path):
            length = function.end_lineno - function.lineno + 1
            if length > limit:
                found.append(f"{shown(path)}: {function.name}: {length} lines, of {limit}")
    expect_none(found)


def test_folders_are_not_crowded():
    counted = Counter(shown(path.parent) for path in sources().values() if path.stem != "__init__")
    expect_none(
        f"{folder}: {files} files, of {MAX_FILES}: make folders by topic"
        for folder, files in counted.items()
        if files > MAX_FILES_IN.get(folder, MAX_FILES)
    )


def test_everything_public_says_what_it_is():
    found = []
    for module, path in sources().items():
        if not ast.get_docstring(tree(path)):
            found.append(f"{module}: the module")
        bodies = [(module, tree(path).body)]
        while bodies:
            owner, body = bodies.pop()
            for node in body:
                if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                    continue
                if node.name.startswith("_"):
                    continue
                if not ast.get_docstring(node):
                    found.append(f"{owner}.{node.name}")
                if isinstance(node, ast.ClassDef):
                    bodies.append((f"{owner}.{node.name}", node.body))
    expect_none(found, "These need a docstring.")


@cache
def comments():
    """Return every comment of our code and its tests."""
    return [
        (path, token.start[0], token.string)
        for folder in (*PACKAGES, "tests", ".github")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for token in tokenize.generate_tokens(io.StringIO(path.read_text("utf-8")).readline)
        if token.type == tokenize.COMMENT
    ]


def test_checkers_are_told_to_look_away_no_more_often():
    counted = Counter(
        what
        for _, _, comment in comments()
        for what in AT_MOST
        if re.search(rf"#.*{what}", comment)
    )
    too_many = {what: counted[what] for what, limit in AT_MOST.items() if counted[what] > limit}
    assert too_many == {}, (
        f"allowed are at most {AT_MOST}. Mend what the checker found; where that is not possible, "
        "raise the number in tests/test_style.py in the same change, and say why."
    )


def test_nothing_is_left_for_later():
    found = [
        f"{shown(path)}:{line}"
        for path, line, comment in comments()
        if re.search(r"\b(TODO|FIXME|XXX|HACK)\b", comment)
    ]
    expect_none(found)


def tracked():
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        [git, "-C", str(ROOT), "ls-files", "-z"],
        capture_output=True,
        text=True,
        check=True,
        timeout=110,
    )
    return [ROOT / name for name in listed.stdout.split("\0") if name]


def test_no_file_names_the_machine_it_was_written_on():
    machine = re.compile(rf"(?<![\w.$}}~/:-])/(?:{'|'.join(ABSOLUTE)})\b/?[\w.]*")
    found = []
    for path in tracked():
        if path.is_symlink() or not path.is_file() or path == Path(__file__):
            continue
        text = path.read_bytes().decode("utf-8", errors="ignore")
        for number, line in enumerate(text.splitlines(), start=1):
            if match := machine.search(line):
                found.append(f"{shown(path)}:{number}: {match[0]}")
    expect_none(found)
