"""Inspector of examples for a local model, for building datasets.

Opens the tokenizer only in the process that counts tokens: it never travels between processes.
Checks that need no tokenizer need no package of the extra either.
"""

import hashlib
import importlib
import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from backends.contract.errors import BackendError
from backends.contract.inspector import Feature, Json, Limits, Piece
from backends.contract.jobs import BaseModel
from backends.installation import install_command
from backends.local_gpu.models.base_models import longest_context, model_folder, tokenizer_folder
from backends.local_gpu.models.model_files import special_of
from backends.local_gpu.tokens.answer_rows import conversations_of
from backends.local_gpu.tokens.example_checks import check_conversation, check_text

if TYPE_CHECKING:
    from backends.local_gpu.templates.chat_templates import Template
    from backends.local_gpu.tokens.answer_tokens import Answers
    from backends.local_gpu.tokens.tokenizers import ExampleTokenizer

VERSION: Final = 2
"""Raised whenever the same files would be counted otherwise."""
RULES_VERSION: Final = 2
"""Raised whenever other examples are refused."""
BATCH_HAS: Final = "a batch has (max_tokens_per_batch)"
"""What limits an example's length, where batches are smaller than what the model reads."""
_DECISIVE: Final = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
_START: Final = 3
"""Bytes: `<|i` occurs in few texts."""
_THOUGHTS: Final = ("<think>", "enable_thinking", "<|channel|>", "reasoning_content")
"""Texts that only a chat template with a place for thoughts contains."""
_SHIPPED: Final = Path(__file__).parent.parent / "templates" / "shipped"
_UNCHECKED: Final = "it was not checked whether the chat template can show every example"
_SPEAKER: Final = re.compile(b'"role":"([a-z])')
_TAKING_TURNS: Final = re.compile(b"(?:s?(?:ua)++)*+")
_SYSTEM: Final = b'"role":"system"'


