"""`ftctl plan`."""

import json
from dataclasses import replace as with_changes
from pathlib import Path

import click

from backends.atomic_files import write_atomic
from controller.cli.common import json_option, print_coloured, print_json, project_of, wants_json
from controller.cli.error_report import print_problem_count
from controller.cli.replace import check_replaced, replace_option
from controller.errors import ExitCode, FtctlError
from controller.plan.actions import Blocked, BlockReason
from controller.plan.plan import Plan
from controller.render.comment.comment import plan_comment, problems_comment
from controller.render.plan import plan_text
from controller.render.plan_json import plan_json
from controller.review.gather import commits_of, review_of
from controller.run.reconcile import prepare_run
from controller.run.stages import require_readable


@click.command("plan")
@click.option("--detailed-exitcode", is_flag=True, help="Exit 2 when there is anything to do.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "github"]),
    default="text",
    show_default=True,
    help="`github` prints the comment for a pull request.",
)
@click.option("--markdown", "form", flag_value="github", hidden=True)
@click.option(
    "--base", metavar="REV", help="Compare gates and data with this git revision, for `github`."
)
@click.option("--head", metavar="REV", help="Revision that the comment is about.  [default: HEAD]")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Write the plan as JSON for `apply PLANFILE`."
)
@click.option(
    "--offline",
    is_flag=True,
    help="Read files of the repository only: no database, no URL, no hub.",
)
@replace_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    *,
    detailed_exitcode: bool,
    form: str,
    base: str | None,
    head: str | None,
    out: Path | None,
    offline: bool,
    replace: tuple[str, ...],
) -> int:
    """Show what would be done, why, and what it costs.

    Spends nothing, needs no key for public models and data, and writes nothing but caches. What
    depends on data or on a hub's model that cannot be read here, or may not with --offline, is known
    at apply. A fine-tune with a problem is shown as blocked, the others are planned; the exit code
    is then 1.
    """
    project = with_changes(project_of(ctx), offline=offline)
    if form != "github" and (base or head):
        raise FtctlError("--base and --head are for the comment", "Add --format github.")
    if wants_json(ctx) and form == "github":
        raise FtctlError("--json and --format github print two things", "Use one of them.")
    commits = commits_of(project, base, head) if form == "github" else None
    try:
        prepared = prepare_run(project, replace=replace, display_only=True)
        require_readable(prepared)
    except FtctlError as error:
        if commits is not None:
            click.echo(problems_comment(str(error), commits), nl=False)
        raise
    check_replaced(replace, prepared)
    plan, desired = prepared.plan, prepared.desired
    if out is not None:
        text = json.dumps(plan_json(plan, desired), ensure_ascii=False, indent=2)
        write_atomic(out.resolve(), text.encode() + b"\n")
    if wants_json(ctx):
        print_json(plan_json(plan, desired))
    elif commits is not None:
        click.echo(plan_comment(plan, desired, review_of(prepared, commits)), nl=False)
    else:
        print_coloured(plan_text(plan, desired))
    if code := _trouble(plan):
        if not wants_json(ctx):
            print_problem_count(prepared.resolved.problems)
        return code
    return ExitCode.CHANGES if detailed_exitcode and plan.actions else ExitCode.DONE


def _trouble(plan: Plan) -> ExitCode:
    """Return the exit code for fine-tunes that could not be planned; `DONE` without any."""
    codes = {
        action.block_reason.exit_code
        for action in plan.actions
        if isinstance(action, Blocked) and action.block_reason in _UNPLANNED
    }
    return max(codes - {ExitCode.REFUSED}, default=max(codes, default=ExitCode.DONE))


_UNPLANNED = {BlockReason.INPUT, BlockReason.POLICY, BlockReason.UNREACHABLE}
