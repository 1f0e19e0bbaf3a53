"""Warnings about data and model, before a person pays for training.

Trainers say these things hours later, or never.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from backends.contract.inspector import ExampleInspector
from backends.contract.methods import form_of
from controller.data.dataset import Dataset
from controller.data.report import StepName
from controller.data.suggestions import join_names
from controller.evaluate.answers import Answer, expected_answer
from controller.evaluate.gate import gate_columns, parse_condition, split_score
from controller.resolve.gate_size import rough
from controller.spec.evaluation import LABEL
from controller.spec.model import Spec

_SAID: dict[tuple[StepName, str], str] = {
    ("max_tokens", "changed"): "cut to data.prepare.max_tokens, so that answers end in mid-air",
    ("max_tokens", "noted"): "longer than the base model reads, which are cut there",
    ("pii", "noted"): "with personal data or secrets, which stay as they are",
    ("tools", "noted"): "that call a function which is not among their tools",
    ("calls", "noted"): "that call a tool without an argument that it requires",
    (
        "greeting",
        "noted",
    ): "in which the assistant speaks first, which is learnt without a question",
    ("leak", "noted"): "that ask what a held-out example asks, which flatters the scores",
}
"""Warning texts, printed as `examples <text>: <count>`."""

_LEFT_OUT: dict[StepName, str] = {
    "unusable": "rows set aside that cannot be used",
    "pairs": "preference pairs left out, whose answers are the same",
}
"""Warning texts about rows and pairs that are left out, printed before their number."""


_TOLD: dict[StepName, str] = {
    "read": "how files were read",
    "columns": "columns of the evaluation",
    "where": "conditions",
}
"""Steps with remarks about a whole file, which are printed themselves."""
_MOST = 3


def warnings_of(spec: Spec, dataset: Dataset, inspector: ExampleInspector) -> Iterator[str]:
    """Yield a sentence for each thing worth knowing."""
    yield from inspector.warnings(dataset.report.features)
    for step in dataset.report.steps:
        if step.dropped and (what := _LEFT_OUT.get(step.name)) is not None:
            yield f"{what}: {step.dropped:,}"
        for effect, count in (("changed", step.changed), ("noted", step.noted)):
            what = _SAID.get((step.name, effect))
            if what is not None and count:
                names = _undefined(dataset) if step.name == "tools" else ""
                yield f"examples {what}: {count:,}{names}"
        if step.name in _TOLD and step.noted:
            yield from step.reasons[:_MOST]
            if step.noted > _MOST:
                yield f"and {step.noted - _MOST:,} more remarks on {_TOLD[step.name]}"
    yield from _ambiguous_label(spec, dataset)
    yield from _unreachable(spec, dataset.held_out.path)
    yield from rough(spec, dataset.held_out.examples)
    yield from _judged_alone(spec)


def _ambiguous_label(spec: Spec, dataset: Dataset) -> Iterator[str]:
    """Yield a remark on a key `label` of rows that an evaluation may seem to name."""
    settings = spec.evaluation
    if LABEL not in {settings.group_by, *settings.slices, *gate_columns(spec.gate)}:
        return
    for source in dataset.report.sources:
        if LABEL in source.unread and (source.split == "held_out" or spec.data.fraction):
            yield (
                f"`{LABEL}` in `evaluation` and `gate` means the expected answer, not the key `{LABEL}` of "
                f"{source.path}; rename that key to use it"
            )


def _unreachable(spec: Spec, held_out: Path) -> Iterator[str]:
    for chosen in spec.evaluation.metrics:
        texts = chosen.metric.unreachable(chosen.settings, _expected(held_out))
        if texts:
            yield (
                f"held-out examples that `{chosen.name}` counts as wrong whatever is answered: "
                f"{len(texts):,}, whose answers are {join_names(dict.fromkeys(texts))}"
            )


def _expected(path: Path) -> Iterator[Answer]:
    """Yield the expected answers of held-out examples; the file is opened by the first reader."""
    with path.open("rb") as lines:
        for line in lines:
            example = json.loads(line)
            form = form_of(example)
            reference = form.reference(example)
            if reference is not None or form.unwanted(example) is None:
                yield expected_answer(reference)


def _undefined(dataset: Dataset) -> str:
    names = [name for source in dataset.report.sources for name in source.undefined]
    return f": {join_names(dict.fromkeys(names))}"


def _judged_alone(spec: Spec) -> Iterator[str]:
    """Yield a sentence if nothing but judges decides about production."""
    named = {split_score(parse_condition(text).metric)[0] for text in spec.gate}
    judges = spec.evaluation.judges
    if named and named <= judges.keys():
        models = join_names(dict.fromkeys(judges[name].model for name in sorted(named)))
        yield (
            f"the gate asks {models} alone, and a judge errs as models do: add a metric by rule, or "
            "people's scores (`human`)"
        )
