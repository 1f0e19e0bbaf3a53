"""The launchers, by name. To add a launcher, write its module and name it here."""

from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Final, TypeAlias

from backends.contract.errors import InvalidInput, Problem
from backends.contract.inspector import Json
from backends.did_you_mean import did_you_mean, use_one_of
from backends.excerpt import excerpt
from backends.launchers.launcher import Launcher

Create: TypeAlias = Callable[[Mapping[str, Json], Mapping[str, str]], Launcher]
"""Returns the launcher of a machine, from the machine's settings and the environment."""

GROUP: Final = "ftctl.launchers"
MANUAL: Final = "manual"
"""Name of the launcher whose jobs somebody else starts."""
BUILT_IN: Final[Mapping[str, str]] = {
    MANUAL: "backends.launchers.manual:create",
    "ray": "backends.launchers.ray.jobs:create",
    "slurm": "backends.launchers.slurm.slurm:create",
}


def known_launchers() -> tuple[str, ...]:
    """Return the names that a machine may use, sorted."""
    return tuple(sorted({*BUILT_IN, *(entry.name for entry in entry_points(group=GROUP))}))


def open_launcher(
    name: str, settings: Mapping[str, Json], environment: Mapping[str, str]
) -> Launcher:
    """Return the launcher of a machine. Nothing is asked of its scheduler.

    Args:
        name: One of `known_launchers`.
        settings: The machine's settings that are the launcher's own, and its `runs` where that is a
            folder.
        environment: The variables that settings may name, such as one with a token.

    Raises:
        InvalidInput: No launcher has that name, or the settings have problems; `field` is a key.
    """
    create: Create = _entry(name).load()
    return create(settings, environment)


def _entry(name: str) -> EntryPoint:
    if name in BUILT_IN:
        return EntryPoint(name=name, value=BUILT_IN[name], group=GROUP)
    for entry in entry_points(group=GROUP, name=name):
        return entry
    known = known_launchers()
    problem = Problem(
        field="launcher",
        message=f"no launcher is called {excerpt(name)}",
        remedy=did_you_mean(name, known) or use_one_of(known),
    )
    raise InvalidInput([problem])
