"""The family of errors: what it holds, how each is printed, and with what exit code it ends."""

import ast
import pickle
import re
from importlib import import_module
from pathlib import Path

import pytest

from backends import base
from backends.contract import errors
from backends.contract.errors import (
    BackendError,
    FtctlError,
    HyperparametersInvalid,
    InvalidInput,
    MachineFailed,
    Problem,
    SubmissionUnknown,
)

ROOT = Path(__file__).parents[3]
LINE = re.compile(r"^[ │]*[├└]── (\w+)(?: +exit (\d+))?", re.MULTILINE)


def classes():
    """Return the module of each public error of the family, by its name."""
    bases, modules = {}, {}
    for package in ("backends", "controller"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef):
                    bases[node.name] = {one.id for one in node.bases if isinstance(one, ast.Name)}
                    modules[node.name] = path.relative_to(ROOT).with_suffix("").as_posix()
    found = {"FtctlError"}
    while more := {name for name in bases if bases[name] & found} - found:
        found |= more
    return {name: modules[name].replace("/", ".") for name in found if not name.startswith("_")}


def test_the_tree_in_the_docstring_names_every_error_with_its_exit_code():
    drawn = {name: int(code or 1) for name, code in LINE.findall(errors.__doc__)}
    kinds = {name: getattr(import_module(module), name) for name, module in classes().items()}
    assert drawn | {"FtctlError": 1} == {name: kind.exit_code for name, kind in kinds.items()}


def test_plug_ins_find_the_errors_of_the_contract_in_one_module():
    for name in (*errors.__dict__,):
        kind = getattr(errors, name)
        if isinstance(kind, type) and issubclass(kind, BackendError):
            assert getattr(base, name) is kind


@pytest.mark.parametrize(
    ("error", "text", "line"),
    [
        (BackendError("no key"), "no key", "no key"),
        (BackendError("no key", "Set it."), "no key\n    Set it.", "no key. Set it."),
        (
            FtctlError("is wrong", "Fix it.\nOr not.", file="a.yaml", line=3, field="seed"),
            "a.yaml:3: seed: is wrong\n    Fix it.\n    Or not.",
            "is wrong. Fix it. Or not.",
        ),
        (
            HyperparametersInvalid(
                [Problem(field="r", message="is odd"), Problem(field="b", message="x", remedy="Y.")]
            ),
            "b: x\n    Y.\nr: is odd",
            "b: x. Y.; r: is odd",
        ),
        (
            InvalidInput(
                [
                    Problem(file="b", line=2, message="two"),
                    Problem(file="a.json", row=7, message="one", remedy="Do.\nThis."),
                ]
            ),
            "a.json[7]: one\n    Do.\n    This.\nb:2: two",
            "a.json[7]: one. Do. This.; b:2: two",
        ),
        (MachineFailed("disk full", "Free space."), "disk full\n    Free space.", "disk full. Free space."),
    ],
)  # fmt: skip
def test_an_error_is_printed_with_its_place_and_its_remedy_below(error, text, line):
    assert str(error) == text
    assert error.one_line == line


def test_a_caller_adds_the_place_that_it_knows():
    error = BackendError("is gone", "Bring it back.")
    assert str(error.problem(file="a.yaml", line=2, field="base_model")) == (
        "a.yaml:2: base_model: is gone\n    Bring it back."
    )
    located = FtctlError("is gone", file="a.yaml", line=2)
    assert located.problem(field="seed") == Problem(
        file="a.yaml", line=2, field="seed", message="is gone"
    )


def test_what_is_too_long_to_read_is_shortened_where_it_is_printed():
    error = BackendError("x" * 100_000, "y" * 100_000)
    assert len(str(error)) < 1_000
    assert len(error.one_line) < 1_000


def test_an_error_survives_the_way_out_of_a_process():
    error = SubmissionUnknown("lost", "Run it again.")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.exit_code) == (SubmissionUnknown, str(error), 8)


def test_what_the_machine_refuses_is_an_os_error_too():
    assert isinstance(MachineFailed("disk full"), OSError)
