"""`ftctl model`."""

import click

from backends.contract.inspector import Json
from controller.cli.common import backend_for, json_option, print_result, recorded_of
from controller.cli.export_weights import require_trained
from controller.errors import FtctlError
from controller.render.text import escape_control


@click.command("model")
@click.argument("name")
@click.option("--path", is_flag=True, help="Print the folder of its weights instead.")
@json_option
@click.pass_context
def command(ctx: click.Context, name: str, *, path: bool) -> None:
    """Print the model ID in production, for scripts."""
    project, name, entry = recorded_of(ctx, name)
    build = entry.builds.get(entry.production or "")
    if build is None:
        raise FtctlError(f"{name} has no model in production", "See `ftctl status`.")
    value: dict[str, Json] = {"model_id": build.model_id, "fingerprint": build.fingerprint}
    prompt = build.prompt
    if prompt is not None:
        # The ID does not belong to a service: these are what a caller asks.
        value |= {
            "base_model": build.base_model,
            "system": prompt.system,
            "few_shot": prompt.few_shot,
        }
    if not path:
        print_result(ctx, value, build.model_id)
        return
    require_trained(name, build)
    folder = backend_for(project, build.backend).weights_folder(build.model_id)
    if folder is None:
        raise FtctlError(
            f"the weights of {escape_control(build.model_id)} are not on this machine: "
            f"{build.backend} keeps them",
            "Name the model by its ID: `ftctl model NAME` prints it.",
        )
    print_result(ctx, {**value, "path": str(folder)}, str(folder))
