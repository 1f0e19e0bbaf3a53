"""`ftctl store pull`."""

import click

from backends.contract.inspector import Json
from controller.cli.common import backend_for, json_option, print_json, wants_json
from controller.cli.store.context import StoreContext, store_context
from controller.errors import ExitCode, FtctlError
from controller.lockfile.model import Build, Entry
from controller.plan.fingerprint import short_id
from controller.render.text import escape_control
from controller.store.builds import fetch_answers


@click.command("pull")
@click.argument("names", nargs=-1)
@click.option("--all-builds", is_flag=True, help="Every stored build, not only production.")
@json_option
@click.pass_context
def command(ctx: click.Context, names: tuple[str, ...], *, all_builds: bool) -> int:
    """Fetch models in production, or candidates, with their recorded answers.

    Commands that use a model fetch it by themselves.
    """
    context = store_context(ctx, names)
    pulled: list[Json] = []
    missing: list[str] = []
    for name, entry in context.entries.items():
        for build in _chosen(entry, all_builds=all_builds):
            if build.stored is None:
                missing.append(f"{name}, build {short_id(build.fingerprint)}")
                continue
            found = _pull(context, name, build)
            pulled.append(found)
            if not wants_json(ctx):
                where = found["folder"] or f"{found['answers']} files of answers"
                click.echo(f"{escape_control(name)}: build {found['build']}: {where}")
    if wants_json(ctx):
        print_json({"pulled": pulled, "not_stored": list(missing)})
        return ExitCode.ERROR if missing and (names or not pulled) else ExitCode.DONE
    if missing and (names or not pulled):
        raise FtctlError(
            f"not in the store: {', '.join(missing)}",
            "Type `ftctl store push` at the machine that trained them.",
        )
    return ExitCode.DONE


def _chosen(entry: Entry, *, all_builds: bool) -> list[Build]:
    if all_builds:
        return [build for build in entry.builds.values() if build.stored is not None]
    build = entry.builds.get(entry.production or entry.candidate or "")
    return [] if build is None or build.prompt is not None else [build]


def _pull(context: StoreContext, name: str, build: Build) -> dict[str, Json]:
    folder = None
    if build.stored is not None and build.stored.model is not None:
        folder = backend_for(context.project, build.backend).weights_folder(build.model_id)
    return {
        "name": name,
        "build": short_id(build.fingerprint),
        "model_id": build.model_id,
        "folder": None if folder is None else str(folder),
        "answers": fetch_answers(context.store, build),
    }
