"""Check if the newest version of scoring may score a dataset differently than the first version."""

from collections.abc import Mapping
from dataclasses import replace
from json import loads
from pathlib import Path
from typing import Any, Final

from backends.contract.capabilities import Capabilities
from backends.contract.inspector import ExampleInspector
from backends.contract.methods import form_of
from controller.lockfile.model import Entry
from controller.plan.desired import Desired
from controller.plan.versions import NEWEST, version_of

_SIGNS: Final = (b'"tool_calls":', b'"reasoning', b'"thinking":', b"<think>", b'"content":[')
"""Parts of a canonical line whose answer may get another score. Quotes inside texts are escaped, so
texts do not match."""


def with_scoring(
    desired: Desired, entry: Entry, held_out: Path, inspector: ExampleInspector, can: Capabilities
) -> Desired:
    """Return a spec's inputs, with information on how its answers are scored.

    Args:
        desired: Inputs that the spec asks for.
        entry: The fine-tune's record in the lockfile.
        held_out: The held-out examples, read only if the entry has scores of an older version.
        inspector: Inspector of examples for the spec's model.
        can: Capabilities of the spec's backend.
    """
    why = _rescore_reason(entry, held_out, inspector)
    if not why and can.measures_loss:
        return desired
    return replace(desired, measures_loss=can.measures_loss, rescore_reason=why)


def _rescore_reason(entry: Entry, held_out: Path, inspector: ExampleInspector) -> str:
    recorded = [build.evaluation for build in entry.builds.values() if build.evaluation is not None]
    if all(version_of(one) == NEWEST for one in recorded):
        return ""
    if inspector.thinks:
        return "its model's answers may begin with thoughts, which are not scored any more"
    return _reason_in_references(held_out)


def _reason_in_references(path: Path) -> str:
    text = path.read_bytes()
    if not any(sign in text for sign in _SIGNS):
        return ""
    for line in text.splitlines():
        if any(sign in line for sign in _SIGNS):
            example = loads(line)
            why = _reason_in(form_of(example).reference(example) or {})
            if why:
                return why
    return ""


def _reason_in(message: Mapping[str, Any]) -> str:
    if message.get("tool_calls") or message.get("function_call"):
        return "calls of tools are compared as calls"
    content = message.get("content")
    if isinstance(content, list):
        return "answers in several parts are compared as one text"
    if "<think>" in str(content or "") or any("thinking" in k or "reasoning" in k for k in message):
        return "thoughts before an answer are not scored any more"
    return ""
