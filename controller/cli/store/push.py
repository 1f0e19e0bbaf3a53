"""`ftctl store push`."""

import click

from backends.contract.inspector import Json
from controller.cli.common import json_option, lock_timeout_option, print_json, wants_json
from controller.cli.store.context import StoreContext, store_context
from controller.errors import ExitCode, FtctlError
from controller.lockfile.model import Build
from controller.lockfile.store import LockedLockfile, lock_lockfile
from controller.plan.fingerprint import short_id
from controller.render.text import escape_control, file_size
from controller.run.backends import backends_of, recorded_backends
from controller.run.store.store_builds import record_stored
from controller.store.builds import answer_files, is_here, push_build
from controller.store.fetching import on_this_machine
from controller.store.privacy import Privacy, named_builds, privacy_of
from controller.store.progress import TransferLines


@click.command("push")
@click.argument("names", nargs=-1)
@lock_timeout_option
@json_option
@click.pass_context
def command(ctx: click.Context, names: tuple[str, ...], *, lock_timeout: float) -> int:
    """Store the models that this machine has, with their logs and recorded answers.

    `ftctl apply` does so by itself after each training. What the store has is not sent again.
    """
    context = store_context(ctx, names)
    project, privacy = context.project, privacy_of(context.project, context.store.settings)
    stored: list[dict[str, Json]] = []
    refused: list[Json] = []
    with lock_lockfile(
        project.root, project.records, timeout_s=lock_timeout, purpose="store push"
    ) as lockfile:
        chosen = {
            name: lockfile.entries[name] for name in context.entries if name in lockfile.entries
        }
        for name, build in named_builds(chosen):
            found = _push(context, lockfile, privacy, name, build)
            if isinstance(found, FtctlError):
                refused.append(found.message)
                if not wants_json(ctx):
                    click.echo(f"! {escape_control(str(found))}", err=True)
            elif found is not None:
                stored.append(found)
                if not wants_json(ctx):
                    click.echo(_line(found))
    if wants_json(ctx):
        print_json({"stored": list(stored), "refused": refused})
    elif not stored and not refused:
        click.echo("This machine has no model of these fine-tunes.")
    return ExitCode.REFUSED if refused else ExitCode.DONE


def _push(
    context: StoreContext, lockfile: LockedLockfile, privacy: Privacy, name: str, build: Build
) -> dict[str, Json] | FtctlError | None:
    """Store one build and record it; return why not, or None if this machine has nothing of it."""
    store = context.store
    backend = recorded_backends(backends_of(context.project))(build.backend)
    local = on_this_machine(backend)
    if not is_here(build, local) and not answer_files(context.project, build):
        return None
    if (refusal := privacy.refusal(name, build)) is not None:
        return refusal
    lines = TransferLines(f"storing {build.model_id} in {store.settings.url}")
    stored = push_build(store, build, local, lines)
    if stored != build.stored:
        record_stored(lockfile, build, stored)
    return {"name": name, "build": short_id(build.fingerprint), **stored.model_dump()}


def _line(stored: dict[str, Json]) -> str:
    what = file_size(int(str(stored["bytes"]))) if stored["model"] else "answers"
    return f"{escape_control(str(stored['name']))}: build {stored['build']} is in the store, {what}"
