"""Run a module of ours without the packages that others import for it and that it never uses.

    python -P -m backends.local_gpu.jobs.run_module MODULE ARGUMENTS

Where they are installed, transformers and accelerate import them for features that nothing here
asks for: 120 MB and more than a second in each training, evaluation and export.
"""

import runpy
import sys
from collections.abc import MutableMapping
from typing import Any, Final

UNUSED: Final = ("datasets", "pandas", "scipy", "sklearn")
"""Packages that count as not installed."""


def main(arguments: list[str]) -> None:
    """Run a module as `python -m MODULE ARGUMENTS` does.

    Args:
        arguments: The module's name, and its arguments.
    """
    # To Python, this is a package that cannot be imported; to `find_spec`, one that is not there.
    modules: MutableMapping[str, Any] = sys.modules
    modules.update(dict.fromkeys(UNUSED))
    sys.argv = arguments
    runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
