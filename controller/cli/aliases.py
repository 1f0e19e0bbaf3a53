"""Aliases of fine-tunes, as commands need them: checked, listed, and looked up."""

from collections.abc import Collection, Mapping

from controller.errors import FtctlError, Problem
from controller.lockfile.model import Lockfile
from controller.lockfile.store import read_lockfile
from controller.project.project import Project
from controller.resolve.aliases import alias_problems
from controller.spec.load import LoadedSpec, all_problems, read_specs
from controller.spec.settings import Settings


def clashing_aliases(
    project: Project, specs: Mapping[str, LoadedSpec], unread: Collection[str], settings: Settings
) -> list[Problem]:
    """Return the problems of aliases that stand for something else already.

    Args:
        project: The repository; its lockfile is read only if a spec has an alias.
        specs: The specs that could be read.
        unread: Names of the others.
        settings: The repository's.

    Raises:
        LockfileInvalid: The lockfile cannot be read.
    """
    if not any(loaded.spec.aliases for loaded in specs.values()):
        return []
    lockfile = read_lockfile(project.root, project.records)
    return all_problems(alias_problems(specs, unread, lockfile, settings.serve.base_models))


def declared_aliases(project: Project) -> dict[str, list[str]]:
    """Return the aliases of each fine-tune that has some and whose spec can be read."""
    specs, _ = read_specs(project.root, project.state / "specs.json")
    return {name: loaded.spec.aliases for name, loaded in specs.items() if loaded.spec.aliases}


def finetune_called(project: Project, lockfile: Lockfile, name: str) -> str:
    """Return the fine-tune that a name or an alias stands for; the name itself if it is unknown.

    Raises:
        FtctlError: The name is an alias in several specs.
    """
    if name in lockfile.finetunes:
        return name
    owners = [owner for owner, aliases in declared_aliases(project).items() if name in aliases]
    if len(owners) > 1:
        message = f"{name!r} is an alias of {' and '.join(owners)}"
        raise FtctlError(message, "Keep it in one spec.")
    return owners[0] if owners else name
