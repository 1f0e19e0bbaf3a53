"""Desired, recorded, observed → the actions of one pass. Pure: the heart of ftctl.

One pass moves each fine-tune by one step, so a run may die anywhere and the next one goes on.
Decided from state, never from history.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType

from backends.base import Job, JobState, Json
from controller.canonical import digest
from controller.evaluate.gate import judge
from controller.lock.model import Build, Entry, Lockfile, OpenJob
from controller.plan.actions import (
    Action,
    Adopt,
    Blocked,
    Deferred,
    Desired,
    Evaluate,
    Judge,
    Obstacle,
    Promote,
    Protect,
    Record,
    Resume,
    Retire,
    Reuse,
    Train,
    Wait,
)
from controller.plan.fingerprint import changes, short


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What the backends said."""

    jobs: Mapping[str, Job] = field(default_factory=dict)
    """Recorded open jobs by ID; one that a backend does not know any more is absent."""
    found: Mapping[str, tuple[Job, ...]] = field(default_factory=dict)
    """Jobs found by fingerprint, oldest first."""
    unasked: Mapping[str, str] = field(default_factory=dict)
    """Places that could not be asked, and why. A plan for people may do without them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The actions of one pass, sorted by fine-tune."""

    actions: tuple[Action, ...]
    specs: int
    """How many fine-tunes are declared."""
    unasked: Mapping[str, str] = field(default_factory=dict)
    """Places that could not be asked, and why."""

    @property
    def id(self) -> str:
        """Digest of what would be done; what `apply --expect` compares.

        How far a job has come, and what it may cost, are no part of it.
        """
        return digest([_identity(action) for action in self.actions])[:16]

    def of(self, name: str) -> Action | None:
        """Return the action of one fine-tune."""
        return next((action for action in self.actions if action.name == name), None)


def make_plan(
    desired: Mapping[str, Desired],
    recorded: Lockfile,
    observed: Observed,
    budget_usd: float | None = None,
    deferred: Mapping[str, Deferred] = MappingProxyType({}),
) -> Plan:
    """Decide what one pass does.

    Args:
        desired: What the specs ask for, by name.
        recorded: The lockfile.
        observed: What the backends said about recorded open jobs and wanted fingerprints.
        budget_usd: What all jobs may cost together, open ones counted; None for no limit.
        deferred: Fine-tunes whose data cannot be read here, by name.

    Returns:
        At most one action for each fine-tune; none when everything is as declared.
    """
    actions = []
    specs = len(desired) + len(deferred)
    for name in sorted(desired.keys() | recorded.finetunes.keys() | deferred.keys()):
        entry = recorded.finetunes.get(name, Entry())
        if name in deferred:
            action: Action | None = deferred[name]
        elif name not in desired:
            action = _without_spec(name, entry, observed, spec_count=specs)
        else:
            action = _Step(desired[name], entry, recorded, observed).action()
        if action is not None:
            actions.append(action)
    if budget_usd is not None:
        actions = list(_within(budget_usd, actions, recorded))
    return Plan(actions=tuple(actions), specs=specs, unasked=observed.unasked)


def _within(budget_usd: float, actions: list[Action], recorded: Lockfile) -> Iterator[Action]:
    """Block what would exceed the budget of the whole repository, open jobs counted."""
    ranges = [entry.job.estimate_usd for entry in recorded.finetunes.values() if entry.job]
    spent = sum(range_[1] for range_ in ranges if range_)
    for action in actions:
        usd = action.estimate.usd if isinstance(action, Train) else None
        if usd is None:
            yield action
        elif spent + usd[1] > budget_usd:
            reason = (
                f"up to ${usd[1]:.2f}, with ${spent:.2f} for open and earlier jobs of this plan, "
                f"exceed budget.max_usd: {budget_usd:g}"
            )
            remedy = "Raise budget.max_usd in ftctl.yaml, or wait until open jobs have ended."
            yield Blocked(name=action.name, reason=reason, remedy=remedy, obstacle=Obstacle.BUDGET)
        else:
            spent += usd[1]
            yield action


