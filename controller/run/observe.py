"""Answers of the backends: open jobs, jobs for wanted inputs, models that a lockfile lost.

One call for each backend and kind of question, however many fine-tunes ask it. A backend that gives
no answer concerns its own fine-tunes.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from typing import Any

from backends.contract.backend import Backend
from backends.contract.errors import BackendError, CredentialsMissing, NotOffered
from backends.contract.jobs import BaseModel
from controller.adopt.lost import find_adopted
from controller.errors import Problem
from controller.lockfile.model import Build, Lockfile
from controller.plan.desired import Desired
from controller.plan.observed import Lost, Observed
from controller.plan.versions import holds
from controller.project.project import Project
from controller.resolve.answers import OpenBackend
from controller.resolve.resolve import Resolved
from controller.run.deployments import find_deployments
from controller.run.lost import (
    entry_of_jobs,
    inputs_of_entry,
    inputs_of_jobs,
    recorded_in_git,
)
from controller.run.shutdowns import Ends, Subject, find_ends, production_subject
from controller.spec.model import Spec

_NO_ENDPOINTS = Problem(
    message="ftctl.yaml, which says where servers are, cannot be read", remedy="Correct it first."
)


@dataclass(slots=True)
class _Questions:
    """Questions to one backend."""

    jobs: list[str] = field(default_factory=list)
    fingerprints: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    """Fine-tunes without an entry, and the fingerprints they ask for."""
    aliased: dict[str, Desired] = field(default_factory=dict)
    """Fine-tunes without an entry whose specs have aliases: their models may be adopted ones."""
    bases: dict[str, BaseModel] = field(default_factory=dict)


def observe(
    resolved: Resolved,
    recorded: Lockfile,
    open_backend: OpenBackend,
    project: Project,
    *,
    display_only: bool = False,
    without_endpoints: bool = False,
) -> Observed:
    """Query the backends about everything that a plan needs to know.

    Args:
        resolved: What the specs ask for.
        recorded: The lockfile.
        open_backend: Opens what it names; raises BackendError where that is not installed.
        project: The repository; if it is offline, no server is queried.
        display_only: Whether the plan is only shown. Then a place whose key is not set here need
            not be asked; the plan says so.
        without_endpoints: Whether `ftctl.yaml`, which says where servers are, cannot be read.
    """
    questions = _questions(resolved, recorded)

    def answers(place: str) -> Iterator[Observed]:
        try:
            backend = open_backend(place)
            can = backend.capabilities()
            if project.offline and (can.remote or can.endpoints):
                yield Observed(skipped={place: "no server is asked with --offline"})
            elif without_endpoints and can.endpoints:
                yield Observed(unreachable={place: _NO_ENDPOINTS})
            else:
                yield from _ask(place, backend, questions[place])
        except BackendError as error:
            if display_only and isinstance(error, CredentialsMissing):
                yield Observed(skipped={place: error.message})
            else:
                yield Observed(unreachable={place: error.problem()})

    found = _ask_git(resolved.desired, recorded, project, questions)
    seen = _merged([*found, *(answer for place in sorted(questions) for answer in answers(place))])
    silent = {*seen.skipped, *seen.unreachable}
    ends = find_ends(
        _subjects(resolved, recorded), open_backend, offline=project.offline, silent=silent
    )
    hosted = _merged(
        find_deployments(resolved, recorded, open_backend, offline=project.offline, silent=silent)
    )
    return replace(
        seen,
        hosting=hosted.hosting,
        deployments=hosted.deployments,
        shutdowns=ends.of_production(),
        base_shutdowns=ends.of_bases(),
        remarks={**_remarks(ends, silent), **hosted.remarks},
    )


def _subjects(resolved: Resolved, recorded: Lockfile) -> Iterator[Subject]:
    """Yield the models in production, and the base models that are to be trained."""
    for name, entry in recorded.finetunes.items():
        if (subject := production_subject(name, entry)) is not None:
            yield subject
    for name, desired in resolved.desired.items():
        known = recorded.finetunes.get(name)
        if known is None or desired.fingerprint not in known.builds:
            base = desired.base_model
            yield Subject(
                name=name,
                place=desired.spec.place,
                model=base.reference,
                base=base.reference,
                is_base=True,
            )


def _remarks(ends: Ends, silent: Collection[str]) -> dict[str, str]:
    """Return what a person should know; a plan without a key, or offline, needs no dates."""
    unasked = {
        place: f"{place} was not asked when it switches models off: {why}"
        for place, why in ends.unasked.items()
        if place not in ends.without_key and place not in silent
    }
    wrong = {name: f"{name}: {text}" for name, text in ends.remarks.items()}
    return unasked | wrong


def _merged(answers: Iterable[Observed]) -> Observed:
    merged: dict[str, dict[Any, Any]] = {one.name: {} for one in fields(Observed)}
    for answer in answers:
        for name, known in merged.items():
            known.update(getattr(answer, name))
    return Observed(**merged)


def _questions(resolved: Resolved, recorded: Lockfile) -> dict[str, _Questions]:
    questions: dict[str, _Questions] = {}
    for entry in recorded.finetunes.values():
        if entry.job is not None:
            questions.setdefault(entry.job.backend, _Questions()).jobs.append(entry.job.id)
    for name, desired in resolved.desired.items():
        entry_or_none = recorded.finetunes.get(name)
        build = entry_or_none.builds.get(desired.fingerprint) if entry_or_none else None
        place = desired.spec.place
        is_candidate = entry_or_none is not None and entry_or_none.candidate == desired.fingerprint
        spec = desired.spec
        measures = _needs_base(spec, build) and not _is_measured(build, desired)
        # Without training there is no job to look for.
        looks = spec.trains and (build is None or is_candidate)
        if not looks and not measures:
            continue
        asked = questions.setdefault(place, _Questions())
        if looks:
            # Of a candidate's job: the terms on which it was approved.
            asked.fingerprints.append(desired.fingerprint)
        if entry_or_none is None and spec.trains:
            asked.names[name] = desired.fingerprint
            if desired.spec.aliases:
                asked.aliased[name] = desired
        if measures:
            asked.bases[desired.base_model.reference] = desired.base_model
    return questions


def _needs_base(spec: Spec, build: Build | None) -> bool:
    """Return True if the base model must answer: it is compared with, or is to be prompted."""
    if not spec.trains and build is None:
        return True
    return spec.has_held_out and spec.evaluation.asks_base


def _is_measured(build: Build | None, desired: Desired) -> bool:
    evaluation = build.evaluation if build is not None else None
    return evaluation is not None and holds(evaluation, desired)


def _ask_git(
    desired: Mapping[str, Desired],
    recorded: Lockfile,
    project: Project,
    questions: dict[str, _Questions],
) -> Iterator[Observed]:
    """Look into the committed lockfile for fine-tunes without an entry: it knows promotions too."""
    unknown = [name for name in desired if name not in recorded.finetunes]
    committed = recorded_in_git(project.root) if unknown else None
    if committed is None:
        return
    lockfile, commit = committed
    for name in unknown:
        entry = lockfile.finetunes.get(name)
        if entry is not None:
            lost = Lost(entry=entry, source=f"finetunes/ftctl.lock of commit {commit}")
            yield Observed(lost={name: lost}, elsewhere={name: inputs_of_entry(entry)})
            asked = questions[desired[name].spec.place]
            asked.names.pop(name, None)
            asked.aliased.pop(name, None)


def _ask(place: str, backend: Backend, questions: _Questions) -> Iterator[Observed]:
    if questions.jobs:
        yield Observed(jobs=backend.observe(questions.jobs))
    if questions.fingerprints:
        yield Observed(found=backend.find_jobs(questions.fingerprints))
    if questions.names:
        for name, jobs in backend.find_jobs_by_name(questions.names).items():
            entry, wanted = entry_of_jobs(jobs, place), questions.names[name]
            yield Observed(elsewhere={name: inputs_of_jobs(jobs)})
            # A name alone proves nothing: another repository may use it, or this one did before.
            # One build alone, of the wanted inputs, is simply taken over.
            if wanted in entry.builds and len(entry.builds) > 1:
                yield Observed(lost={name: Lost(entry=entry, source=place)})
    if questions.aliased and backend.capabilities().endpoints:
        # Their jobs carry no fingerprint. A service without a list holds nothing to be found.
        with suppress(NotOffered):
            for name, entry in find_adopted(backend, questions.aliased).items():
                yield Observed(lost={name: Lost(entry=entry, source=place)})
    for base_model in questions.bases.values():
        if not backend.answers(base_model):
            why = f"{place} cannot be asked for {base_model.reference}"
            yield Observed(unavailable_bases={(place, base_model.reference): why})
