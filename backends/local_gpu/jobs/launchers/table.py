"""The launchers, by name. To add a launcher, write its module and name it here."""

from typing import Final, TypedDict

from backends.local_gpu.jobs.launchers.launcher import Launcher
from backends.local_gpu.jobs.launchers.local_process import LocalProcess


class Launchers(TypedDict):
    """Names of the launchers. mypy requires a launcher for each."""

    local_process: Launcher


LAUNCHERS: Final[Launchers] = {"local_process": LocalProcess()}
