"""`ftctl init`."""

import re
from pathlib import Path

import click

from controller.errors import ExitCode, FtctlError
from controller.project.forgejo import write_forgejo_files
from controller.project.github import (
    GitHubOptions,
    WrittenFiles,
    workflows_home,
    write_github_files,
)
from controller.project.gitlab import INCLUDE, PIPELINE, git_source, write_gitlab_files
from controller.project.scaffold import (
    DEMO_BASE_MODEL,
    make_demo,
    make_repository,
    make_service,
)
from controller.spec.load import FOLDER, read_specs
from controller.spec.settings import FILE as SETTINGS

_INPUT = re.compile(r"^([a-z][a-z-]*)=([^\r\n]*)$")
_INPUTS = (
    *("approve", "environment", "folder", "lfs", "openai-base-url", "package"),
    *("plan-environment", "reconcile-environment"),
    *("requirements", "runner"),
)


@click.command("init")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path())
@click.option(
    "--demo", is_flag=True, help="A complete repository: specs, data and a small base model."
)
@click.option(
    "--github", is_flag=True, help="Workflows that plan pull requests and apply merges at GitHub."
)
@click.option("--gitlab", is_flag=True, help="The same for GitLab, as jobs of its pipelines.")
@click.option("--forgejo", is_flag=True, help="The same for Forgejo and Gitea Actions.")
@click.option(
    "--service", is_flag=True, help="Files that run `reconcile --watch` as a service, and no more."
)
@click.option(
    "--uses",
    metavar="OWNER/REPO@COMMIT",
    help="The ftctl repository whose workflows are called; `.` for this one; URL@COMMIT elsewhere.",
)
@click.option("--branch", metavar="NAME", help="For --github: the default branch.")
@click.option(
    "--forks", is_flag=True, help="For --github: comment on pull requests from forks too."
)
@click.option(
    "--set",
    "given",
    metavar="INPUT=VALUE",
    multiple=True,
    help="For --github: an input of the workflow, such as runner=gpu; --forgejo takes that one.",
)
@click.option(
    "--overwrite", is_flag=True, help="Replace workflows and jobs that say something else."
)
@click.pass_context
def command(
    ctx: click.Context,
    folder: Path,
    *,
    demo: bool,
    github: bool,
    gitlab: bool,
    forgejo: bool,
    service: bool,
    uses: str | None,
    branch: str | None,
    forks: bool,
    given: tuple[str, ...],
    overwrite: bool,
) -> int:
    """Make a repository of fine-tunes in FOLDER (this folder when none is named).

    With --github, --gitlab or --forgejo, adds the workflows to a repository, also to one that has specs already.
    Files that say something else are left alone and named; typed again, it changes nothing.
    With --service: a unit of systemd, a Containerfile and their settings, and no repository.
    """
    root = (ctx.obj["folder"] / folder).resolve()
    homes = [
        name
        for name, is_given in (("--github", github), ("--gitlab", gitlab), ("--forgejo", forgejo))
        if is_given
    ]
    if service:
        return _make_service(root, alone=not (demo or homes or given or forks or overwrite))
    _require_homes(
        homes, for_github=bool(branch or forks), sets=bool(given), others=bool(uses or overwrite)
    )
    inputs = _inputs(given)
    runner = dict(inputs).get("runner")
    if forgejo and inputs not in {(), (("runner", runner),)}:
        raise FtctlError("--forgejo takes no input but runner", "Write --set runner=LABEL.")
    options = GitHubOptions(uses=uses, branch=branch, inputs=inputs, forks=forks)
    if github:
        workflows_home(options.uses)  # what is missing is told before anything is written
    elif homes:
        git_source(uses, homes[0])
    if not (homes and (root / FOLDER).is_dir() and not demo):
        _make(root, demo=demo)
    at = "" if folder == Path() else f" --dir {folder}"
    if not homes:
        click.echo(f"\nNext: ftctl{at} plan\nThen: ftctl{at} apply")
        return ExitCode.DONE
    specs, _ = read_specs(root)
    if gitlab:
        return _report(write_gitlab_files(root, specs.values(), uses, overwrite=overwrite))
    if forgejo:
        done = write_forgejo_files(root, specs.values(), uses, runner=runner, overwrite=overwrite)
        return _report(done)
    return _report(write_github_files(root, specs.values(), options, overwrite=overwrite))


def _require_homes(homes: list[str], *, for_github: bool, sets: bool, others: bool) -> None:
    """Refuse options that the chosen home does not have, and two homes at once."""
    if len(homes) > 1:
        raise FtctlError(f"{' and '.join(homes)} name two homes", "Type one after the other.")
    is_elsewhere = "--github" not in homes
    if (is_elsewhere and for_github) or (sets and homes in ([], ["--gitlab"])):
        message = "--branch, --forks and --set are for --github, --set also for --forgejo"
        raise FtctlError(message, "Add --github.")
    if others and not homes:
        raise FtctlError("--uses and --overwrite are for the files of a home", "Add --github.")


def _make_service(root: Path, *, alone: bool) -> int:
    if not alone:
        message = "--service writes files for a machine, and takes no other option"
        raise FtctlError(message, "Type it by itself: ftctl init --service FOLDER")
    for name in make_service(root):
        click.echo(f"wrote {name}")
    click.echo("\nNext: ftctl help service")
    return ExitCode.DONE


def _make(root: Path, *, demo: bool) -> None:
    written = make_demo(root) if demo else make_repository(root)
    for name in written:
        click.echo(f"wrote {name}")
    if demo and SETTINGS not in written:
        added = f"../{DEMO_BASE_MODEL}"
        click.echo(f"kept {SETTINGS}; to serve the demo, name {added} under serve.base_models")


def _inputs(given: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    inputs = []
    for text in given:
        match = _INPUT.fullmatch(text)
        if match is None or match[1] not in _INPUTS:
            message = f"--set {text!r} is not INPUT=VALUE"
            raise FtctlError(message, f"Use one of the inputs: {', '.join(_INPUTS)}.")
        inputs.append((match[1], match[2]))
    return tuple(inputs)


def _report(done: WrittenFiles) -> ExitCode:
    for name in done.written:
        click.echo(f"wrote {name}")
    for name in done.kept:
        click.echo(f"kept {name}, which is as it should be")
    for name in done.differing:
        click.echo(f"left {name} alone, which says something else", err=True)
    for name in done.outdated:
        click.echo(f"remove {name}: fine-tunes.yml does its work now", err=True)
    if done.differing:
        if PIPELINE in done.differing:
            click.echo(f"Add to {PIPELINE}:\n{INCLUDE}", err=True)
        click.echo("To replace the others, type the command again with --overwrite", err=True)
        return ExitCode.ERROR
    click.echo("Configured the merge driver of the lockfile in this clone.")
    click.echo("\nNext: commit these files, and merge them into the default branch")
    click.echo("Then: ftctl help pull-requests, for keys, a GPU, and the branch's protection")
    return ExitCode.DONE