@dataclass(frozen=True, kw_only=True)
class LocalInspector:
    """Implements `ExampleInspector`; see there for what each method promises."""

    base_model: BaseModel
    chat_template: str | None = None
    """A shipped template that replaces the model's own."""
    thinking: bool = False
    """True if the model is trained to think before it answers."""
    shape: BaseModel | None = None
    """Model whose settings count, where those of the base model are not in its folder."""
    max_length: int | None = None
    """Of plain texts: most tokens that are read at once. None reads conversations."""
    answers: bool = False
    """True for preference pairs and marked answers."""
    max_tokens_per_batch: int | None = None
    """Most tokens of a batch, and so of an example; None sets no limit."""

    @cached_property
    def identity(self) -> str:
        """Cache key of counts and refusals: the tokenizer's files count, the weights do not."""
        parts: list[Json] = [VERSION, RULES_VERSION, self.chat_template, self._context]
        folder = model_folder(self.base_model)
        if self.chat_template is not None:
            parts.append(_sha256(_SHIPPED / f"{self.chat_template}.jinja"))
        if self.max_length is not None:
            parts.append(self.max_length)
        if self.thinking:
            parts.append("thinking")
        if self.answers:
            parts.append("answers")
        if self.max_tokens_per_batch is not None:
            parts.append({"max_tokens_per_batch": self.max_tokens_per_batch})
        # Without the packages for rendering, fewer examples are refused.
        parts.append(self._can_render)
        if self.base_model.revision is not None:
            # Without the tokenizer, no example is refused for its control tokens.
            parts += [self.base_model.identity, (folder / "tokenizer.json").is_file()]
        else:
            parts += [_sha256(folder / name) for name in _DECISIVE]
        return "local:" + hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    @cached_property
    def thinks(self) -> bool:
        """True if the chat template has a place for thoughts or channels beside an answer."""
        if self.max_length is not None or self.chat_template is not None:
            return False
        folder = model_folder(self.base_model)
        beside = folder / "chat_template.jinja"
        source = beside if beside.is_file() else folder / "tokenizer_config.json"
        text = source.read_text(encoding="utf-8", errors="replace") if source.is_file() else ""
        return any(sign in text for sign in _THOUGHTS)

    @cached_property
    def limits(self) -> Limits:
        """The trainer's limits for a whole dataset: plain texts may have any length."""
        context, batch = self._context, self.max_tokens_per_batch
        if self.max_length is not None:
            return Limits()
        if batch is not None and (context is None or batch < context):
            return Limits(max_tokens=batch, max_tokens_of=BATCH_HAS)
        return Limits(max_tokens=context)

    def count(self, examples: Sequence[Mapping[str, Json]]) -> list[int]:
        """Return each example's number of tokens in training."""
        return self._reader.counts(examples)

    def longest(self, examples: Sequence[Mapping[str, Json]]) -> list[int]:
        """Return the tokens of the longer row of each pair; nothing where `count` tells them."""
        return self._answers.longest(examples) if self.answers else []

    def check(self, example: Mapping[str, Json]) -> None:
        """Refuse what the trainer would refuse much later."""
        if self.max_length is not None:
            check_text(example, self._control)
            return
        for conversation in conversations_of(example) if self.answers else (example,):
            check_conversation(conversation, self._control)
            self._judge(conversation)

    def all_pass(self, lines: bytes) -> bool:
        """Return True only if `check` accepts every line. False is always safe."""
        if self.max_length is not None or self.answers or not self._passes(lines):
            return False
        may_be_there = any(
            first in lines and any(start in lines for start in starts)
            for first, starts in self._starts.items()
        )
        return not (may_be_there and self._spelt.search(lines))

    def show(self, example: Mapping[str, Json]) -> list[Piece]:
        """Return an example exactly as the model sees it, token by token."""
        return self._reader.show(example)

    def warnings(self, features: Collection[Feature]) -> list[str]:
        """Return warnings about ignored features, and about checks that were not possible."""
        if self.max_length is not None:
            return []
        found = []
        if "parallel_tool_calls" in features:
            found.append(
                "no chat template reads `parallel_tool_calls` of the examples: the model learns "
                "from the answers alone how many tools to call at once"
            )
        if not self._tokenizer_is_here:
            found.append(f"{_UNCHECKED}: the base model is not on this machine")
        elif self._template is None:
            found.append(f"{_UNCHECKED}: that needs the packages of `{install_command('local')}`")
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def _context(self) -> int | None:
        return longest_context(self.shape or self.base_model)

    @property
    def _reader(self) -> "ExampleTokenizer[Any]":
        return self._answers if self.answers else self._opened

    @cached_property
    def _opened(self) -> "ExampleTokenizer[Any]":
        reader: ExampleTokenizer[Any] = _import(
            "backends.local_gpu.tokens.tokenizers"
        ).open_example_tokenizer(
            tokenizer_folder(self.base_model),
            self.chat_template,
            self.max_length,
            self._context,
            thinking=self.thinking,
        )
        return reader

    @cached_property
    def _answers(self) -> "Answers":
        module = _import("backends.local_gpu.tokens.answer_tokens")
        answers: Answers = module.Answers(chat=self._opened)
        return answers

    def _judge(self, example: Mapping[str, Json]) -> None:
        """Check the example with the chat template, where it is available."""
        template = self._template
        if isinstance(template, BackendError):
            raise BackendError(template.message, template.remedy)
        if template is not None:
            self._check_with(template, example)

    @cached_property
    def _check_with(self) -> "Callable[[Template, Mapping[str, Json]], None]":
        check: Callable[[Template, Mapping[str, Json]], None] = _import(
            "backends.local_gpu.templates.learnable"
        ).check
        return check

    @property
    def _tokenizer_is_here(self) -> bool:
        return (model_folder(self.base_model) / "tokenizer.json").is_file()

    @property
    def _can_render(self) -> bool:
        """True if the files and packages for rendering are here.

        Every plan asks for the identity, so nothing is imported and no template compiled for it.
        """
        has_template = self.max_length is None and self._tokenizer_is_here
        return has_template and find_spec("jinja2") is not None

    @cached_property
    def _templates(self) -> ModuleType | None:
        """Module that reads chat templates; None where files or packages are missing."""
        if not self._can_render:
            return None
        try:
            return _import("backends.local_gpu.templates.chat_templates")
        except BackendError:
            return None

    @cached_property
    def _template(self) -> "Template | BackendError | None":
        """Chat template, or the error of loading it; None where files or packages are missing."""
        templates = self._templates
        if templates is None:
            return None
        folder = model_folder(self.base_model)
        try:
            template: Template = templates.load_template(
                folder,
                self.chat_template,
                special=special_of(folder),
                thinking=self.thinking,
            )
        except BackendError as error:
            return error
        return template

    @cached_property
    def _passing(self) -> tuple[bool, bool, bool]:
        """Plain conversations that pass: alternating, the same role twice, with a system prompt."""
        template = self._template
        if template is None:
            return True, True, True
        if isinstance(template, BackendError):
            return False, False, False
        kinds: tuple[bool, bool, bool] = _import(
            "backends.local_gpu.templates.learnable"
        ).plain_kinds(template)
        return kinds

    def _passes(self, lines: bytes) -> bool:
        turns, twice, system = self._passing
        if not turns or (not system and _SYSTEM in lines):
            return False
        # Inside a text, every quote mark has a backslash, so this matches only roles.
        return twice or _TAKING_TURNS.fullmatch(b"".join(_SPEAKER.findall(lines))) is not None

    @cached_property
    def _control(self) -> re.Pattern[str]:
        """Pattern of control tokens; it finds nothing where the tokenizer is not on this machine."""
        return re.compile("|".join(map(re.escape, self._special)) or "(?!)")

    @cached_property
    def _spelt(self) -> re.Pattern[bytes]:
        """Pattern of control tokens, and of texts that a template looks for, in canonical lines."""
        spelt = (json.dumps(token, ensure_ascii=False)[1:-1] for token in self._telling)
        return re.compile("|".join(map(re.escape, spelt)).encode() or b"(?!)")

    @cached_property
    def _starts(self) -> Mapping[bytes, set[bytes]]:
        """Beginnings of the texts in `_telling`, by first byte: few bytes are found much faster."""
        starts: dict[bytes, set[bytes]] = {}
        for token in self._telling:
            spelt = json.dumps(token, ensure_ascii=False)[1:-1].encode()
            starts.setdefault(spelt[:1], set()).add(spelt[:_START])
        return starts

    @cached_property
    def _telling(self) -> tuple[str, ...]:
        template = self._template
        known = None if isinstance(template, BackendError) else template
        return (*self._special, *sorted(known.telling if known is not None else ()))

    @cached_property
    def _special(self) -> tuple[str, ...]:
        return tuple(special_of(model_folder(self.base_model)).values())


def _import(module: str) -> ModuleType:
    """Import a module that needs packages of the extra."""
    try:
        # Everything else imports these packages in child processes only.
        return importlib.import_module(module)
    except ImportError as error:
        message = f"counting tokens needs the package {error.name}"
        raise BackendError(message, install_command("local")) from error


def _sha256(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
