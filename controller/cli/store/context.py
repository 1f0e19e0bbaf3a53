"""What the commands of `ftctl store` share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import click

from controller.cli.common import check_names, project_of
from controller.lockfile.model import Entry
from controller.lockfile.store import read_lockfile
from controller.project.project import Project
from controller.spec.settings import load_settings
from controller.store.builds import ModelStore
from controller.store.declared import require_store


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreContext:
    """A repository with its store and what is recorded."""

    project: Project
    store: ModelStore
    entries: Mapping[str, Entry]
    """Recorded fine-tunes, those that were named or all."""


def store_context(ctx: click.Context, names: Sequence[str] = ()) -> StoreContext:
    """Open the store that the repository declares.

    Args:
        ctx: The command's context.
        names: Fine-tunes; none for all.

    Raises:
        FtctlError: No store is declared, or nothing is recorded under a name.
    """
    project = project_of(ctx)
    settings = require_store(load_settings(project.root))
    entries = read_lockfile(project.root, project.records).finetunes
    check_names(names, list(entries))
    chosen = {name: entry for name, entry in entries.items() if not names or name in names}
    store = ModelStore(project=project, settings=settings)
    return StoreContext(project=project, store=store, entries=chosen)
