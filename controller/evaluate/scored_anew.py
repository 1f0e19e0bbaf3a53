"""Check if the newest version of scoring may score a dataset differently than the first version."""

from collections.abc import Mapping
from dataclasses import replace
from json import loads
from pathlib import Path
from typing import Any, Final

from backends.contract.backend import Capabilities, Encoder
from controller.data.dataset import Dataset
from controller.lockfile.model import Entry
from controller.plan.desired import Desired
from controller.plan.versions import NEWEST, version_of

_SIGNS: Final = (b'"tool_calls":', b'"reasoning', b'"thinking":', b"<think>", b'"content":[')
"""Parts of a canonical line whose answer may get another score. Quotes inside texts are escaped, so
texts do not match."""


def with_scoring(
    desired: Desired, entry: Entry, dataset: Dataset, encoder: Encoder, can: Capabilities
) -> Desired:
    """Return a spec's inputs, with information on how its answers are scored.

    Args:
        desired: Inputs that the spec asks for.
        entry: The fine-tune's record; the dataset is read only if it holds older scores.
        dataset: The dataset of the spec.
        encoder: Encoder of its model.
        can: Capabilities of its backend.
    """
    why = _scored_anew(entry, dataset, encoder)
    if not why and can.measures_loss:
        return desired
    return replace(desired, measures_loss=can.measures_loss, scored_anew=why)


def _scored_anew(entry: Entry, dataset: Dataset, encoder: Encoder) -> str:
    recorded = [build.evaluation for build in entry.builds.values() if build.evaluation is not None]
    if all(version_of(one) == NEWEST for one in recorded):
        return ""
    if encoder.thinks:
        return "its model's answers may begin with thoughts, which are not scored any more"
    return _of_references(dataset.held_out.path)


def _of_references(path: Path) -> str:
    text = path.read_bytes()
    if not any(sign in text for sign in _SIGNS):
        return ""
    for line in text.splitlines():
        if any(sign in line for sign in _SIGNS):
            why = _of_reference(_last_answer(loads(line)))
            if why:
                return why
    return ""


def _last_answer(example: Mapping[str, Any]) -> Mapping[str, Any]:
    asked = example.get("input", example)
    turns = [*asked.get("messages", ()), *example.get("preferred_output", ())]
    last: Mapping[str, Any] = turns[-1] if turns else {}
    return last


def _of_reference(message: Mapping[str, Any]) -> str:
    if message.get("tool_calls") or message.get("function_call"):
        return "calls of tools are compared as calls"
    content = message.get("content")
    if isinstance(content, list):
        return "answers in several parts are compared as one text"
    if "<think>" in str(content or "") or any("thinking" in k or "reasoning" in k for k in message):
        return "thoughts before an answer are not scored any more"
    return ""
