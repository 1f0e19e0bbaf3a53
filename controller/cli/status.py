"""`ftctl status`."""

from collections.abc import Sequence

import click

from controller.cli.aliases import declared_aliases
from controller.cli.common import json_option, observe_recorded, print_result, project_of
from controller.dates import days_until
from controller.errors import FtctlError
from controller.evaluate.curves.files import findings_of_build, read_curve
from controller.lockfile.model import Lockfile
from controller.lockfile.store import read_lockfile
from controller.project.project import Project
from controller.render.status import alias_table, shown_build, status_json, status_text
from controller.spec.load import read_specs, spec_names


@click.command("status")
@click.option(
    "--label", "labels", metavar="KEY=VALUE", multiple=True, help="Only specs with this label."
)
@json_option
@click.pass_context
def command(ctx: click.Context, labels: tuple[str, ...]) -> None:
    """Show every fine-tune: its state, the model in production, its scores."""
    project = project_of(ctx)
    lockfile = read_lockfile(project.root, project.state)
    declared = spec_names(project.root)
    if labels:
        declared = _labelled(project, labels)
        kept = {name: entry for name, entry in lockfile.finetunes.items() if name in declared}
        lockfile = Lockfile(finetunes=kept)
    seen = observe_recorded(project, lockfile)
    findings = {
        name: findings_of_build(build, read_curve(project.state, build))
        for name, entry in lockfile.finetunes.items()
        if (build := shown_build(entry)) is not None
    }
    aliases = {name: known for name, known in declared_aliases(project).items() if name in declared}
    state = (lockfile, declared, seen.jobs, seen.unreachable)
    as_json = status_json(*state, findings, aliases)
    tables = [status_text(*state, days_until, findings), alias_table(aliases)]
    text = "\n\n".join(filter(None, tables))
    print_result(ctx, as_json, text)


def _labelled(project: Project, labels: Sequence[str]) -> list[str]:
    """Return the fine-tunes whose specs have every label."""
    wrong = [label for label in labels if "=" not in label]
    if wrong:
        raise FtctlError(f"{wrong[0]!r} is not a label", "Write KEY=VALUE: --label team=growth")
    wanted = [label.partition("=")[::2] for label in labels]
    specs, _ = read_specs(project.root)
    return [
        name
        for name, loaded in specs.items()
        if all(loaded.spec.labels.get(key) == value for key, value in wanted)
    ]
