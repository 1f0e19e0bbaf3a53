"""`ftctl adopt`."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click

from backends.atomic_files import locked
from backends.contract.inspector import Json
from backends.contract.inventory import HostedModel
from backends.contract.jobs import JobState
from controller.adopt.adopt import adopt, with_base_model
from controller.adopt.context import Adopting
from controller.adopt.files import forget_waiting
from controller.adopt.listing import find_hosted, missing_hint, rows_of
from controller.cli.adopt_from import adopt_from
from controller.cli.common import (
    json_option,
    lock_timeout_option,
    print_json,
    project_of,
    wants_json,
)
from controller.errors import ExitCode, FtctlError, LockHeld
from controller.project.project import Project
from controller.render.hosted import (
    AdoptedView,
    adoption_text,
    hosted_json,
    hosted_text,
    total_text,
)
from controller.render.text import escape_control
from controller.run.backends import backend_opener
from controller.spec.asked import DEFAULT_ENDPOINT
from controller.spec.load import read_specs
from controller.spec.settings import load_settings

_LOCK = "adopt.lock"


@click.command("adopt")
@click.argument("job_or_model", required=False)
@click.option("--endpoint", metavar="NAME", help="The server, by its name in ftctl.yaml.")
@click.option("--all", "every", is_flag=True, help="Adopt every model that the server shows.")
@click.option(
    "--from",
    "source",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="A configuration of Axolotl, LLaMA-Factory, TRL or Soup, or an adapter's folder.",
)
@click.option("--name", metavar="NAME", help="Name of the fine-tune.")
@click.option(
    "--base_model",
    metavar="NAME",
    help="The base model, where nothing tells it, or tells it wrong.",
)
@lock_timeout_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    job_or_model: str | None,
    *,
    endpoint: str | None,
    every: bool,
    source: Path | None,
    name: str | None,
    base_model: str | None,
    lock_timeout: float,
) -> int:
    """List fine-tuned models at a server, or take them over.

    With --from: writes the spec of another tool's configuration, or takes an adapter over.
    With JOB_OR_MODEL or --all: downloads its data, writes its spec, and records it as the build in
    production. Nothing is trained and nothing is spent; run it again at any time.
    """
    if source is not None:
        _check_source(job_or_model, endpoint, every=every)
        project = project_of(ctx)
        with _alone(project):
            adopting = _adopting(project, None, lock_timeout)
            adopt_from(ctx, adopting, source, name=name, base_model=base_model)
        return ExitCode.DONE
    _check_options(job_or_model, name, base_model, every=every)
    project = project_of(ctx)
    adopting = _adopting(project, endpoint, lock_timeout)
    if job_or_model is None and not every:
        return _list(ctx, adopting)
    with _alone(project):
        if job_or_model is not None:
            hosted = with_base_model(find_hosted(adopting, job_or_model), base_model)
            done = adopt(adopting, hosted, name)
            _finish(ctx, [done])
        else:
            return _adopt_all(ctx, adopting)
        forget_waiting(project)
    return ExitCode.DONE


def _check_options(
    job_or_model: str | None, name: str | None, base_model: str | None, *, every: bool
) -> None:
    """Refuse options that would have no effect.

    Raises:
        FtctlError: Options contradict each other.
    """
    if every and job_or_model is not None:
        raise FtctlError("--all adopts every model", f"Leave out --all, or {job_or_model!r}.")
    for option, value in (("--name", name), ("--base_model", base_model)):
        if value is not None and job_or_model is None:
            message = f"{option} is for one model"
            raise FtctlError(message, f"Name the model: ftctl adopt JOB_OR_MODEL {option} {value}")


def _check_source(job_or_model: str | None, endpoint: str | None, *, every: bool) -> None:
    """Refuse what has no meaning beside --from.

    Raises:
        FtctlError: Something of a server is named.
    """
    given = {"--endpoint": endpoint, "--all": every, repr(job_or_model): job_or_model}
    for named, value in given.items():
        if value:
            message = f"{named} is for a server, and --from takes files of this machine"
            raise FtctlError(message, f"Leave out {named}, or --from.")


def _adopting(project: Project, endpoint: str | None, lock_timeout_s: float) -> Adopting:
    settings = load_settings(project.root)
    specs, problems = read_specs(project.root, project.state / "specs.json")
    return Adopting(
        project=project,
        settings=settings,
        open_backend=backend_opener(project)(settings),
        endpoint="" if endpoint in {None, DEFAULT_ENDPOINT} else endpoint or "",
        lock_timeout_s=lock_timeout_s,
        specs=specs,
        unread=problems.keys(),
    )


@contextmanager
def _alone(project: Project) -> Iterator[None]:
    """Hold the files that wait: two runs would remove each other's.

    Raises:
        LockHeld: Another run adopts models.
    """
    with locked(project.state / _LOCK) as mine:
        if not mine:
            message = "another run adopts models in this repository"
            raise LockHeld(message, "Wait for its end, and run the command again.")
        yield


def _list(ctx: click.Context, adopting: Adopting) -> int:
    rows = rows_of(adopting, adopting.backend.inventory())
    seen = {row.organization for row in rows if row.organization and row.job_id}
    hint = missing_hint(adopting, len(rows), seen)
    if wants_json(ctx):
        print_json({"place": adopting.place, "models": hosted_json(rows), "hint": hint or None})
        return ExitCode.DONE
    text = hosted_text(rows, adopting.place) or f"{adopting.place} shows no fine-tuned model."
    click.echo("\n\n".join(filter(None, [text, escape_control(hint)])))
    return ExitCode.DONE


def _adopt_all(ctx: click.Context, adopting: Adopting) -> int:
    """Adopt every model; a model that cannot be adopted stops no other."""
    done: list[AdoptedView] = []
    refused: list[tuple[HostedModel, FtctlError]] = []
    skipped, seen, organizations = 0, 0, set[str]()
    for hosted in adopting.backend.inventory():
        seen += 1
        if hosted.organization and hosted.job_id:
            organizations.add(hosted.organization)
        if hosted.model_id is None or hosted.state is not JobState.SUCCEEDED:
            skipped += 1
            continue
        try:
            adopted = adopt(adopting, hosted)
        except LockHeld:
            raise
        except FtctlError as error:
            refused.append((hosted, error))
            _show_refusal(ctx, hosted, error)
        else:
            done.append(adopted)
            _show(ctx, adopted, brief=True)
    if not refused:
        forget_waiting(adopting.project)
    hint = missing_hint(adopting, seen, organizations)
    _total(ctx, done, refused, skipped, hint)
    return ExitCode.ERROR if refused else ExitCode.DONE


def _finish(ctx: click.Context, done: list[AdoptedView]) -> None:
    for adopted in done:
        _show(ctx, adopted)
    _total(ctx, done, [], 0, "")


def _show(ctx: click.Context, adopted: AdoptedView, *, brief: bool = False) -> None:
    if not wants_json(ctx):
        click.echo(adoption_text(adopted, brief=brief))


def _show_refusal(ctx: click.Context, hosted: HostedModel, error: FtctlError) -> None:
    if wants_json(ctx):
        return
    lines = str(error).splitlines()
    text = "\n".join([f"! {hosted.model_id}: not adopted", *(f"    {line}" for line in lines)])
    click.echo(escape_control(text))


def _total(
    ctx: click.Context,
    done: list[AdoptedView],
    refused: list[tuple[HostedModel, FtctlError]],
    skipped: int,
    hint: str,
) -> None:
    new = [one for one in done if one.is_new]
    if wants_json(ctx):
        problems: list[Json] = [
            {"model_id": hosted.model_id, "error": error.message, "remedy": error.remedy}
            for hosted, error in refused
        ]
        print_json(
            {
                "adopted": [asdict(one) for one in new],
                "recorded": [asdict(one) for one in done if not one.is_new],
                "problems": problems,
                "jobs_without_model": skipped,
                "hint": hint or None,
            }
        )
        return
    text = total_text(len(new), len(done) - len(new), len(refused), skipped)
    click.echo(f"\n{text}")
    if hint:
        click.echo(escape_control(hint))
    if new:
        click.echo(
            "Look at the data before you commit it: git add finetunes && git commit\n"
            "What was verified, and what is only declared: ftctl show NAME. The next step: ftctl "
            "help migration"
        )
