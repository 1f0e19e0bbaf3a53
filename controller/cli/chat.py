"""`ftctl chat`."""

import sys

import click

from backends.base import Json, Prompt, PromptRefused, Sampling
from controller.cli.common import (
    backend_for,
    entry_of,
    json_option,
    print_json,
    project_of,
    reason_of,
    wants_json,
)
from controller.errors import FtctlError, InvalidInput
from controller.lock.model import Build
from controller.lock.store import read_lockfile
from controller.project import Project
from controller.render.text import safe
from controller.spec.load import FOLDER, read_specs


@click.command("chat")
@click.argument("name")
@click.option("-m", "--message", help="Ask this one thing, and end.")
@click.option("--base", "with_base", is_flag=True, help="Let the base model answer too.")
@click.option(
    "--max-tokens",
    type=click.IntRange(min=1),
    default=256,
    show_default=True,
    help="Longest answer, in tokens.",
)
@click.option(
    "--temperature",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="0 is greedy.",
)
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    name: str,
    *,
    message: str | None,
    with_base: bool,
    max_tokens: int,
    temperature: float,
) -> None:
    """Talk to the production model of a fine-tune (or its candidate, while there is none)."""
    project = project_of(ctx)
    entry = entry_of(read_lockfile(project.root, project.state), name)
    build = entry.builds.get(entry.production or entry.candidate or "")
    if build is None:
        raise FtctlError(f"{name} has no model yet", "Type `ftctl apply`.")
    talk = _Talk(project, name, build, Sampling(max_tokens=max_tokens, temperature=temperature))
    if message is not None:
        answers = talk.ask(message, with_base=with_base)
        if wants_json(ctx):
            print_json(dict(answers))
        else:
            _show(answers)
        return
    click.echo(f"Talking to {build.model_id}. An empty line ends.", err=True)
    while line := _read_line():
        try:
            _show(talk.ask(line, with_base=with_base))
        except PromptRefused as error:
            click.echo(f"! {safe(reason_of(error))}", err=True)


class _Talk:
    """A conversation with a model; the base model, when asked too, answers the same words."""

    def __init__(self, project: Project, name: str, build: Build, sampling: Sampling) -> None:
        self._backend = backend_for(project, build.backend)
        self._build = build
        self._sampling = sampling
        folder = project.root / FOLDER
        self._base = self._backend.identify(build.base_model, build.revision, folder)
        specs, problems = read_specs(project.root)
        if name in problems and name not in specs:
            raise InvalidInput(problems[name])
        system = specs[name].spec.data.system if name in specs else None
        self._said: list[dict[str, Json]] = []
        if system:
            self._said.append({"role": "system", "content": system})

    def ask(self, text: str, *, with_base: bool) -> dict[str, str]:
        """Return the answer of each model. A question without one leaves no trace.

        Raises:
            PromptRefused: The conversation can continue with another question.
            BackendError: A model could not be asked.
        """
        models: dict[str, str | None] = {"base": None} if with_base else {}
        models["tuned"] = self._build.model_id
        asked: list[dict[str, Json]] = [*self._said, {"role": "user", "content": text}]
        completed = self._backend.complete(
            self._base, list(models.values()), [Prompt(messages=asked)], self._sampling
        )
        answers = {role: given[0].text for role, given in zip(models, completed, strict=True)}
        self._said = [*asked, {"role": "assistant", "content": answers["tuned"]}]
        return answers


def _show(answers: dict[str, str]) -> None:
    for role, text in answers.items():
        prefix = f"{role:<6} " if len(answers) > 1 else ""
        click.echo(f"{prefix}{safe(text)}")


def _read_line() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().strip()
    return str(click.prompt("you", prompt_suffix="> ", default="", show_default=False)).strip()
