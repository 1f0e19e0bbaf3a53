"""Refuse by name each field of a spec that has no effect next to its other fields. Pure.

A field with its default value passes, since writing out a default changes nothing.
"""

from collections.abc import Iterator

from backends.contract.methods import METHODS
from controller.errors import Problem
from controller.spec.data import Prepare
from controller.spec.load import LoadedSpec
from controller.spec.model import Evaluation


def check_unread(loaded: LoadedSpec) -> Iterator[Problem]:
    """Yield a problem for each field of a spec that has no effect."""
    yield from _check_prepare(loaded)
    spec, data = loaded.spec, loaded.spec.data
    for split, number, source in data.numbered_sources():
        if split == "held_out" and source.weight != 1:
            path = ("data", split, number, "weight")
            message = "held-out examples are measured once each, whatever their weight"
            yield loaded.problem(path, message, "Remove it, or use `sample`.")
    if spec.revision is not None and spec.base_model.startswith(("./", "../", "/")):
        message = "a folder has no revision: its contents are its identity"
        yield loaded.problem(("revision",), message, "Remove it.")
    if not METHODS[spec.method].is_of_texts:
        return
    if data.system is not None:
        message = "plain texts have no system prompt"
        yield loaded.problem(("data", "system"), message, "Remove it, or train conversations.")
    if spec.evaluation.max_tokens != Evaluation.model_fields["max_tokens"].default:
        message = "plain texts are measured by their loss, and nobody answers them"
        yield loaded.problem(("evaluation", "max_tokens"), message, "Remove it.")


def _check_prepare(loaded: LoadedSpec) -> Iterator[Problem]:
    prepare, default = loaded.spec.data.prepare, Prepare()
    needs = (
        ("similarity", prepare.deduplicate == "near", "deduplicate: near"),
        ("pii_regions", prepare.pii != "off", "pii: mask"),
        ("over_length", prepare.max_tokens is not None, "max_tokens: 2048"),
    )
    for key, is_read, needed in needs:
        if not is_read and getattr(prepare, key) != getattr(default, key):
            message = f"does nothing without `{needed.partition(':')[0]}`"
            remedy = f"Add `{needed}` to data.prepare, or remove `{key}`."
            yield loaded.problem(("data", "prepare", key), message, remedy)
