"""Inspectors of a tiny base model, by folder, method and hyperparameters."""

import pytest


@pytest.fixture
def open_inspector(backend, base_folder, tmp_path):
    """Return a function from a folder and hyperparameters to an inspector."""

    def make(folder=None, method="supervised", **raw):
        base = backend.resolve_base_model(str(folder or base_folder), None, tmp_path)
        return backend.inspector(base, method, backend.parse_hyperparameters(method, raw))

    return make


@pytest.fixture
def pretraining(open_inspector):
    """Return a function from hyperparameters to an inspector of plain texts."""
    return lambda **raw: open_inspector(method="continued-pretraining", **raw)
