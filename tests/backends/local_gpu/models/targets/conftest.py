"""Tiny models of families, made once."""

import pytest

from tests.tiny_models.families import make_family


@pytest.fixture(scope="package")
def family(tmp_path_factory):
    """Return a function that makes a family's model once."""
    folder = tmp_path_factory.mktemp("families")

    def make(name):
        if not (folder / name).exists():
            make_family(name, folder / name)
        return folder / name

    return make
