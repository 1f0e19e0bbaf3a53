"""`ftctl store prune`."""

import click

from backends.contract.inspector import Json
from controller.cli.common import json_option, lock_timeout_option, print_json, wants_json
from controller.cli.store.context import StoreContext, store_context
from controller.errors import FtctlError
from controller.lockfile.model import Stored
from controller.lockfile.store import LockedLockfile, lock_lockfile
from controller.plan.fingerprint import short_id
from controller.render.text import escape_control, file_size
from controller.run.reconcile import prepare_run
from controller.run.store.store_builds import record_stored
from controller.spec.load import read_specs
from controller.store.history import is_shallow
from controller.store.lease import pruning as hold
from controller.store.prune import Pruning, kept_builds, plan_pruning

_AT_ONCE = 500
"""Number of objects to remove before the prune reads its mark again."""


@click.command("prune")
@click.option(
    "--days",
    type=click.IntRange(min=1),
    default=90,
    show_default=True,
    help="Keep what commits of so many days had in production or as candidate.",
)
@click.option("--yes", is_flag=True, help="Delete; otherwise only show.")
@lock_timeout_option
@json_option
@click.pass_context
def command(ctx: click.Context, *, days: int, yes: bool, lock_timeout: float) -> None:
    """Remove builds from the store that nothing needs any more.

    Keeps production, candidates, pinned builds, builds that specs ask for, and what commits of the
    last days named, on every branch. Models on this machine stay.
    """
    context = store_context(ctx)
    project = context.project
    if is_shallow(project.root):
        message = "this clone lacks the older part of its history, which names builds to keep"
        raise FtctlError(message, "Type `git fetch --unshallow`, then the command again.")
    with lock_lockfile(
        project.root, project.records, timeout_s=lock_timeout, purpose="store prune"
    ) as lockfile:
        if not yes:
            found = _find(context, lockfile, days)
        else:
            with hold(context.store.trusted) as require_force:
                found = _find(context, lockfile, days)
                _forget(found, lockfile)
                # The lockfile names no build that is gone, whatever happens from here on.
                lockfile.fold()
                for first in range(0, len(found.keys), _AT_ONCE):
                    require_force()
                    context.store.objects.remove(found.keys[first : first + _AT_ONCE])
    if wants_json(ctx):
        print_json(_json(found, deleted=yes))
    else:
        click.echo(_text(found, deleted=yes))


def _find(context: StoreContext, lockfile: LockedLockfile, days: int) -> Pruning:
    project = context.project
    specs, problems = read_specs(project.root)
    if problems:
        names = ", ".join(sorted(problems))
        message = f"these specs cannot be read, so nobody knows what they need: {names}"
        raise FtctlError(message, "Correct them: `ftctl validate`.")
    desired = prepare_run(project, display_only=True).desired
    wanted = {name: one.fingerprint for name, one in desired.items()}
    kept = kept_builds(lockfile.entries, specs, wanted, project.root, days)
    return plan_pruning(context.store.objects, lockfile.entries, kept, days)


def _forget(found: Pruning, lockfile: LockedLockfile) -> None:
    for name, fingerprint in found.builds:
        build = lockfile.entries[name].builds[fingerprint]
        record_stored(lockfile, build, Stored(pruned=True))


def _text(found: Pruning, *, deleted: bool) -> str:
    if not found.keys:
        return f"Nothing to remove: {found.kept} stored models and files of answers are needed."
    lines = [
        f". {escape_control(name)}: build {short_id(fingerprint)}"
        for name, fingerprint in found.builds
    ]
    what = f"{len(found.keys):,} objects, {file_size(found.bytes)}"
    tail = f"{what} were removed." if deleted else f"{what} would be removed: add `--yes`."
    return "\n".join([*lines, tail])


def _json(found: Pruning, *, deleted: bool) -> Json:
    builds: list[Json] = [
        {"name": name, "fingerprint": fingerprint, "model_id": model}
        for (name, fingerprint), model in found.builds.items()
    ]
    return {
        "builds": builds,
        "objects": len(found.keys),
        "bytes": found.bytes,
        "deleted": deleted,
    }
