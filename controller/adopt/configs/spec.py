"""The spec of a translated configuration, and the report on every key. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from backends.contract.inspector import Json
from backends.contract.methods import SUPERVISED
from backends.registry import LOCAL
from controller.adopt.configs.keys import shown
from controller.adopt.configs.translation import Fate, Line, Translation
from controller.adopt.spec_text import HEAD, AdoptedSpec
from controller.render.text import escape_control

HEADINGS: Final[Mapping[Fate, str]] = {
    Fate.LOST: "Not translated: these change what is trained, or how it is measured",
    Fate.UNKNOWN: "Not translated: no key that ftctl knows; look whether it matters",
    Fate.TRANSLATED: "Translated",
    Fate.DEFAULTED: "Not given; the spec says what {tool} does then",
    Fate.IDLE: "Left out: these change nothing that is trained",
}
"""Headings of the report, in its order."""
ONE_DEVICE: Final = (
    "Batch sizes are those of one device. If {tool} trained on several, multiply "
    "gradient_accumulation_steps by their number."
)


def translated_spec(
    translation: Translation,
    *,
    name: str,
    file: str,
    base_model: str,
    train: Sequence[Mapping[str, Json]],
    held_out: Sequence[Mapping[str, Json]] | None,
) -> AdoptedSpec:
    """Return the spec of a configuration.

    Args:
        translation: The configuration.
        name: The fine-tune's name.
        file: The configuration's file, for the comment at the top.
        base_model: The base model as a spec names it.
        train: Sources of training examples.
        held_out: Sources of held-out examples; None for a share of the training examples.
    """
    data: dict[str, Json] = {"train": list(train)}
    share = translation.held_out if isinstance(translation.held_out, float) else None
    data["held_out"] = {"fraction": share} if held_out is None else list(held_out)
    if translation.system is not None:
        data["system"] = translation.system
    if translation.prepare:
        data["prepare"] = dict(translation.prepare)
    values: dict[str, Json] = {"backend": LOCAL, "base_model": base_model}
    if translation.revision is not None:
        values["revision"] = translation.revision
    if translation.method != SUPERVISED.name:
        values["method"] = translation.method
    values |= {
        "data": data,
        "hyperparameters": dict(translation.hyperparameters),
        "seed": translation.seed,
    }
    notes = {HEAD: [first_note(file, translation.tool), *_lost(translation)]}
    return AdoptedSpec(name=name, values=values, notes=notes)


def first_note(file: str, tool: str) -> str:
    """Return the first comment of a spec that was made from a configuration."""
    return f"From {file}, a configuration of {tool}."


def _lost(translation: Translation) -> Iterator[str]:
    lines = [line for line in translation.lines if line.fate in {Fate.LOST, Fate.UNKNOWN}]
    if lines:
        yield "Not translated, since it has no equivalent:"
    for line in _in_order(lines):
        given = "" if line.given is None else f": {shown(line.given)}"
        yield f"- {line.key}{given} ({line.text})"


def report_text(lines: Sequence[Line], *, tool: str, file: str) -> str:
    """Return what became of each key, those first that change what is trained."""
    blocks = []
    for fate, heading in HEADINGS.items():
        said = [line for line in lines if line.fate is fate]
        if said:
            title = f"{heading.format(tool=tool)} ({len(said)}):"
            blocks.append("\n".join([title, *_block(fate, said, file)]))
    return escape_control("\n\n".join(blocks))


def _block(fate: Fate, lines: Sequence[Line], file: str) -> Iterator[str]:
    if fate is Fate.IDLE:
        by_text: dict[str, list[str]] = {}
        for line in lines:
            by_text.setdefault(line.text, []).append(line.key)
        for text, keys in by_text.items():
            yield f"  {', '.join(keys)}"
            yield f"      {text}"
        return
    for line in _in_order(lines):
        given = "" if line.given is None else f": {shown(line.given)}"
        if fate in {Fate.LOST, Fate.UNKNOWN}:
            at = "" if line.line is None else f"{file}:{line.line}: "
            yield f"{'!' if fate is Fate.LOST else '?'} {at}{line.key}{given}"
            yield f"      {line.text}"
        else:
            yield f"  {line.key}{given} → {line.text}"


def _in_order(lines: Sequence[Line]) -> list[Line]:
    return sorted(lines, key=lambda line: (line.line is None, line.line or 0))


def report_json(lines: Sequence[Line]) -> list[Json]:
    """Return the same for programs."""
    return [
        {
            "fate": line.fate.value,
            "key": line.key,
            "given": line.given,
            "text": line.text,
            "line": line.line,
        }
        for line in lines
    ]
