"""`ftctl chat`."""

import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module

import click

from backends.contract.completions import Completion, Prompt, Sampling, in_order
from backends.contract.errors import PromptRefused
from backends.contract.inspector import Json
from controller.cli.common import (
    Finite,
    backend_for,
    json_option,
    print_json,
    recorded_of,
    wants_json,
)
from controller.data.transforms.normalise import normal_text
from controller.errors import FtctlError, InvalidInput
from controller.evaluate.answers import given_answer, shown_calls
from controller.evaluate.rivals import with_prompt
from controller.lockfile.model import Build
from controller.project.project import Project
from controller.prompted.examples import find_shots
from controller.render.text import escape_control
from controller.spec.load import FOLDER, read_specs

QUIET_S = 5.0
"""Longest wait without an announcement."""


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
    type=Finite(min=0),
    default=0.0,
    show_default=True,
    help="0 is greedy.",
)
@click.option("--thinking", is_flag=True, help="Let the model think first, and show it.")
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
    thinking: bool,
) -> None:
    """Talk to the production model of a fine-tune (or to its candidate, if none is in production)."""
    project, name, entry = recorded_of(ctx, name)
    build = entry.builds.get(entry.production or entry.candidate or "")
    if build is None:
        raise FtctlError(f"{name} has no model yet", "Type `ftctl apply`.")
    sampling = Sampling(max_tokens=max_tokens, temperature=temperature, thinking=thinking)
    talk = _Talk(project, name, build, sampling)
    if message is not None:
        answers = talk.ask(_readable(message), with_base=with_base)
        if wants_json(ctx):
            print_json(_json(answers, thinking=thinking))
        else:
            _show(answers, thinking=thinking)
        return
    click.echo(f"Talking to {build.model_id}. An empty line ends.", err=True)
    while line := _read_line():
        try:
            _show(talk.ask(_readable(line), with_base=with_base), thinking=thinking)
        except PromptRefused as error:
            click.echo(f"! {escape_control(error.one_line)}", err=True)


class _Talk:
    """A conversation with a model; the base model, when asked too, answers the same words."""

    def __init__(self, project: Project, name: str, build: Build, sampling: Sampling) -> None:
        self._backend = backend_for(project, build.backend)
        self._build = build
        self._sampling = sampling
        folder = project.root / FOLDER
        self._base = self._backend.resolve_base_model(build.base_model, build.revision, folder)
        specs, problems = read_specs(project.root)
        if name in problems and name not in specs:
            raise InvalidInput(problems[name])
        system = specs[name].spec.data.system if name in specs else None
        self._prompt = build.prompt
        self._shots = find_shots(build, state=project.state)
        self._said: list[dict[str, Json]] = []
        if system:
            self._said.append({"role": "system", "content": system})

    def ask(self, text: str, *, with_base: bool) -> dict[str, Completion]:
        """Return the answer of each model. A question without one leaves no trace.

        Raises:
            PromptRefused: The conversation can continue with another question.
            BackendError: A model could not be asked.
        """
        asked: list[dict[str, Json]] = [*self._said, {"role": "user", "content": text}]
        prompt, tuned = Prompt(messages=asked), "tuned"
        models: dict[str, str | None] = {"base": None} if with_base else {}
        answers: dict[str, Completion] = {}
        with _announced(f"{self._build.model_id} at {self._build.backend}"):
            if self._prompt is not None:
                # The base model gets two different prompts.
                answers = self._complete(models, prompt)
                models, tuned = {"prompted": None}, "prompted"
                prompt = with_prompt(prompt, self._prompt.system, self._shots)
            else:
                models[tuned] = self._build.model_id
            answers |= self._complete(models, prompt)
        self._said = [*asked, _message(answers[tuned])]
        return answers

    def _complete(self, models: Mapping[str, str | None], prompt: Prompt) -> dict[str, Completion]:
        if not models:
            return {}
        given = self._backend.complete(self._base, list(models.values()), [prompt], self._sampling)
        completed = in_order(given, len(models), 1)
        return {role: one for role, (one,) in zip(models, completed, strict=True)}


def _message(answer: Completion) -> dict[str, Json]:
    """Return an answer as a message of the conversation, without its thinking."""
    message: dict[str, Json] = {"role": "assistant", "content": given_answer(answer).text}
    return message | {"tool_calls": answer.tool_calls} if answer.tool_calls else message


def _json(answers: Mapping[str, Completion], *, thinking: bool) -> Json:
    """Return the texts of the answers with their tool calls and, if requested, their thinking."""
    value: dict[str, Json] = {role: given_answer(one).text for role, one in answers.items()}
    calls = {role: one.tool_calls for role, one in answers.items() if one.tool_calls}
    thoughts = {role: given_answer(one).thinking for role, one in answers.items()}
    return (
        value
        | ({"tool_calls": calls} if calls else {})
        | ({"thinking": thoughts} if thinking else {})
    )


def _show(answers: Mapping[str, Completion], *, thinking: bool) -> None:
    width = max(map(len, answers))
    for role, answer in answers.items():
        prefix = f"{role:<{max(width, 6)}} " if len(answers) > 1 else ""
        said = given_answer(answer)
        if thinking and said.thinking:
            click.echo(f"{prefix}({escape_control(said.thinking)})")
        text = " ".join(filter(None, [said.text, shown_calls(answer.tool_calls)]))
        click.echo(f"{prefix}{escape_control(text)}")


@contextmanager
def _announced(who: str) -> Iterator[None]:
    """Print after some seconds that the command waits for `who`."""
    said = threading.Timer(
        QUIET_S, click.echo, [f"Waiting for {escape_control(who)} …"], {"err": True}
    )
    said.daemon = True
    said.start()
    try:
        yield
    finally:
        said.cancel()


def _readable(text: str) -> str:
    """Return a message, normalised like training data.

    Raises:
        FtctlError: The message contains bytes that are not UTF-8.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _not_utf8() from None
    return normal_text(text)


def _not_utf8() -> FtctlError:
    remedy = "Set the terminal to UTF-8, or convert the text: iconv -f cp949 -t utf-8"
    return FtctlError("the message is not UTF-8", remedy)


def _read_line() -> str:
    try:
        if not sys.stdin.isatty():
            return sys.stdin.readline().strip()
        # Without readline, Backspace erases only one column of a letter that is two columns wide.
        with suppress(ImportError):
            import_module("readline")
        return input("you> ").strip()
    except EOFError:
        return ""
    except UnicodeDecodeError:
        raise _not_utf8() from None
