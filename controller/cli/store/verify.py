"""`ftctl store verify`."""

import click

from backends.contract.inspector import Json
from controller.cli.common import json_option, print_json, wants_json
from controller.cli.store.context import store_context
from controller.errors import ExitCode, FtctlError
from controller.render.text import escape_control, file_size
from controller.store.progress import say
from controller.store.verify import Verified, verify_store

_MANY = 400
"""Objects from which a verification reports its progress."""


@click.command("verify")
@click.argument("names", nargs=-1)
@click.option(
    "--delete-damaged", is_flag=True, help="Delete damaged objects, so that a push replaces them."
)
@json_option
@click.pass_context
def command(ctx: click.Context, names: tuple[str, ...], *, delete_damaged: bool) -> int:
    """Read everything that recorded builds need from the store, and compare it with its digests.

    Tests first that the store keeps to conditions.
    """
    context = store_context(ctx, names)
    store = context.store.trusted
    quarter = 0

    def report(done: int, total: int) -> None:
        nonlocal quarter
        if total >= _MANY and 4 * done // total > quarter:
            quarter = 4 * done // total
            say(f"» {done:,} of {total:,} objects")

    found = verify_store(store, context.entries, report)
    if delete_damaged:
        store.remove(list(found.damaged))
    if wants_json(ctx):
        print_json(_json(found))
        return ExitCode.ERROR if found.damaged or found.missing else ExitCode.DONE
    good = f"{found.objects:,} objects, {file_size(found.bytes)}, are as they were stored"
    click.echo(f"{good}.")
    for word, keys in (("damaged", found.damaged), ("missing", found.missing)):
        for key, what in keys.items():
            click.echo(f"! {key} is {word}: {escape_control(what)}")
    if found.damaged or found.missing:
        count = len(found.damaged) + len(found.missing)
        remedy = "Type `ftctl store push` at a machine that has these models."
        if found.damaged and not delete_damaged:
            remedy = f"Type `ftctl store verify --delete-damaged`. {remedy}"
        raise FtctlError(f"{count} object{'' if count == 1 else 's'} cannot be used", remedy)
    return ExitCode.DONE


def _json(found: Verified) -> Json:
    damaged: dict[str, Json] = dict(found.damaged)
    missing: dict[str, Json] = dict(found.missing)
    return {
        "builds": found.builds,
        "objects": found.objects,
        "bytes": found.bytes,
        "damaged": damaged,
        "missing": missing,
    }
