"""`ftctl chat`."""

import sys

import click

from backends.base import Json, Prompt, Sampling
from controller.cli.common import (
    backend_for,
    entry_of,
    json_option,
    print_json,
    project_of,
    wants_json,
)
from controller.errors import FtctlError
from controller.lock.model import Build
from controller.lock.store import read_lockfile
from controller.project import Project
from controller.render.text import safe
from controller.spec.load import FOLDER, load_specs


@click.command("chat")
@click.argument("name")
@click.option("-m", "--message", help="Ask this one thing, and end.")
@click.option("--base", "with_base", is_flag=True, help="Let the base model answer too.")
@click.option("--max-tokens", default=256, show_default=True, help="Longest answer, in tokens.")
@click.option("--temperature", default=0.0, show_default=True, help="0 is greedy.")
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
        _show(talk.ask(line, with_base=with_base))


class _Talk:
    """A conversation; each model remembers its own half of it."""

    def __init__(self, project: Project, name: str, build: Build, sampling: Sampling) -> None:
        self._backend = backend_for(project, build.backend)
        self._build = build
        self._sampling = sampling
        folder = project.root / FOLDER
        self._base = self._backend.identify(build.base_model, build.revision, folder)
        spec = load_specs(project.root).get(name)
        system = spec.spec.data.system if spec else None
        start: list[dict[str, Json]] = [{"role": "system", "content": system}] if system else []
        self._said: dict[str, list[dict[str, Json]]] = {"tuned": start[:], "base": start[:]}

    def ask(self, text: str, *, with_base: bool) -> dict[str, str]:
        answers = {}
        for role in ("base", "tuned") if with_base else ("tuned",):
            said = self._said[role]
            said.append({"role": "user", "content": text})
            model = self._build.model_id if role == "tuned" else None
            prompts = [Prompt(messages=said)]
            completed = self._backend.complete(self._base, [model], prompts, self._sampling)
            answers[role] = completed[0][0].text
            said.append({"role": "assistant", "content": answers[role]})
        return answers


def _show(answers: dict[str, str]) -> None:
    for role, text in answers.items():
        prefix = f"{role}: " if len(answers) > 1 else ""
        click.echo(f"{prefix}{safe(text)}")


def _read_line() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().strip()
    return str(click.prompt("you", prompt_suffix="> ", default="", show_default=False)).strip()