def _without_spec(name: str, entry: Entry, observed: Observed, *, spec_count: int) -> Action:
    file = f"finetunes/{name}.yaml"
    if entry.protect:
        remedy = (
            f"Bring {file} back; to let it go, set `lifecycle: {{protect: false}}` there first."
        )
        return Blocked(
            name=name,
            reason=f"{file} is gone, but it is protected",
            remedy=remedy,
            obstacle=Obstacle.LIFECYCLE,
        )
    if spec_count == 0:
        remedy = "Is --dir right? To forget them all, delete finetunes/ftctl.lock."
        reason = "no spec is left at all, which looks like a mistake"
        return Blocked(name=name, reason=reason, remedy=remedy, obstacle=Obstacle.LIFECYCLE)
    if entry.job is not None:
        job = observed.jobs.get(entry.job.id)
        if job is not None and not job.state.is_open:
            return Record(name=name, reason=ended(job), job=job)
    reason = f"{file} was removed; its models are kept"
    return Retire(name=name, reason=reason)


def _as_recorded(job: OpenJob) -> Job:
    """Return an open job as far as the lockfile knows it."""
    return Job(
        id=job.id,
        fingerprint=job.fingerprint,
        attempt=job.attempt,
        state=JobState.QUEUED,
        created_s=0.0,
    )


def ended(job: Job) -> str:
    """Say how a job ended: `job run-1 has succeeded`."""
    verb = "was" if job.state is JobState.CANCELLED else "has"
    return f"job {job.id} {verb} {job.state}"


