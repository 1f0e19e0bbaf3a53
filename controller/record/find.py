"""Prompts for one model: held-out rows, sampled training rows, sampled stored completions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from backends.contract.completions import Prompt
from backends.contract.errors import BackendError, NothingStored
from controller.evaluate.answers import expected_answer
from controller.evaluate.compare import EvaluatedModel, EvaluationContext, production_model
from controller.evaluate.gate import CANDIDATE
from controller.evaluate.labels import label_of
from controller.evaluate.prompts.held_out import HeldOut, prompt_of
from controller.evaluate.prompts.lazy import picked
from controller.lockfile.model import Build
from controller.plan.desired import Desired
from controller.project.project import Project
from controller.prompted.examples import shot_finder
from controller.record.policy import DataPolicy
from controller.record.stored import MOST_LISTED, StoredSample, read_stored, sample_stored
from controller.record.wanted import Part, Wanted, asked_prompts, sample_places
from controller.resolve.answers import OpenBackend
from controller.resolve.resolve import Resolved

_LONGEST_LABEL: Final = 40
"""Characters of a label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordOptions:
    """Sizes of the samples."""

    train: int
    """Training rows."""
    stored: int
    """Stored completions."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Stored completions with these metadata, of any model; those of the model itself if empty."""
    must_list: bool = False
    """True if it is an error that stored completions could not be listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """Rows of stored completions, and sentences about them."""

    lines: Sequence[bytes] = ()
    new: Sequence[bytes] = ()
    listed: int = 0
    notes: Sequence[str] = ()
    unlisted: BackendError | None = None


def wanted_of(
    name: str,
    build: Build,
    resolved: Resolved,
    project: Project,
    open_backend: OpenBackend,
    options: RecordOptions,
) -> Wanted:
    """Return what is wanted of the model in production of a fine-tune.

    Args:
        name: The fine-tune.
        build: Its build in production.
        resolved: The resolved specs.
        project: The repository.
        open_backend: Opens a backend by its place.
        options: The wanted samples.

    Raises:
        DataError: A package that finds personal data is missing.
        FtctlError: A file of stored completions is damaged.
    """
    desired, dataset = resolved.desired[name], resolved.datasets[name]
    context = EvaluationContext(
        root=project.root,
        open_backend=open_backend,
        train=dataset.train.path,
        has_answers=lambda _: False,
        find_shots=shot_finder(project.state, dataset.train),
    )
    model = production_model(build, desired, context)
    held_out, train = HeldOut(dataset.held_out), HeldOut(dataset.train)
    sampled = picked(train, sample_places(train, options.train)) if options.train else ()
    stored = _stored(desired, model, project, open_backend, options)
    of_labels = _is_of_labels(desired, held_out)
    rows: dict[str, tuple[Sequence[Prompt], int]] = {
        "held_out": (held_out, len(held_out)),
        "train": (sampled, len(train)),
        "stored": ([prompt_of(line) for line in stored.lines], stored.listed),
    }
    parts = [
        Part(name=kind, prompts=asked_prompts(model, prompts, of_labels=of_labels), of=of)
        for kind, (prompts, of) in rows.items()
    ]
    return Wanted(
        name=name,
        model=model,
        parts=parts,
        prepare=desired.spec.data.prepare,
        is_private=desired.spec.data.is_private,
        held_out=dataset.held_out,
        scores={} if build.evaluation is None else build.evaluation.scores[CANDIDATE],
        new_stored=stored.new,
        notes=stored.notes,
        unlisted=stored.unlisted if options.must_list else None,
    )


def _is_of_labels(desired: Desired, held_out: HeldOut) -> bool:
    """Return True if answers are labels: by the metrics; without any, by the expected answers.

    The spec of an adopted model names no metrics, and its labels cannot be asked for later.
    """
    metrics = desired.spec.evaluation.metrics
    if metrics:
        return any(one.metric.is_of_labels for one in metrics)
    answers = [expected_answer(prompt.reference) for prompt in held_out]
    labels = {label_of(answer.text) for answer in answers}
    is_short = all(0 < len(label) <= _LONGEST_LABEL for label in labels)
    return (
        is_short and not any(one.calls for one in answers) and len(answers) >= 2 * len(labels) > 0
    )


def stored_path(project: Project, name: str, *, is_private: bool) -> Path:
    """Return the file of a fine-tune's stored completions; private rows stay on this machine."""
    folder = project.state / "recorded" if is_private else project.recorded
    return folder / f"{name}.stored.jsonl"


def _stored(
    desired: Desired,
    model: EvaluatedModel,
    project: Project,
    open_backend: OpenBackend,
    options: RecordOptions,
) -> _Stored:
    """Return rows of stored completions; the service is asked only if there are too few."""
    if not options.stored:
        return _Stored()
    is_private = desired.spec.data.is_private
    known = read_stored(stored_path(project, desired.name, is_private=is_private))
    if len(known) >= options.stored:
        return _Stored(lines=known, listed=len(known))
    own = model.model_id or model.base_model.reference
    try:
        sample = sample_stored(
            open_backend(model.place),
            None if options.metadata else own,
            options.metadata,
            count=options.stored - len(known),
            known=known,
            policy=DataPolicy(desired.spec.data.prepare),
        )
    except NothingStored as error:
        return _Stored(lines=known, listed=len(known), notes=[f"{error.message}: none is asked"])
    except BackendError as error:
        note = f"stored completions were not listed: {error.message}"
        return _Stored(lines=known, listed=len(known), notes=[note], unlisted=error)
    return _Stored(
        lines=[*known, *sample.lines],
        new=sample.lines,
        listed=max(sample.listed, len(known)),
        notes=_notes(sample),
    )


def _notes(sample: StoredSample) -> list[str]:
    notes = []
    if sample.refused:
        notes.append(
            f"{sample.refused:,} stored completions hold personal data, which data.prepare.pii "
            "keeps out"
        )
    if sample.unusable:
        notes.append(f"{sample.unusable:,} stored completions have no question that can be asked")
    if sample.listed == MOST_LISTED:
        notes.append(f"only the newest {MOST_LISTED:,} stored completions were listed")
    return notes
