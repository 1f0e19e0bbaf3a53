"""Limits: each is a number that the server keeps to."""

import ast
from dataclasses import fields
from pathlib import Path

import pytest

from controller.server import limits as module
from controller.server.limits import Limits

SERVER = Path(module.__file__).parent


def test_every_limit_is_kept_somewhere():
    used = {
        node.attr
        for path in SERVER.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value).endswith("limits")
    }
    assert {field.name for field in fields(Limits)} - used == set()


@pytest.mark.parametrize("field", fields(Limits), ids=lambda field: field.name)
def test_every_limit_is_positive_and_names_its_unit(field):
    assert field.default > 0
    if isinstance(field.default, float):
        assert field.name.endswith("_s")


def test_limits_fit_each_other():
    limits = Limits()
    assert limits.json_bytes < limits.file_bytes < limits.upload_bytes
    assert limits.part_bytes < limits.file_bytes
    assert limits.runs <= limits.open_jobs
    assert limits.head_s < limits.pause_s < limits.upload_s
    assert limits.poll_s < limits.sweep_s < limits.engine_idle_s
