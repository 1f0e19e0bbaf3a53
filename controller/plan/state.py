"""State of one fine-tune, as rules read it. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from backends.contract.deployments import Hosting
from backends.contract.inspector import Json
from backends.contract.jobs import Job, JobState
from controller.lockfile.model import Build, Entry, OpenJob
from controller.plan.actions import Blocked, BlockReason, Restore
from controller.plan.actions.base import Cancellation
from controller.plan.approval import terms_of
from controller.plan.desired import Desired
from controller.plan.fingerprint import diff_inputs, short_id
from controller.plan.hosting import hosting_origin
from controller.plan.overview import Overview, pinned_builds
from controller.plan.versions import holds, without_version
from controller.render.text import as_written
from controller.spec.model import Lifecycle

_IN_WORDS = {
    "columns": "columns of rows",
    "few_shot": "few-shot examples",
    "gate_slices": "slices of the gate",
    "held_out": "held-out examples",
}
"""Inputs of an evaluation that no field of a spec is called like."""


@dataclass(frozen=True, kw_only=True)
class State:
    """One fine-tune: desired, recorded and observed."""

    name: str
    entry: Entry
    overview: Overview
    restore: Restore | None = None
    """Restoration of an entry that the lockfile does not have."""

    @property
    def file(self) -> str:
        """File of the spec."""
        return f"finetunes/{self.name}.yaml"

    @property
    def desired(self) -> Desired:
        """Inputs that the spec asks for; only for a spec that could be resolved."""
        return self.overview.desired[self.name]

    @property
    def lifecycle(self) -> Lifecycle:
        """Lifecycle that the spec asks for."""
        return self.desired.spec.lifecycle

    @cached_property
    def target(self) -> str:
        """Fingerprint of the wanted build: the pinned build, or else the spec's inputs."""
        pin = self.lifecycle.pin
        return self.desired.fingerprint if pin is None else pinned_builds(pin, self.entry)[0]

    @property
    def build(self) -> Build | None:
        """The wanted build, if it is recorded for this fine-tune."""
        return self.entry.builds.get(self.target)

    @property
    def is_production(self) -> bool:
        """True if the wanted build is in production."""
        return self.entry.production == self.target

    @property
    def job(self) -> Job | None:
        """The recorded open job, as its backend shows it."""
        recorded = self.entry.job
        return self.overview.observed.jobs.get(recorded.id) if recorded is not None else None

    @property
    def is_superseded(self) -> bool:
        """True if the spec, or its absence, asks for other inputs than the open job's."""
        if self.name in self.overview.unresolved or self.entry.job is None:
            return False
        desired = self.overview.desired.get(self.name)
        return desired is None or desired.fingerprint != self.entry.job.fingerprint

    @property
    def cancels(self) -> Cancellation | None:
        """The open job, if it is cancelled when this fine-tune lets go of it.

        A job that another fine-tune wants as well, because it has the same inputs, keeps running.
        """
        job = self.entry.job
        if job is None or self.overview.sharers(self.name, self.entry):
            return None
        return Cancellation(
            job=job.id, backend=job.backend, submitted=job.submitted, usd=job.estimate_usd
        )

    @property
    def without_base(self) -> str | None:
        """Reason why the base model cannot be compared with; None if it can, or is not wanted."""
        return self.silent_base if self.desired.spec.evaluation.asks_base else None

    @property
    def silent_base(self) -> str | None:
        """Reason why the base model cannot be asked; None if it can, or nobody wants it."""
        key = (self.desired.spec.place, self.desired.base_model.reference)
        return self.overview.observed.unavailable_bases.get(key)

    def needs_no_scores(self, build: Build) -> bool:
        """Return True for an adopted model that was never measured, and whose spec asks for nothing.

        Nobody asked for its scores, and measuring a hosted model costs.
        """
        spec = self.desired.spec
        asks = bool(spec.gate) or "evaluation" in spec.model_fields_set
        return build.is_adopted and build.evaluation is None and not asks

    def stale_evaluation(self, build: Build) -> str:
        """Return why a build must be measured (again); empty when its scores stand."""
        if self.needs_no_scores(build):
            return ""
        if build.evaluation is None:
            return "it was not evaluated yet"
        if holds(build.evaluation, self.desired):
            asks = any(one.level is not None for one in self.desired.conditions)
            if asks and not build.evaluation.samples:
                return "the gate asks how sure scores are, which was not recorded"
            return ""
        recorded = without_version(build.evaluation.inputs)
        differing = diff_inputs(recorded, self.desired.evaluation_inputs)
        words = (
            _IN_WORDS.get(change.field.partition(".")[0]) or change.field for change in differing
        )
        return f"{', '.join(dict.fromkeys(words))} changed"

    def has_approved_terms(self, build: Build) -> bool:
        """Return True if a build's job was approved for this fine-tune, with this gate and metrics.

        False if that is not known: the service keeps no origin, or gives no answer.
        """
        terms = terms_of(self.desired.spec, self.desired.evaluation_fingerprint)
        wanted = {"name": self.name, "digest": terms}
        return any(origin.get("terms") == wanted for origin in self._origins(build))

    def has_approved_hosting(self, build: Build, hosting: Hosting) -> bool:
        """Return True if a build's job was approved for this fine-tune with this price by the hour."""
        wanted = hosting_origin(hosting)["hosting"]
        for origin in self._origins(build):
            terms = origin.get("terms")
            is_ours = isinstance(terms, Mapping) and terms.get("name") == self.name
            if is_ours and origin.get("hosting") == wanted:
                return True
        return False

    def _origins(self, build: Build) -> Iterator[Mapping[str, Json]]:
        """Yield the origins of a build's job, as far as the service keeps them."""
        observed = self.overview.observed
        jobs = [*observed.found.get(build.fingerprint, ()), *observed.jobs.values()]
        return (job.origin for job in jobs if job.id == build.job)

    @property
    def previous(self) -> Build | None:
        """The build that a new one is compared with."""
        return previous_build(self.entry)

    @property
    def judged_against(self) -> str | None:
        """The build in production that a new one is judged against, which stays until then."""
        previous = self.previous
        if previous is None or previous.fingerprint != self.entry.production:
            return None
        is_compared = "production" in self.desired.spec.evaluation.roles
        build = f"build {short_id(previous.fingerprint)} at {previous.backend}"
        judged = "judged against " if is_compared else ""
        return f"{judged}{build}, which stays until the gate passes"

    def gate_warnings(self) -> Iterator[str]:
        """Yield what a person should know about the gate of a new build."""
        spec, silent = self.desired.spec, self.without_base
        if silent is not None:
            yield f"{silent}; `base` is left out of the comparison"
            lost = [text for text in spec.gate if "base." in text]
            if lost:
                yield f"without it these conditions of the gate cannot hold: {'; '.join(lost)}"
        hours = spec.budget.max_gpu_hours
        if hours is not None and self.desired.estimate.gpu_hours is None:
            yield f"how long the job takes is not known yet: it stops after {as_written(hours)} GPU hours"
        if spec.gate or spec.allows_worse:
            return
        why = silent and "its base model cannot be asked"
        if not spec.has_held_out:
            why = "there are no held-out examples"
        elif not self.desired.measures_loss:
            why = f"{spec.place} measures no held-out loss"
        elif "base" not in spec.evaluation.roles:
            why = "`base` is not in evaluation.compare_to"
        if why:
            new = "whatever is trained" if spec.trains else "it"
            yield f"no gate is declared and {why}: {new} goes into production"

    def blocked(self, block_reason: BlockReason, reason: str, remedy: str) -> Blocked:
        """Return that this fine-tune is blocked."""
        return Blocked(name=self.name, reason=reason, remedy=remedy, block_reason=block_reason)

    def blocked_by_silence(self, place: str, job: OpenJob | None = None) -> Blocked:
        """Return that this fine-tune waits for a backend that gave no answer."""
        no_answer = self.overview.observed.unreachable[place]
        before = f"job {job.id} is recorded as open; " if job is not None else ""
        return Blocked(
            name=self.name,
            reason=f"{before}{place} gave no answer: {no_answer.message}",
            remedy=no_answer.remedy,
            block_reason=BlockReason.UNREACHABLE,
            job=job.id if job is not None else None,
        )


def as_recorded(job: OpenJob) -> Job:
    """Return an open job as far as the lockfile knows it."""
    return Job(
        id=job.id,
        fingerprint=job.fingerprint,
        attempt=job.attempt,
        state=JobState.QUEUED,
        created_s=0.0,
    )


def previous_build(entry: Entry) -> Build | None:
    """Return the build that a new one is compared with: in production, or else the newest."""
    for key in (entry.production, entry.candidate):
        if key is not None and key in entry.builds:
            return entry.builds[key]
    return max(reversed(entry.builds.values()), key=lambda build: build.finished, default=None)
