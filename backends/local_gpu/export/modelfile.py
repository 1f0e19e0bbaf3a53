"""An Ollama Modelfile: where the weights are, the prompt's form as a Go template, and stop tokens.

A chat template is a program, and Ollama wants another language. So the model's own template is
rendered for small conversations, and the text around each message becomes the Go template. That is
exact for a template that puts the same text around each message of a role; other templates, tools
and thinking are left to Ollama, which reads the template in the weights.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from backends.contract.errors import BackendError
from backends.contract.inspector import Json

Message: TypeAlias = Mapping[str, str]
Render: TypeAlias = Callable[[Sequence[Message]], str]
"""Returns the prompt of a conversation as text."""

_MARKS: Final = {"system": "⟦s⟧", "user": "⟦u⟧", "assistant": "⟦a⟧"}
_PARAMETERS: Final = {
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "repetition_penalty": "repeat_penalty",
}
"""Settings of `generation_config.json`, by their names in a Modelfile."""
NO_ADAPTER: Final = (
    "Ollama creates no models with ADAPTER any more (since 0.34.1), so the file above holds the whole "
    "merged model."
)
NO_TEMPLATE: Final = (
    "No TEMPLATE: the model's chat template puts different texts around messages of one role, which "
    "was not translated. Ollama looks for a template of its own that fits the one in the weights."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The text around each message."""

    start: str
    around: Mapping[str, tuple[str, str]]
    """Text before and after a message, by role."""
    asks: str
    """Text after the last message, before the answer."""
    default: str = ""
    """System message that the template adds where there is none."""

    def text(self, messages: Sequence[Message]) -> str:
        """Return a prompt, as Ollama makes it from the Go template."""
        if self.default and messages[0]["role"] != "system":
            messages = [{"role": "system", "content": self.default}, *messages]
        middle = (
            self.around[one["role"]][0] + one["content"] + self.around[one["role"]][1]
            for one in messages
        )
        return self.start + "".join(middle) + self.asks

    def go_template(self) -> str:
        """Return the form as a Go template."""
        parts = [_literal(self.start), "{{- range .Messages }}"]
        for number, (role, (before, after)) in enumerate(self.around.items()):
            word = "if" if number == 0 else "else if"
            parts.append(f'{{{{- {word} eq .Role "{role}" }}}}')
            parts.append(f"{_literal(before)}{{{{ .Content }}}}{_literal(after)}")
        parts += ["{{- end }}", "{{- end }}", _literal(self.asks)]
        return "".join(parts)


def form_of(render: Render, bos: str, stops: Sequence[str]) -> Form | None:
    """Return the form of a template; None if it is not the same around each message of a role.

    Args:
        render: The model's own template.
        bos: Text of the token that llama.cpp itself puts before a text; empty without one.
        stops: Texts of the tokens that end an answer.
    """
    try:
        form = _read(render, bos, stops)
    except (BackendError, ValueError):
        return None
    for messages in _CASES:
        try:
            wanted = render(messages).removeprefix(bos)
        except BackendError:
            return None
        if form.text(messages) != wanted:
            return None
    return form


def _case(*roles: str) -> Sequence[Message]:
    return [{"role": role, "content": f"{n} x\n y {role}."} for n, role in enumerate(roles)]


_CASES: Final = (
    _case("user"),
    _case("system", "user"),
    _case("user", "assistant", "user"),
    _case("system", "user", "assistant", "user", "assistant", "user"),
)


def _read(render: Render, bos: str, stops: Sequence[str]) -> Form:
    """Read the form off rendered conversations.

    Raises:
        ValueError: A message is missing in the text.
        BackendError: The template refuses a conversation.
    """

    def shown(*roles: str) -> str:
        asked = [{"role": role, "content": _MARKS[role]} for role in roles]
        return render(asked).removeprefix(bos)

    system, user, assistant = _MARKS.values()
    lead, rest = shown("user", "assistant", "user").split(user, 1)
    first, rest = rest.split(assistant, 1)
    second, last = rest.split(user, 1)
    after_user, before_assistant = _cut(first, stops)
    after_assistant, before_user = _cut(second, stops)
    opening, rest = shown("system", "user").split(system, 1)
    after_system = rest.split(user, 1)[0].removesuffix(before_user)
    start, default = lead.removesuffix(before_user), ""
    if len(start) > len(opening) + len(after_system) and start.startswith(opening):
        default = start.removeprefix(opening).removesuffix(after_system)
        start = ""
    return Form(
        start=start,
        around={
            "system": (opening.removeprefix(start), after_system),
            "user": (before_user, after_user),
            "assistant": (before_assistant, after_assistant),
        },
        asks=last.removeprefix(after_user),
        default=default,
    )


def _cut(text: str, stops: Sequence[str]) -> tuple[str, str]:
    """Split the text between two messages after the end of a turn, if it has one."""
    places = [text.find(stop) + len(stop) for stop in stops if stop in text]
    place = min(places, default=0)
    while place and text[place : place + 1] == "\n":
        place += 1
    return text[:place], text[place:]


def modelfile(
    weights: str, form: Form | None, stops: Sequence[str], generation: Mapping[str, Json]
) -> str:
    """Return a Modelfile.

    Args:
        weights: Name of the GGUF file beside it.
        form: The text around each message; None if it could not be read.
        stops: Texts of the tokens that end an answer.
        generation: Content of `generation_config.json`.
    """
    lines = [f"FROM ./{weights}", f"# {NO_ADAPTER}"]
    template = form.go_template() if form is not None else ""
    if form is None or '"""' in template + form.default:
        lines.append(f"# {NO_TEMPLATE}")
    else:
        lines.append(f'TEMPLATE """{template}"""')
        if form.default:
            lines.append(f'SYSTEM """{form.default}"""')
    lines += [f"PARAMETER stop {json.dumps(stop, ensure_ascii=False)}" for stop in stops]
    lines += [
        f"PARAMETER {name} {generation[key]}"
        for key, name in _PARAMETERS.items()
        # A Modelfile knows no True.
        if isinstance(generation.get(key), int | float) and not isinstance(generation[key], bool)
    ]
    return "\n".join(lines) + "\n"


def _literal(text: str) -> str:
    """Return a text as a Go template writes it: quoted, so that its blanks survive `{{-`."""
    return f"{{{{ {json.dumps(text, ensure_ascii=False)} }}}}" if text else ""
