"""Rendering with jinja as transformers' `apply_chat_template` does, whole or message by message.

Two additions make training repeatable: the date of today is fixed, and each message's text can be
identified. For that, a template's main loop writes a mark before each message; the marks are
removed from the text afterwards.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.runtime
import jinja2.utils
from jinja2.sandbox import ImmutableSandboxedEnvironment

Messages: TypeAlias = Sequence[Mapping[str, Any]]
"""Messages to render."""
Tools: TypeAlias = Sequence[Mapping[str, Any]] | None

REFUSALS: Final = (
    jinja2.TemplateError,
    TypeError,
    LookupError,
    ValueError,
    ArithmeticError,
    RecursionError,
)
"""Errors of a template that refuses a conversation, or fails on it."""
TODAY: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""Date that templates use as today: a model must not depend on the day of its training."""
OPEN: Final = "\ufdd0ftctl\ufdd1"
CLOSE: Final = "\ufdd1ftctl\ufdd0"
"""Marks around the assistant's text: noncharacters, reserved for internal use."""

_TURN: Final = re.compile("\ufdd2ftctl(\\d+|end)\ufdd3")
_MARK: Final = "ftctl_turn"
_OF_EVERY_DICT: Final = frozenset(dir(dict))
"""Attributes of a dict, which take precedence over keys: `message.items` is the method."""
_OF_EVERY_TEXT: Final = frozenset({"startswith", "endswith", "split", "strip", "lstrip", "rstrip"})
_OWN: Final = (jinja2.utils.Namespace, jinja2.runtime.LoopContext)
"""Objects that templates create. Their attributes are readable, except with an underscore."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns:
    """A rendered conversation, split by message."""

    before: str
    """Text before the first message."""
    texts: Mapping[int, str]
    """Text of each message by position, without messages that were moved or left out."""
    behind: str
    """Text after the last message, such as the request for an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Jinja:
    """A compiled chat template."""

    source: str
    """Source of the template, for the model's folder."""
    known: Mapping[str, object]
    """Names that every template can use: jinja's own, and the tokenizer's special tokens."""
    compiled: Mapping[tuple[bool, bool], jinja2.Template]
    """Templates by two flags: tools are offered, each message is marked."""
    marked: bool
    """True if the template itself marks the assistant's text."""

    def text(self, messages: Messages, tools: Tools, told: Mapping[str, object]) -> str:
        """Render messages; `OPEN` and `CLOSE` are left in.

        Args:
            messages: As templates expect them.
            tools: Tools that are offered.
            told: Further variables of the template, such as `add_generation_prompt`.

        Raises:
            jinja2.TemplateError: The template refuses them, as it may with the other `REFUSALS`.
        """
        template = self.compiled[bool(tools), False]
        return self._render(template, {**told, "messages": messages, "tools": tools or None})

    def turns(self, messages: Messages, tools: Tools, told: Mapping[str, object]) -> Turns:
        """Render messages one by one; the arguments are as for `text`."""
        # Copies, so that a message that occurs twice is identified by its position.
        own = [dict(message) for message in messages]
        numbers = {id(message): place for place, message in enumerate(own)}

        def mark(message: object) -> str:
            place = numbers.get(id(message))
            return "" if place is None else f"\ufdd2ftctl{place}\ufdd3"

        template = self.compiled[bool(tools), True]
        given = {**told, "messages": own, "tools": tools or None, _MARK: mark}
        return _turns(self._render(template, given).replace(OPEN, "").replace(CLOSE, ""))

    def _render(self, template: jinja2.Template, given: Mapping[str, object]) -> str:
        # Like `template.render`, but without collecting the constant names every time.
        context = jinja2.runtime.new_context(
            template.environment,
            template.name,
            template.blocks,
            {**self.known, **given},
            shared=True,
        )
        return "".join(template.root_render_func(context))


def compile_template(source: str, with_tools: str, special: Mapping[str, str]) -> Jinja:
    """Compile a chat template.

    Args:
        source: Source of the template.
        with_tools: Source for conversations with tools; often the same.
        special: The tokenizer's special tokens by name.

    Raises:
        jinja2.TemplateError: The source is not a valid template.
    """
    environment = _environment()
    texts = {False: source, True: with_tools}
    try:
        compiled = {
            (offered, apart): environment.from_string(
                _told_apart(environment.parse(text)) if apart else text
            )
            for offered, text in texts.items()
            for apart in (False, True)
        }
    except SyntaxError as error:
        # jinja finds a `break` without a loop only in the code that it makes.
        raise jinja2.TemplateSyntaxError(error.msg, error.lineno or 1) from error
    return Jinja(
        source=source,
        known={**environment.globals, **special},
        compiled=compiled,
        marked=all("generation" in jinja_tags(text) for text in texts.values()),
    )


def jinja_tags(source: str) -> set[str]:
    """Return the first word of every `{% … %}` of a template."""
    tokens = list(_environment().lex(source))
    return {
        next((text for _, kind, text in tokens[place + 1 : place + 3] if kind == "name"), "")
        for place, (_, kind, _) in enumerate(tokens)
        if kind == "block_begin"
    }


