"""The command line over a backend with hooks and faults, in git."""

from tests.controller.run.distrust.conftest import shell

__all__ = ["shell"]
