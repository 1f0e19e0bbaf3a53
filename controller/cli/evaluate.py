"""`ftctl evaluate`."""

import click
from click.core import ParameterSource

from controller.cli.common import (
    ask,
    json_option,
    lock_timeout_option,
    print_coloured,
    print_json_line,
    project_of,
    recorded_of,
    wants_json,
)
from controller.cli.progress import open_screen
from controller.cli.summary import finish
from controller.errors import ExitCode, FtctlError
from controller.lockfile.store import read_lockfile
from controller.render.plan import plan_text
from controller.run.evaluations.evaluate import evaluate_again, plan_evaluation
from controller.run.evaluations.files import (
    WrittenFile,
    recorded_evaluation,
    write_misses,
    write_sheet,
)
from controller.run.reconcile import prepare_run


@click.command("evaluate")
@click.argument("name")
@click.option("-y", "--auto-approve", is_flag=True, help="Approve what this run shows.")
@click.option(
    "--sheet",
    metavar="FILE",
    help="Measure nothing; write a sheet (.csv, .jsonl) in which people score the answers.",
)
@click.option(
    "--misses",
    metavar="FILE",
    help="Measure nothing; write the failed examples (.jsonl) as data to be corrected.",
)
@lock_timeout_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    name: str,
    *,
    auto_approve: bool,
    sheet: str | None,
    misses: str | None,
    lock_timeout: float,
) -> int:
    """Measure a fine-tune's model again, by the newest version of scoring.

    That is its candidate, or else its production build. The scores are recorded and judged; a
    candidate that passes is promoted. Nothing is trained.
    """
    if sheet is not None or misses is not None:
        return _write_files(ctx, name, sheet, misses)
    project, as_json = project_of(ctx), wants_json(ctx)
    prepared = prepare_run(project)
    order = plan_evaluation(name, read_lockfile(project.root, project.records), prepared)
    if as_json and order.action.needs_approval and not auto_approve:
        raise FtctlError("--json cannot ask before spending", "Add --auto-approve.")
    if not as_json:
        print_coloured(plan_text(order.plan, prepared.desired))
        click.echo()
    if not auto_approve:
        ask(order.plan.actions, again=f"ftctl evaluate {name}")
    screen = open_screen(as_json=as_json)
    with finish(project, screen, as_json=as_json) as ending:
        ending.result = evaluate_again(order, screen, lock_timeout_s=lock_timeout)
    return ending.exit_code


def _write_files(ctx: click.Context, name: str, sheet: str | None, misses: str | None) -> int:
    """Write files of a recorded evaluation.

    Raises:
        FtctlError: An option for measuring was given too, or a file cannot be written.
    """
    for parameter, option in (
        ("auto_approve", "--auto-approve"),
        ("lock_timeout", "--lock-timeout"),
    ):
        if ctx.get_parameter_source(parameter) is ParameterSource.COMMANDLINE:
            message = f"{option} is for measuring, and --sheet and --misses measure nothing"
            raise FtctlError(message, f"Remove {option}.")
    project, name, entry = recorded_of(ctx, name)
    evaluation = recorded_evaluation(name, entry, project)
    if sheet is not None:
        _report(ctx, "sheet", write_sheet(evaluation, sheet))
    if misses is not None:
        _report(ctx, "misses", write_misses(evaluation, misses))
    return ExitCode.DONE


def _report(ctx: click.Context, kind: str, written: WrittenFile) -> None:
    if wants_json(ctx):
        numbers = {"lines": written.lines, "kept": written.kept}
        metric = {"metric": written.metric} if written.metric else {}
        print_json_line({kind: written.path, **numbers, **metric})
        return
    many = "" if written.lines == 1 else "s"
    kept = f", {written.kept:,} of them as people filled them in" if written.kept else ""
    if kind == "sheet":
        click.echo(f"{written.path}: {written.lines:,} line{many} to score{kept}.")
        return
    wrong = f"{written.lines:,} example{many} whose answer {written.metric} calls wrong"
    click.echo(f"{written.path}: {wrong}{kept}.")
