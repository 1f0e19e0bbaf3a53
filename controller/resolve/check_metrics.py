"""Checks that a spec's metrics fit its data, before anyone pays for training.

The expected answers are read only for an evaluation that is not recorded yet. Training examples are
read until every held-out label was found among them.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

from backends.contract.methods import METHODS, form_of
from controller.data.dataset import Dataset, Split
from controller.errors import FtctlError, Problem
from controller.evaluate.answers import Answer, expected_answer
from controller.evaluate.labels import labels_of
from controller.spec.load import LoadedSpec
from controller.spec.model import Spec
from controller.spec.retain import RetainSource

LABEL_WORDS: Final = 5
"""Most words of a text that may be a label."""
LABEL_CHARACTERS: Final = 40
"""Most characters of such a text, since Chinese and Japanese have no blanks between words."""
DISTINCT: Final = 0.5
"""Share of distinct expected answers above which they are not labels."""
_NAMED: Final = 5
"""Most labels that a warning names."""


def check_metrics(loaded: LoadedSpec) -> Iterator[Problem]:
    """Yield what is wrong with the settings of metrics, and packages that they lack."""
    evaluation = loaded.spec.evaluation
    chosen = {("metrics", place): one for place, one in enumerate(evaluation.metrics)}
    for place, source in enumerate(evaluation.retain):
        if isinstance(source, RetainSource):
            chosen["retain", place] = source.metric
    for (key, place), one in chosen.items():
        try:
            one.metric.require_ready(one.settings)
        except FtctlError as error:
            path = ("evaluation", key, place)
            yield loaded.problem(path, error.message, error.remedy)


def check_fit(loaded: LoadedSpec, dataset: Dataset) -> Iterator[Problem]:
    """Yield the metrics that cannot score the expected answers of the held-out set."""
    chosen = list(enumerate(loaded.spec.evaluation.metrics))
    if not chosen or METHODS[loaded.spec.method].is_of_texts:
        return
    numbered = list(_numbered_answers(dataset.held_out))
    answers = [answer for _, answer in numbered]
    for index, one in chosen:
        misfit = one.metric.misfit(one.settings, answers)
        if misfit is None:
            continue
        where = ""
        if misfit.place is not None:
            where = f": {_origin(dataset.held_out, numbered[misfit.place][0])}"
        found = "" if misfit.place is None else " has none"
        message = f"{one.name} {misfit.message}{where}{found}"
        yield loaded.problem(("evaluation", "metrics", index), message, misfit.remedy)


def fit_warnings(spec: Spec, dataset: Dataset) -> Iterator[str]:
    """Yield a sentence for each doubt that the expected answers are what the metrics measure."""
    of_labels = [one for one in spec.evaluation.metrics if one.metric.is_of_labels]
    if not of_labels or METHODS[spec.method].is_of_texts:
        return
    answers = [one for one in _answers(dataset.held_out) if not one.calls]
    labels = labels_of(answers)
    if _are_free_texts(answers, labels):
        names = ", ".join(one.name for one in of_labels)
        yield (
            f"{len(labels):,} of {len(answers):,} held-out answers are different texts, not labels, "
            f"so {names} will be low; chrf and rouge_l compare texts"
        )
        return
    untrained = _without(labels, dataset.train)
    if untrained:
        yield f"held-out labels that no training example has: {_listed(untrained)}"


def _are_free_texts(answers: Sequence[Answer], labels: Sequence[str]) -> bool:
    long = [
        label
        for label in labels
        if len(label) > LABEL_CHARACTERS or len(label.split()) > LABEL_WORDS
    ]
    return len(labels) > DISTINCT * len(answers) and len(long) > DISTINCT * len(labels)


def _without(labels: Sequence[str], train: Split) -> list[str]:
    """Return the labels that no training example has."""
    missing = dict.fromkeys(labels)
    for answer in _answers(train):
        for label in labels_of([answer]):
            missing.pop(label, None)
        if not missing:
            break
    return list(missing)


def _answers(split: Split) -> Iterator[Answer]:
    return (answer for _, answer in _numbered_answers(split))


def _numbered_answers(split: Split) -> Iterator[tuple[int, Answer]]:
    """Yield the expected answers of a split with the numbers of their examples.

    An example whose answer is marked as bad expects none.
    """
    with split.path.open("rb") as file:
        for number, example in enumerate(map(json.loads, file)):
            form = form_of(example)
            reference = form.reference(example)
            if reference is not None or form.unwanted(example) is None:
                yield number, expected_answer(reference)


def _origin(split: Split, place: int) -> str:
    return _line(split.origins, place) or f"example {place + 1}"


def _line(path: Path, place: int) -> str:
    with path.open(encoding="utf-8", newline="\n") as file:
        return next(islice(file, place, None), "").rstrip("\n")


def _listed(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - _NAMED:,} more" if len(labels) > _NAMED else ""
    return ", ".join(labels[:_NAMED]) + more