@dataclass(frozen=True, slots=True)
class _Step:
    """The decision for one declared fine-tune."""

    desired: Desired
    entry: Entry
    recorded: Lockfile
    observed: Observed

    def action(self) -> Action | None:
        lifecycle = self.desired.spec.lifecycle
        if lifecycle.suspend:
            return None
        target = self._target()
        if isinstance(target, Blocked):
            return target
        step = self._open_job(target) or self._towards(target)
        if step is None and lifecycle.protect != self.entry.protect and self.entry.builds:
            reason = "lifecycle.protect was changed"
            return Protect(name=self.desired.name, reason=reason, protect=lifecycle.protect)
        return step

    def _target(self) -> str | Blocked:
        """Return the fingerprint that is wanted: the spec's, or the pinned build's."""
        pin = self.desired.spec.lifecycle.pin
        if pin is None:
            return self.desired.fingerprint
        wanted = pin.removeprefix("ft1:")
        matches = [key for key in self.entry.builds if key.partition(":")[2].startswith(wanted)]
        if len(matches) == 1:
            return matches[0]
        known = ", ".join(short(key) for key in self.entry.builds) or "none"
        reason = f"lifecycle.pin: {pin} names {len(matches) or 'no'} recorded builds"
        return Blocked(
            name=self.desired.name,
            reason=reason,
            remedy=f"Recorded builds: {known}",
            obstacle=Obstacle.LIFECYCLE,
        )

    def _open_job(self, target: str) -> Action | None:
        """Decide by the recorded open job; None when there is none, or it is superseded."""
        name, recorded = self.desired.name, self.entry.job
        if recorded is None:
            return None
        job = self.observed.jobs.get(recorded.id)
        if job is None and recorded.backend in self.observed.unasked:
            reason = f"job {recorded.id} is recorded as open; {recorded.backend} was not asked"
            return Wait(name=name, reason=reason, job=_as_recorded(recorded))
        if job is None:
            remedy = (
                "Look for it at the backend. If it is gone for good: "
                f"`ftctl retry {name}` trains again, as a new attempt."
            )
            reason = f"job {recorded.id} is recorded, but the backend does not know it"
            return Blocked(name=name, reason=reason, remedy=remedy, obstacle=Obstacle.DRIFT)
        if not job.state.is_open:
            return Record(name=name, reason=ended(job), job=job)
        if recorded.fingerprint != target:
            return None
        if job.state is JobState.INTERRUPTED:
            reason = f"the worker of job {job.id} is gone; it goes on from its last checkpoint"
            return Resume(name=name, reason=reason, job=job)
        return Wait(name=name, reason=f"job {job.id} is {job.state}", job=job)

    @property
    def _superseded(self) -> str | None:
        return self.entry.job.id if self.entry.job is not None else None

    def _towards(self, target: str) -> Action | None:
        """Decide how to get the wanted build into production."""
        build = self.entry.builds.get(target)
        if build is not None:
            return self._with_build(build, source=self.desired.name)
        for other in sorted(self.recorded.finetunes):
            shared = self.recorded.finetunes[other].builds.get(target)
            if shared is not None:
                return self._reuse(shared, source=other)
        return self._without_build(target)

    def _without_build(self, target: str) -> Action:
        name, attempt = self.desired.name, self.entry.attempt(target)
        failure = self.entry.failures.get(target)
        if failure is not None and failure.attempt >= attempt:
            remedy = f"Change the spec, or type `ftctl retry {name}` for another attempt."
            reason = f"job {failure.job} {failure.error}"
            return Blocked(name=name, reason=reason, remedy=remedy, obstacle=Obstacle.FAILURE)
        found = self.observed.found.get(target, ())
        # A model is a model, whichever attempt made it; a failure belongs to its attempt; and a
        # job that was cancelled without being recorded was not wanted then, but its attempt is used.
        living = [job for job in found if job.state.is_open or job.state is JobState.SUCCEEDED]
        failed = [j for j in found if j.state is JobState.FAILED and j.attempt >= attempt]
        for job in (*living, *reversed(failed)):
            reason = f"job {job.id} was already made for these inputs and has state {job.state}"
            return Adopt(name=name, reason=reason, job=job, supersedes=self._superseded)
        attempt = max([attempt, *(job.attempt + 1 for job in found)])
        return self._over_budget() or self._train(target, attempt)

    def _over_budget(self) -> Blocked | None:
        budget, estimate = self.desired.spec.budget, self.desired.estimate
        limits = (
            ("max_usd", budget.max_usd, estimate.usd, "US dollars"),
            ("max_gpu_hours", budget.max_gpu_hours, estimate.gpu_hours, "GPU hours"),
        )
        for key, limit, range_, unit in limits:
            if limit is not None and range_ is not None and range_[1] > limit:
                return Blocked(
                    name=self.desired.name,
                    reason=f"up to {range_[1]:.2f} {unit} exceed budget.{key}: {limit:g}",
                    remedy=f"Raise budget.{key} in {self.desired.file}, or train less.",
                    obstacle=Obstacle.BUDGET,
                )
        return None

    def _train(self, target: str, attempt: int) -> Train:
        previous = self._previous()
        differing = changes(previous.inputs, self.desired.inputs) if previous else ()
        data_change = None
        if previous is not None and previous.data.train.digest != self.desired.data.train.digest:
            data_change = self.desired.data_changes.get(previous.data.train.digest)
        if previous is None:
            reason = "no build is recorded"
        elif differing:
            reason = f"{', '.join(change.field for change in differing)} changed"
        else:
            reason = "another attempt was asked for"
        if attempt > 1:
            reason += f"; attempt {attempt}"
        return Train(
            name=self.desired.name,
            reason=reason,
            fingerprint=target,
            attempt=attempt,
            changes=differing,
            data_change=data_change,
            data=self.desired.data,
            judged_against=self._judge_of(previous),
            shutdown=self.desired.shutdown,
            warnings=self.desired.warnings,
            estimate=self.desired.estimate,
            retrain=previous is not None,
            supersedes=self._superseded,
        )

    def _judge_of(self, previous: Build | None) -> str | None:
        if previous is None or previous.fingerprint != self.entry.production:
            return None
        stands = "judged against" if "production" in self.desired.spec.evaluation.compare_to else ""
        build = f"build {short(previous.fingerprint)} at {previous.backend}"
        return f"{stands} {build}, which stays until the gate passes".strip()

    def _previous(self) -> Build | None:
        """Return the build that a new one is compared with."""
        for key in (self.entry.production, self.entry.candidate):
            if key is not None and key in self.entry.builds:
                return self.entry.builds[key]
        builds = sorted(self.entry.builds.values(), key=lambda build: build.finished)
        return builds[-1] if builds else None

    def _with_build(self, build: Build, *, source: str) -> Action | None:
        is_production = self.entry.production == build.fingerprint
        is_candidate = self.entry.candidate == build.fingerprint
        if self.entry.job is not None or (is_production and self.entry.candidate is not None):
            return self._reuse(build, source=source)
        if not is_production and not is_candidate:
            return self._reuse(build, source=source)
        stale = self._stale_evaluation(build)
        if stale:
            return Evaluate(name=self.desired.name, reason=stale, fingerprint=build.fingerprint)
        return self._judged(build, is_production=is_production)

    def _judged(self, build: Build, *, is_production: bool) -> Action | None:
        name, gate = self.desired.name, list(self.desired.spec.gate)
        scores = build.evaluation.scores if build.evaluation else {}
        judgement = judge(gate, scores)
        key = build.fingerprint
        if build.verdict is None or build.verdict.gate != gate:
            return Judge(name=name, reason="the gate was changed", fingerprint=key)
        if is_production:
            return None
        if judgement.passed:
            reason = "the gate passed" if gate else "no gate is declared"
            return Promote(name=name, reason=reason, fingerprint=key)
        kept = self.entry.production
        stays = f"{short(kept)} stays in production" if kept else "nothing is in production"
        return Blocked(
            name=name,
            reason=f"build {short(key)} did not pass the gate: {'; '.join(judgement.failures)}",
            remedy=f"{stays[0].upper()}{stays[1:]}. Change the spec, its data, or the gate.",
            obstacle=Obstacle.GATE,
        )

    def _reuse(self, build: Build, *, source: str) -> Reuse:
        current = not self._stale_evaluation(build)
        scores = build.evaluation.scores if build.evaluation else {}
        passes = current and judge(self.desired.spec.gate, scores).passed
        # A pin is a person's decision about production; the gate is for builds nobody chose.
        pinned = self.desired.spec.lifecycle.pin is not None
        owner = "" if source == self.desired.name else f" for {source}"
        reason = f"these inputs were trained before{owner}, on {build.finished[:10]}"
        return Reuse(
            name=self.desired.name,
            reason=reason,
            fingerprint=build.fingerprint,
            source=source,
            promote=passes or pinned or self.entry.production == build.fingerprint,
            supersedes=self._superseded,
        )

    def _stale_evaluation(self, build: Build) -> str:
        """Say why a build must be measured (again); empty when its scores stand."""
        if build.evaluation is None:
            return "it was not evaluated yet"
        if build.evaluation.fingerprint == self.desired.evaluation_fingerprint:
            return ""
        differing = changes(build.evaluation.inputs, self.desired.evaluation_inputs)
        return f"{', '.join(change.field for change in differing)} changed"


def _identity(action: Action) -> Json:
    return {"action": type(action).__name__, "name": action.name, **dict(_decisive(action))}


def _decisive(action: Action) -> Iterator[tuple[str, Json]]:
    values = asdict(action)
    for key in ("fingerprint", "attempt", "supersedes", "source", "protect"):
        if key in values:
            yield key, values[key]
    if not isinstance(action, Wait) and "job" in values:
        yield "job", values["job"]["id"]
