"""The decision for one declared fine-tune: how it gets one step nearer to its spec. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from backends.contract.jobs import Job, JobState
from controller.lockfile.model import Build, Entry, OpenJob
from controller.plan.actions import (
    Action,
    Adopt,
    Blocked,
    Cancellation,
    Desired,
    Evaluate,
    Judge,
    Obstacle,
    Promote,
    Protect,
    Restore,
    Resume,
    Reuse,
    Train,
    Wait,
)
from controller.plan.approval import terms_of
from controller.plan.fingerprint import changes, short
from controller.plan.observed import Observed
from controller.plan.surroundings import Surroundings, cancellation
from controller.plan.verdicts import current_verdict, remedy_of, standing_verdict
from controller.plan.versions import holds, without_version


@dataclass(frozen=True, slots=True, kw_only=True)
class Planner:
    """The decision for one declared fine-tune."""

    desired: Desired
    entry: Entry
    observed: Observed
    around: Surroundings
    restore: Restore | None = None
    """What is known of a fine-tune that has no entry."""

    def action(self) -> Action | None:
        """Return the next step; None when everything is as declared."""
        step = self.restore or self._next()
        if self.desired.spec.lifecycle.suspend:
            step = self._suspended(step)
        return self._with_protection(step)

    def _next(self) -> Action | None:
        target = self._target()
        if isinstance(target, Blocked):
            return target
        return self._open_job(target) or self._towards(target)

    def _blocked(self, obstacle: Obstacle, reason: str, remedy: str) -> Blocked:
        return Blocked(name=self.desired.name, reason=reason, remedy=remedy, obstacle=obstacle)

    def _suspended(self, step: Action | None) -> Blocked | None:
        """Return what is held back; None when there is nothing."""
        if step is None:
            return None
        reason = f"lifecycle.suspend is set; without it: {step.reason}"
        remedy = f"Remove `suspend` from {self.desired.file} to let it continue."
        return self._blocked(Obstacle.SUSPENDED, reason, remedy)

    def _with_protection(self, step: Action | None) -> Action | None:
        """Change the recorded protection first where the step would not do it."""
        protect = self.desired.spec.lifecycle.protect
        at_rest = step is None or isinstance(step, Wait | Blocked)
        if not at_rest or protect == self.entry.protect or self.entry == Entry():
            return step
        reason = "lifecycle.protect was changed"
        if isinstance(step, Blocked):
            reason += f"; otherwise blocked: {step.reason}"
        job = step.job if isinstance(step, Wait) else None
        return Protect(name=self.desired.name, reason=reason, protect=protect, job=job)

    def _target(self) -> str | Blocked:
        """Return the fingerprint that is wanted: the spec's, or the pinned build's."""
        pin = self.desired.spec.lifecycle.pin
        if pin is None:
            return self.desired.fingerprint
        matches = pinned_builds(pin, self.entry)
        if len(matches) == 1:
            return matches[0]
        known = ", ".join(short(key) for key in self.entry.builds) or "none"
        reason = f"lifecycle.pin: {pin} names {len(matches) or 'no'} recorded builds"
        return self._blocked(Obstacle.LIFECYCLE, reason, f"Recorded builds: {known}")

    def _open_job(self, target: str) -> Action | None:
        """Decide by the recorded open job; None when there is none, or it is superseded."""
        name, recorded = self.desired.name, self.entry.job
        if recorded is None:
            return None
        job = self.observed.jobs.get(recorded.id)
        if job is None:
            return self._unseen_job(recorded)
        if recorded.fingerprint != target:
            return None
        if job.state is JobState.INTERRUPTED:
            reason = f"the worker of job {job.id} is gone; it goes on from its last checkpoint"
            return Resume(name=name, reason=reason, job=job)
        return Wait(name=name, reason=f"job {job.id} is {job.state}", job=job)

    def _unseen_job(self, recorded: OpenJob) -> Action:
        name, place = self.desired.name, recorded.backend
        if place in self.observed.unasked:
            reason = f"job {recorded.id} is recorded as open; {place} was not asked"
            return Wait(name=name, reason=reason, job=as_recorded(recorded))
        if place in self.observed.unreachable:
            return self._unreachable(place, recorded)
        remedy = (
            "Look for it at the backend. If it is gone for good: "
            f"`ftctl retry {name}` trains again, as a new attempt."
        )
        reason = f"job {recorded.id} is recorded, but the backend does not know it"
        return self._blocked(Obstacle.DRIFT, reason, remedy)

    def _unreachable(self, place: str, job: OpenJob | None = None) -> Blocked:
        silence = self.observed.unreachable[place]
        before = f"job {job.id} is recorded as open; " if job is not None else ""
        return Blocked(
            name=self.desired.name,
            reason=f"{before}{place} gave no answer: {silence.message}",
            remedy=silence.remedy,
            obstacle=Obstacle.UNREACHABLE,
            job=job.id if job is not None else None,
        )

    @property
    def _cancels(self) -> Cancellation | None:
        return cancellation(self.desired.name, self.entry, self.around)

    def _towards(self, target: str) -> Action | None:
        """Decide how to get the wanted build into production."""
        build = self.entry.builds.get(target)
        if build is not None:
            return self._with_build(build)
        shared = self.around.builds.get(target)
        if shared is not None:
            source, build = shared
            return self._reuse(build, source=source)
        return self._without_build(target)

    def _without_build(self, target: str) -> Action:
        name, attempt = self.desired.name, self.entry.attempt(target)
        failure = self.entry.failures.get(target)
        if failure is not None and failure.attempt >= attempt:
            remedy = f"Change the spec, or type `ftctl retry {name}` for another attempt."
            reason = f"job {failure.job} {failure.error}"
            return self._blocked(Obstacle.FAILURE, reason, remedy)
        if self.desired.spec.place in self.observed.unreachable:
            # Without its answer, training could be paid twice.
            return self._unreachable(self.desired.spec.place)
        found = self.observed.found.get(target, ())
        # A model is a model, whichever attempt made it; a failure belongs to its attempt; and a
        # job that was cancelled without being recorded was not wanted then, but its attempt is used.
        living = [job for job in found if job.state.is_open or job.state is JobState.SUCCEEDED]
        failed = [j for j in found if j.state is JobState.FAILED and j.attempt >= attempt]
        for job in (*living, *reversed(failed)):
            return Adopt(
                name=name,
                reason=f"job {job.id} was already made for these inputs and has state {job.state}",
                job=job,
                cancels=self._cancels,
                replaces=self.entry.production,
            )
        attempt = max([attempt, *(job.attempt + 1 for job in found)])
        return self._over_budget() or self._train(target, attempt)

    def _over_budget(self) -> Blocked | None:
        budget, estimate = self.desired.spec.budget, self.desired.estimate
        limits = (
            ("max_usd", budget.max_usd, estimate.usd, ".2f", "US dollars"),
            ("max_gpu_hours", budget.max_gpu_hours, estimate.gpu_hours, ".2g", "GPU hours"),
        )
        for key, limit, range_, digits, unit in limits:
            if key == "max_usd" and limit is not None and range_ is None:
                reason = f"budget.max_usd: {limit:g} cannot be kept: what the job costs is unknown"
                remedy = (
                    f"Remove budget.max_usd from {self.desired.file}, or name the base model's "
                    "price in `prices` of its endpoint in ftctl.yaml."
                )
                return self._blocked(Obstacle.BUDGET, reason, remedy)
            if key == "max_gpu_hours" and limit == 0:
                reason = "budget.max_gpu_hours: 0 allows no training"
                remedy = f"Raise it in {self.desired.file}, or remove it."
                return self._blocked(Obstacle.BUDGET, reason, remedy)
            if limit is not None and range_ is not None and range_[1] > limit:
                reason = f"up to {range_[1]:{digits}} {unit} exceed budget.{key}: {limit:g}"
                remedy = f"Raise budget.{key} in {self.desired.file}, or train less."
                return self._blocked(Obstacle.BUDGET, reason, remedy)
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
            warnings=(*self.desired.warnings, *self._warnings()),
            estimate=self.desired.estimate,
            retrain=previous is not None,
            cancels=self._cancels,
            replaces=self.entry.production,
        )

    def _warnings(self) -> Iterator[str]:
        spec, silent = self.desired.spec, self._without_base
        if silent is not None:
            yield f"{silent}; `base` is left out of the comparison"
            lost = [text for text in spec.gate if "base." in text]
            if lost:
                yield f"without it these conditions of the gate cannot hold: {'; '.join(lost)}"
        hours = spec.budget.max_gpu_hours
        if hours is not None and self.desired.estimate.gpu_hours is None:
            yield f"how long the job takes is not known yet: it stops after {hours:g} GPU hours"
        if spec.gate or spec.allows_worse:
            return
        why = silent and "its base model cannot be asked"
        if not self.desired.measures_loss:
            why = f"{spec.place} measures no held-out loss"
        elif "base" not in spec.evaluation.compare_to:
            why = "`base` is not in evaluation.compare_to"
        if why:
            yield f"no gate is declared and {why}: whatever is trained goes into production"

    @property
    def _without_base(self) -> str | None:
        if "base" not in self.desired.spec.evaluation.compare_to:
            return None
        key = (self.desired.spec.place, self.desired.base_model.reference)
        return self.observed.silent_bases.get(key)

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

    def _with_build(self, build: Build) -> Action | None:
        name = self.desired.name
        is_production = self.entry.production == build.fingerprint
        is_candidate = self.entry.candidate == build.fingerprint
        if self.entry.job is not None or (is_production and self.entry.candidate is not None):
            return self._reuse(build, source=name)
        pinned = self.desired.spec.lifecycle.pin is not None
        if not is_production and (pinned or not is_candidate):
            return self._reuse(build, source=name)
        stale = self.stale_evaluation(build)
        if stale:
            return Evaluate(
                name=name,
                reason=stale,
                fingerprint=build.fingerprint,
                replaces=self.entry.production,
                needs_approval=self._decides_anew(build, is_production=is_production),
                without_base=self._without_base,
            )
        return self._judged(build, is_production=is_production)

    def _decides_anew(self, build: Build, *, is_production: bool) -> bool:
        """Return whether measuring a build costs, or may promote it on terms nobody approved."""
        if build.evaluation is None:
            return not self._has_approved_terms(build)
        return self.desired.paid if is_production else True

    def _has_approved_terms(self, build: Build) -> bool:
        """Return whether a build's job was approved for this fine-tune, with this gate and metrics.

        False where that is not known: the service keeps no origin, or gives no answer.
        """
        terms = terms_of(self.desired.spec, self.desired.evaluation_fingerprint)
        wanted = {"name": self.desired.name, "digest": terms}
        jobs = [*self.observed.found.get(build.fingerprint, ()), *self.observed.jobs.values()]
        return any(job.id == build.job and job.origin.get("terms") == wanted for job in jobs)

    def _judged(self, build: Build, *, is_production: bool) -> Action | None:
        name, gate = self.desired.name, list(self.desired.spec.gate)
        verdict = current_verdict(build, self.desired.spec)
        key = build.fingerprint
        if standing_verdict(build, self.desired.spec) is None:
            return Judge(
                name=name,
                reason="the gate was changed",
                fingerprint=key,
                replaces=self.entry.production,
                needs_approval=not is_production and verdict.passed,
            )
        if verdict.passed and not is_production:
            reason = "the gate passed" if gate else "no gate is declared"
            return Promote(
                name=name,
                reason=reason,
                fingerprint=key,
                replaces=self.entry.production,
                needs_approval=not self._has_approved_terms(build),
            )
        if verdict.passed or self.desired.spec.lifecycle.pin is not None:
            # A pin is a person's decision about production, whatever the gate says.
            return None
        which = f"build {short(key)}, in production," if is_production else f"build {short(key)}"
        kept = self.entry.production
        stays = f"{short(kept)} stays in production" if kept else "nothing is in production"
        return self._blocked(
            Obstacle.GATE,
            f"{which} did not pass the gate: {'; '.join(verdict.failures)}",
            f"{stays[0].upper()}{stays[1:]}. {remedy_of(verdict.failures)}",
        )

    def _reuse(self, build: Build, *, source: str) -> Reuse:
        keeps = self._keeps_scores(build, source)
        passes = (
            keeps
            and not self.stale_evaluation(build)
            and current_verdict(build, self.desired.spec).passed
        )
        # A pin is a person's decision about production; the gate is for builds nobody chose.
        pinned = self.desired.spec.lifecycle.pin is not None
        owner = "" if source == self.desired.name else f" for {source}"
        return Reuse(
            name=self.desired.name,
            reason=f"these inputs were trained before{owner}, on {build.finished[:10]}",
            fingerprint=build.fingerprint,
            source=source,
            promote=passes or pinned or self.entry.production == build.fingerprint,
            keeps_scores=keeps,
            cancels=self._cancels,
            replaces=self.entry.production,
        )

    def _keeps_scores(self, build: Build, source: str) -> bool:
        """Return whether a build's scores are this fine-tune's own, or as good as its own."""
        if source == self.desired.name:
            return True
        evaluation = build.evaluation
        return (
            evaluation is not None
            and holds(evaluation, self.desired)
            and evaluation.production_build in {None, self.entry.production}
        )

    def stale_evaluation(self, build: Build) -> str:
        """Return why a build must be measured (again); empty when its scores stand."""
        if build.evaluation is None:
            return "it was not evaluated yet"
        if holds(build.evaluation, self.desired):
            return ""
        recorded = without_version(build.evaluation.inputs)
        differing = changes(recorded, self.desired.evaluation_inputs)
        return f"{', '.join(change.field for change in differing)} changed"


def pinned_builds(pin: str, entry: Entry) -> list[str]:
    """Return the fingerprints of the recorded builds that a pin's first digits fit."""
    digits = pin.removeprefix("ft1:")
    return [key for key in entry.builds if key.partition(":")[2].startswith(digits)]


def as_recorded(job: OpenJob) -> Job:
    """Return an open job as far as the lockfile knows it."""
    return Job(
        id=job.id,
        fingerprint=job.fingerprint,
        attempt=job.attempt,
        state=JobState.QUEUED,
        created_s=0.0,
    )
