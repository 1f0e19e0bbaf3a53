"""`ftctl adopt --from PATH`: a configuration of another tool, or the folder of an adapter."""

from collections.abc import Sequence
from pathlib import Path

import click

from backends.contract.inspector import Json
from controller.adopt.configs.adapter import TOOL as PEFT
from controller.adopt.configs.spec import ONE_DEVICE, report_json, report_text
from controller.adopt.configs.translation import Line
from controller.adopt.context import Adopting
from controller.adopt.from_adapter import FromAdapter, adopt_adapter
from controller.adopt.from_config import FromConfig, adopt_config
from controller.cli.common import print_json, wants_json
from controller.errors import FtctlError
from controller.render.text import escape_control
from controller.state_folder import refused_by_system


def adopt_from(
    ctx: click.Context,
    adopting: Adopting,
    path: Path,
    *,
    name: str | None,
    base_model: str | None,
) -> None:
    """Take over a configuration file or an adapter's folder, and print what became of each key.

    Raises:
        FtctlError: It cannot be taken over.
    """
    if not path.exists():
        remedy = "Name a configuration file, or the folder of an adapter."
        raise FtctlError(f"there is no file or folder {path}", remedy)
    here = Path.cwd()
    try:
        if path.is_dir():
            adapter = adopt_adapter(adopting, path, here=here, wanted=name, base_model=base_model)
            _show_adapter(ctx, adapter, path)
        else:
            config = adopt_config(adopting, path, here=here, wanted=name, base_model=base_model)
            _show_config(ctx, config, path)
    except OSError as error:
        raise refused_by_system(error, adopting.project.state) from None


def _show_config(ctx: click.Context, config: FromConfig, path: Path) -> None:
    if wants_json(ctx):
        print_json(
            {
                "tool": config.tool,
                "recognised_by": list(config.recognised_by),
                "name": config.name,
                "file": config.file,
                "new": config.is_new,
                "copied": list(config.copied),
                "keys": report_json(config.lines),
            }
        )
        return
    keys = ", ".join(config.recognised_by)
    _print(f"{path} is a configuration of {config.tool}: it has {keys}.\n")
    _print_report(config.lines, config.tool, path)
    _print(f"\n{ONE_DEVICE.format(tool=config.tool)}\n")
    for file in config.copied:
        _print(f"copied {file}")
    _print(f"wrote {config.file}" if config.is_new else f"{config.file} says the same already")
    _print("Nothing was trained. Next: ftctl plan")


def _show_adapter(ctx: click.Context, adapter: FromAdapter, path: Path) -> None:
    if wants_json(ctx):
        document: dict[str, Json] = {
            "tool": PEFT,
            "name": adapter.name,
            "model_id": adapter.model_id,
            "file": adapter.file,
            "new": adapter.is_new,
            "verified": list(adapter.verified),
            "declared": list(adapter.declared),
            "keys": report_json(adapter.lines),
        }
        print_json(document)
        return
    if not adapter.is_new:
        _print(f"= {adapter.name}: the adapter in {path} is recorded already: {adapter.model_id}")
        return
    _print(f"{path} is the folder of an adapter.\n")
    _print_report(adapter.lines, PEFT, path / "adapter_config.json")
    _print(f"\n= {adapter.name}: {adapter.model_id} is adopted, in production\n    {adapter.file}")
    for text in adapter.verified:
        _print(f"    verified: {text}")
    for text in adapter.declared:
        _print(f"    declared: {text}")
    _print("Nothing was trained. Next: ftctl plan")


def _print_report(lines: Sequence[Line], tool: str, path: Path) -> None:
    click.echo(report_text(lines, tool=tool, file=str(path)))


def _print(text: str) -> None:
    click.echo("\n".join(escape_control(line) for line in text.split("\n")))