def literals(source: str) -> frozenset[str]:
    """Return the texts with markup, as `</think>`, that a template looks for in messages."""
    tree = _environment().parse(source)
    found: set[str] = set()
    for test in tree.find_all(jinja2.nodes.Compare):
        if any(operand.op in {"in", "notin"} for operand in test.ops):
            found |= _texts(test.expr)
    for call in tree.find_all(jinja2.nodes.Call):
        if isinstance(call.node, jinja2.nodes.Getattr):
            found |= {text for argument in call.args for text in _texts(argument)}
    for applied in tree.find_all(jinja2.nodes.Filter):
        found |= {text for argument in applied.args for text in _texts(argument)}
    return frozenset(text for text in found if len(text) >= _TELLING and _MARKUP.search(text))


_MARKUP: Final = re.compile(r"[^\w\s]")
_TELLING: Final = 3
"""Least length of a text; shorter texts are commas and line ends."""


def _texts(node: jinja2.nodes.Expr) -> set[str]:
    found = {node.value} if isinstance(node, jinja2.nodes.Const) else set()
    return {text for text in found if isinstance(text, str)}


class _Generation(jinja2.ext.Extension):  # type: ignore[misc]
    """`{% generation %}…{% endgeneration %}`: puts marks around the assistant's text."""

    tags = {"generation"}  # noqa: RUF012 - as jinja2 declares it

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        """Turn the block into a call that wraps its output."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        call = self.call_method("_wrap")
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _wrap(self, caller: jinja2.runtime.Macro) -> str:
        return f"{OPEN}{caller()}{CLOSE}"


def _told_apart(tree: jinja2.nodes.Template) -> jinja2.nodes.Template:
    """Put marks before each message of a loop over the messages, and after the loop."""
    names = {"messages"}
    assigned = [
        (
            node.target.name,
            {name.name for name in node.node.find_all(jinja2.nodes.Name)} | _itself(node.node),
        )
        for node in tree.find_all(jinja2.nodes.Assign)
        if isinstance(node.target, jinja2.nodes.Name)
    ]
    for _ in assigned:
        names |= {name for name, used in assigned if used & names}
    _mark_loops(tree, names)
    return tree


def _itself(node: jinja2.nodes.Node) -> set[str]:
    return {node.name} if isinstance(node, jinja2.nodes.Name) else set()


def _mark_loops(node: jinja2.nodes.Node, names: set[str]) -> None:
    for name in ("body", "else_", "elif_"):
        block = getattr(node, name, None)
        if not isinstance(block, list) or isinstance(node, jinja2.nodes.Macro):
            continue
        marked: list[jinja2.nodes.Node] = []
        for inner in block:
            marked.append(inner)
            if isinstance(inner, jinja2.nodes.For) and _loops_over(inner, names):
                # Inner loops read other messages while a message is being written.
                called = jinja2.nodes.Call(
                    jinja2.nodes.Name(_MARK, "load"),
                    [jinja2.nodes.Name(inner.target.name, "load")],
                    [],
                    None,
                    None,
                )
                inner.body.insert(0, jinja2.nodes.Output([called]))
                end = jinja2.nodes.TemplateData("\ufdd2ftctlend\ufdd3")
                marked.append(jinja2.nodes.Output([end]))
            else:
                _mark_loops(inner, names)
        setattr(node, name, marked)


def _loops_over(loop: jinja2.nodes.For, names: set[str]) -> bool:
    used = {name.name for name in loop.iter.find_all(jinja2.nodes.Name)} | _itself(loop.iter)
    return isinstance(loop.target, jinja2.nodes.Name) and bool(used & names)


def _turns(text: str) -> Turns:
    """Split a text at its marks; of several loops, the loop that wrote the most text counts."""
    before, *rest = _TURN.split(text)
    marks = list(zip(rest[::2], rest[1::2], strict=True))
    runs: list[dict[int, str]] = [{}]
    ends = [0]
    for place, (mark, written) in enumerate(marks):
        if mark == "end":
            ends[-1] = place
            runs.append({})
            ends.append(len(marks))
        else:
            runs[-1][int(mark)] = runs[-1].get(int(mark), "") + written
    best = max(range(len(runs)), key=lambda one: len("".join(runs[one].values()).strip()))
    first = ends[best - 1] + 1 if best else 0
    return Turns(
        before=before + "".join(written for _, written in marks[:first]),
        texts=runs[best],
        behind="".join(written for _, written in marks[ends[best] :]),
    )


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = TODAY.strftime
    environment.getattr = _quick_getattr(environment.getattr)
    return environment


def _quick_getattr(getattr_: Callable[[object, str], object]) -> Callable[[object, str], object]:
    """Return a faster `getattr`: the sandbox finds `message.content` only after two exceptions.

    Other attributes that it finds itself are allowed by the sandbox too, after a dozen checks.
    """

    def find(value: object, name: str) -> object:
        if type(value) is dict:
            if name in value and name not in _OF_EVERY_DICT:
                return value[name]
        elif (type(value) is str and name in _OF_EVERY_TEXT) or (
            type(value) in _OWN and name[:1] != "_"
        ):
            try:
                return getattr(value, name)
            except AttributeError:
                pass
        return getattr_(value, name)

    return find


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)


def _to_json(
    value: object,
    ensure_ascii: bool = False,  # noqa: FBT001, FBT002 - templates call it so
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,  # noqa: FBT001, FBT002
) -> str:
    """Write plain JSON: jinja's own filter escapes HTML, and no model was trained on that."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )
