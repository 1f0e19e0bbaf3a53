"""`ftctl model`."""

import click

from backends.contract.inspector import Json
from controller.cli.common import json_option, print_result, recorded_of
from controller.errors import FtctlError


@click.command("model")
@click.argument("name")
@json_option
@click.pass_context
def command(ctx: click.Context, name: str) -> None:
    """Print the model ID in production, for scripts."""
    _, name, entry = recorded_of(ctx, name)
    build = entry.builds.get(entry.production or "")
    if build is None:
        raise FtctlError(f"{name} has no model in production", "See `ftctl status`.")
    value: dict[str, Json] = {"model_id": build.model_id, "fingerprint": build.fingerprint}
    prompt = build.prompt
    if prompt is not None:
        # The ID is no service's: these are what a caller asks.
        value |= {
            "base_model": build.base_model,
            "system": prompt.system,
            "few_shot": prompt.few_shot,
        }
    print_result(ctx, value, build.model_id)
