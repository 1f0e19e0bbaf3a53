"""Moves of fine-tunes: the gate that judges them, and the answers of production that are kept."""

from collections.abc import Iterator, Mapping
from dataclasses import replace as with_changes
from typing import cast

from backends.contract.errors import BackendError
from backends.contract.inspector import Json
from backends.contract.methods import METHODS
from controller.data.dataset import Dataset
from controller.errors import Problem
from controller.evaluate.answer_store import AnswerStore
from controller.evaluate.ask import KeptAnswers
from controller.evaluate.compare import (
    EvaluationContext,
    needs_answers,
    recorded_production,
    recorded_scores,
)
from controller.evaluate.gate import parse_condition, split_score
from controller.evaluate.prompts.held_out import HeldOut
from controller.evaluate.scoring import measured_metrics
from controller.lockfile.model import Build, Entry
from controller.plan.desired import Desired
from controller.plan.moving.default_gate import (
    default_gate,
    implied_gate,
    left_build,
    recorded_gate,
    with_gate,
)
from controller.plan.moving.move import Judges, Move
from controller.project.project import Project
from controller.prompted.examples import shot_finder
from controller.resolve.answers import OpenBackend
from controller.resolve.inputs import Readings
from controller.resolve.validate import refuse
from controller.spec.evaluation import PRODUCTION
from controller.spec.load import LoadedSpec
from controller.spec.model import Spec


def with_implied_gate(
    loaded: LoadedSpec,
    fingerprint: str,
    entry: Entry,
    dataset: Dataset,
    readings: Readings,
    open_backend: OpenBackend,
) -> LoadedSpec:
    """Return a spec with the gate of a move, where it moves and writes none.

    Args:
        loaded: The spec.
        fingerprint: Of the build that it asks for.
        entry: What is recorded of the fine-tune.
        dataset: Examples of the spec.
        readings: Answers of backends in the same pass.
        open_backend: Opens a backend by its place.

    Raises:
        InvalidInput: Nothing can judge the move.
    """
    gate = implied_gate(loaded.spec, fingerprint, entry, dataset.held_out.examples)
    judged = loaded
    if gate is not None:
        judged = with_changes(loaded, spec=with_gate(loaded.spec, gate))
    wrong = [*_unjudged(judged, fingerprint, entry)]
    wrong += _unmeasured(judged, fingerprint, entry, readings, open_backend)
    refuse(wrong, ())
    return judged


def _unjudged(loaded: LoadedSpec, fingerprint: str, entry: Entry) -> Iterator[Problem]:
    """Yield a problem for a move that nothing judges, unless its spec wants that: `gate: []`.

    What was approved and trained before there were such gates continues.

    Args:
        loaded: The spec, with the implied gate where it has one.
        fingerprint: Of the build that it asks for.
        entry: What is recorded of the fine-tune.
    """
    spec, old = loaded.spec, left_build(loaded.spec, fingerprint, entry)
    is_judged_so = fingerprint in entry.builds and not recorded_gate(fingerprint, entry)
    if old is None or spec.gate or spec.allows_worse or is_judged_so:
        return
    where = f"{old.backend} to {spec.place}"
    if old.backend == spec.place:
        where = f"{old.base_model} to {spec.base_name}"
    message = f"nothing can judge the move from {where}: {_why(spec)}"
    yield loaded.problem(("gate",), message, _remedy(spec))


def _unmeasured(
    loaded: LoadedSpec,
    fingerprint: str,
    entry: Entry,
    readings: Readings,
    open_backend: OpenBackend,
) -> Iterator[Problem]:
    """Yield the conditions on production that compare losses where one of both places has none.

    Args:
        loaded: The spec.
        fingerprint: Of the build that it asks for.
        entry: What is recorded of the fine-tune.
        readings: Answers of backends in the same pass.
        open_backend: Opens a backend by its place.
    """
    spec, old = loaded.spec, left_build(loaded.spec, fingerprint, entry)
    if old is None or fingerprint in entry.builds:
        return
    of_texts = METHODS[spec.method].is_of_texts
    metrics = measured_metrics(spec.evaluation.metrics, of_texts=of_texts)
    for index, text in enumerate(spec.gate):
        condition = parse_condition(text)
        metric = metrics.get(split_score(condition.metric)[0])
        if condition.model != PRODUCTION or metric is None or not metric.is_of_texts:
            continue
        for place in (old.backend, spec.place):
            if _measures_loss(place, readings, open_backend):
                continue
            message = f"{place} measures no {metric.name}, so `{text}` could not be judged"
            remedy = "Compare another metric of evaluation.metrics with production, or remove it."
            yield loaded.problem(("gate", index), message, remedy)
            break


def _measures_loss(place: str, readings: Readings, open_backend: OpenBackend) -> bool:
    try:
        return readings.answers.capabilities_of(place, open_backend(place)).measures_loss
    except BackendError:
        return True


def find_move(
    desired: Desired,
    written: Spec,
    entry: Entry,
    dataset: Dataset,
    readings: Readings,
    open_backend: OpenBackend,
) -> Move | None:
    """Return the move that training for a spec would be; None if it moves nowhere.

    Args:
        desired: Inputs that the spec asks for.
        written: The spec as written, without an implied gate.
        entry: What is recorded of the fine-tune.
        dataset: Examples of the spec.
        readings: The repository, with the answers that are kept.
        open_backend: Opens a backend by its place.
    """
    spec, old = desired.spec, left_build(desired.spec, desired.fingerprint, entry)
    if old is None or desired.fingerprint in entry.builds:
        return None
    is_implied = bool(spec.gate) and not written.gate
    gate = default_gate(written, dataset.held_out.examples) if is_implied else None
    unopened, paid = "", False
    try:
        paid = readings.answers.capabilities_of(old.backend, open_backend(old.backend)).paid
    except BackendError as error:
        unopened = error.message
    judges = None
    if PRODUCTION in spec.evaluation.roles:
        found = _judges(desired, old, dataset, readings.project, open_backend)
        judges = with_changes(found, unopened=unopened)
    return Move(
        build=old.fingerprint,
        model_id=old.model_id,
        old_place=old.backend,
        old_base=old.base_model,
        new_place=spec.place,
        new_base=spec.base_name,
        hyperparameters=cast("Mapping[str, Json]", spec.hyperparameters),
        trains=spec.trains,
        gate=tuple(spec.gate),
        implied=is_implied,
        note=gate.note if gate is not None else "",
        judges=judges,
        paid=paid,
    )


def _judges(
    desired: Desired, old: Build, dataset: Dataset, project: Project, open_backend: OpenBackend
) -> Judges:
    store = AnswerStore(project.answers, project.recorded)
    kept = KeptAnswers(store=store, prompts=HeldOut(dataset.held_out))
    context = EvaluationContext(
        root=project.root,
        open_backend=open_backend,
        train=dataset.train.path,
        has_answers=kept.has_all,
        find_shots=shot_finder(project.state, dataset.train),
    )
    model, scores = recorded_production(old, desired, context), recorded_scores(old, desired)
    return Judges(
        prompts=len(kept.prompts),
        missing=len(kept.prompts) if model is None else kept.missing(model),
        scored=bool(scores) and not needs_answers(desired, PRODUCTION),
    )


def _why(spec: Spec) -> str:
    if METHODS[spec.method].is_of_texts:
        return "plain texts have a loss alone, and two base models count tokens differently"
    if not spec.evaluation.metrics:
        return "evaluation.metrics names no metric that both models have"
    names = ", ".join(one.name for one in spec.evaluation.metrics)
    return f"{names} has no margin that is not worse for both models"


def _remedy(spec: Spec) -> str:
    anything = "write `gate: []` to promote whatever is trained."
    if METHODS[spec.method].is_of_texts:
        return f"Write a gate, such as `gate: [held_out_loss <= base.held_out_loss]`, or {anything}"
    if not spec.has_held_out:
        return f"Add data.held_out and a metric of evaluation.metrics, or {anything}"
    return (
        "Add a metric, such as `evaluation: {metrics: [exact_match]}` (`ftctl help metrics`), or "
        f"write a gate, or {anything}"
    )
