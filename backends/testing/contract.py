"""`check_backend`: runs one small job and raises with every promise that was not kept."""

import json
import pickle
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Final

from backends.contract.backend import Backend
from backends.contract.completions import Completed, Prompt, Sampling
from backends.contract.errors import BackendError, HyperparametersInvalid, ModelMissing
from backends.contract.guard.guarded import OPTIONAL
from backends.contract.inspector import ExampleInspector, Json
from backends.contract.jobs import Job, JobState, TrainRequest
from backends.contract.methods import METHODS


class ContractBroken(AssertionError):
    """A backend does not keep the contract.

    Attributes:
        findings: One sentence for each promise that was not kept.
    """

    def __init__(self, findings: Sequence[str]) -> None:
        self.findings = tuple(findings)
        super().__init__("\n".join(findings))


def check_backend(
    backend: Backend, request: TrainRequest, *, timeout_s: float = 600.0, poll_s: float = 0.1
) -> None:
    """Check that a backend keeps the contract of `backends.contract.backend.Backend`.

    Runs the job of `request`, which should be small and should succeed, and asks its model.
    Deletes nothing.

    Args:
        backend: The backend.
        request: A job that was never submitted before; it gets an origin where it has none.
        timeout_s: Seconds that the job may take.
        poll_s: Seconds between two requests about the job.

    Raises:
        ContractBroken: With every promise that was not kept.
    """
    request = replace(request, origin=request.origin or _ORIGIN)
    check = _Check(backend=backend, request=request, findings=[])
    check.methods()
    if check.findings:
        raise ContractBroken(check.findings)
    check.capabilities()
    check.hyperparameters()
    check.estimates()
    check.inspectors()
    check.strangers()
    job = check.submission()
    if job is not None:
        ended = check.ending(job, time.monotonic() + timeout_s, poll_s)
        if ended is not None and ended.result is not None:
            check.completions(ended.result.model_id)
    if check.findings:
        raise ContractBroken(check.findings)


_STRANGER: Final = "ft1:" + "0" * 64
_NO_NAME: Final = "no-such-fine-tune"
_ORIGIN: Final[Mapping[str, Json]] = {
    "base_model": "카페 base",
    "inputs": {"seed": 42, "limit": None},
}
"""Origin of a request without an origin."""
_NO_JOB: Final = "no-such-job"
_NO_MODEL: Final = "no-such-model"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Check:
    """One run of `check_backend`."""

    backend: Backend
    request: TrainRequest
    findings: list[str]

    def expect(self, holds: bool, finding: str) -> None:  # noqa: FBT001 - reads like an assertion
        if not holds:
            self.findings.append(finding)

    def methods(self) -> None:
        for name in vars(Backend):
            needed = not name.startswith("_") and name not in OPTIONAL
            there = not needed or callable(getattr(self.backend, name, None))
            self.expect(there, f"{name}: the backend has no such method")

    def capabilities(self) -> None:
        methods = self.backend.capabilities().methods
        self.expect(bool(self.backend.name), "`name` is empty")
        self.expect(
            methods <= METHODS.keys(), f"capabilities: unknown methods {methods - METHODS.keys()}"
        )
        method = self.request.method
        self.expect(method in methods, f"capabilities: the request's {method} is not among them")

    def hyperparameters(self) -> None:
        parsed = self.backend.parse_hyperparameters(self.request.method, {})
        try:
            again = json.loads(json.dumps(parsed, allow_nan=False))
        except (TypeError, ValueError) as error:
            self.findings.append(f"parse_hyperparameters: not ready for JSON: {error}")
        else:
            self.expect(again == parsed, "parse_hyperparameters: JSON gives back other values")
        wrong: dict[str, Json] = {"no_such_setting": 1, "nor_this_one": 1}
        try:
            self.backend.parse_hyperparameters(self.request.method, wrong)
        except HyperparametersInvalid as error:
            named = {problem.field for problem in error.problems}
            self.expect(
                wrong.keys() <= named,
                f"parse_hyperparameters: of two unknown keys only {sorted(named)} is reported",
            )
        else:
            self.findings.append("parse_hyperparameters: accepts keys that mean nothing")

    def estimates(self) -> None:
        estimate = self.backend.estimate(self.request, 10, None)
        for name, given in (("usd", estimate.usd), ("gpu_hours", estimate.gpu_hours)):
            ordered = given is None or 0 <= given[0] <= given[1]
            self.expect(ordered, f"estimate: {name} {given} is not a range")
        steps = estimate.steps
        self.expect(steps is None or steps > 0, f"estimate: {steps} steps")

    def inspectors(self) -> None:
        method = self.request.method
        inspector = self.backend.inspector(
            self.request.base_model, method, self.request.hyperparameters
        )
        copy: ExampleInspector = pickle.loads(pickle.dumps(inspector))  # noqa: S301 - written just before
        same = bool(inspector.identity) and copy.identity == inspector.identity
        self.expect(same, "inspector: a copy in another process has another identity, or none")
        examples = METHODS[method].sample
        counts = copy.count(examples)
        self.expect(
            len(counts) == len(examples) and all(count > 0 for count in counts),
            f"inspector: {len(examples)} examples were counted as {counts}",
        )
        self.expect(inspector.count(examples) == counts, "inspector: a copy counts otherwise")
        self.expect(copy.count([]) == [], "inspector: counts where there is nothing")
        for example in examples:
            inspector.check(example)
            pieces = inspector.show(example)
            self.expect(bool(pieces), "inspector: shows nothing of an example")
            self.expect(all(piece.text for piece in pieces), "inspector: shows an empty piece")
            learnt = any(piece.trained for piece in pieces) or not METHODS[method].learns_answers
            self.expect(learnt, "inspector: shows an example from which nothing is learnt")
        fewest = inspector.limits.min_examples
        self.expect(fewest >= 1, f"inspector: {fewest} examples are said to be enough")
        self.expect(
            all(inspector.warnings({"system", "developer", "tools"})), "inspector: an empty warning"
        )

    def strangers(self) -> None:
        found = self.backend.find_jobs([_STRANGER])
        self.expect(not found.get(_STRANGER), "find_jobs: answers for a fingerprint nobody used")
        seen = self.backend.observe([_NO_JOB])
        self.expect(_NO_JOB not in seen, "observe: a job that does not exist is in the answer")
        try:
            self.backend.cancel(_NO_JOB)
        except BackendError as error:
            self.findings.append(f"cancel: a job that is gone already is refused: {error}")
        if callable(getattr(self.backend, "curve", None)):
            points = list(self.backend.curve(_NO_JOB))
            self.expect(not points, "curve: a job that does not exist has losses")
        named = self.backend.find_jobs_by_name([_NO_NAME])
        self.expect(not named.get(_NO_NAME), "find_jobs_by_name: answers for a name nobody used")
        before = self.backend.find_jobs([self.request.fingerprint])
        self.expect(
            not before.get(self.request.fingerprint),
            "find_jobs: knows the request before it was made",
        )

    def submission(self) -> Job | None:
        key = self.request.fingerprint
        first = self.backend.submit(self.request)
        second = self.backend.submit(self.request)
        self.expect(first.id == second.id, "submit: a second call made another job")
        self.expect(
            (first.fingerprint, first.attempt) == (key, self.request.attempt),
            "submit: the job has another fingerprint or attempt than its request",
        )
        found = self.backend.find_jobs([_STRANGER, key]).get(key, ())
        ids = [job.id for job in found]
        self.expect(ids == [first.id], f"find_jobs: has {ids}, submitted was {first.id}")
        self._origin_is_kept("find_jobs", found)
        named = self.backend.find_jobs_by_name([_NO_NAME, self.request.name]).get(
            self.request.name, ()
        )
        ids = [job.id for job in named]
        self.expect(first.id in ids, f"find_jobs_by_name: has {ids}, submitted was {first.id}")
        self._origin_is_kept("find_jobs_by_name", [job for job in named if job.id == first.id])
        seen = self.backend.observe([first.id, _NO_JOB])
        self.expect(seen.keys() == {first.id}, f"observe: of one job, {sorted(seen)} are seen")
        return seen.get(first.id)

    def ending(self, job: Job, deadline_s: float, poll_s: float) -> Job | None:
        while job.state.is_open:
            self._result_fits(job)
            if time.monotonic() >= deadline_s:
                self.findings.append(f"observe: the job is still {job.state}")
                return None
            if job.state is JobState.INTERRUPTED:
                self.backend.submit(self.request)
            time.sleep(poll_s)
            seen = self.backend.observe([job.id])
            if job.id not in seen:
                self.findings.append("observe: the job is not known any more")
                return None
            job = seen[job.id]
        self._result_fits(job)
        if job.state is not JobState.SUCCEEDED:
            self.findings.append(
                f"the job has {job.state}, so nothing more was checked: {job.error}"
            )
            return None
        self.expect(job.finished_s is not None, "observe: a finished job has no finished_s")
        times = [event.time_s for event in self.backend.events(job.id)]
        self.expect(times == sorted(times), "events: not oldest first")
        self._curve_is_ordered(job.id)
        self.backend.cancel(job.id)
        self.backend.submit(self.request)
        after = self.backend.observe([job.id]).get(job.id)
        unmoved = after is not None and after.state is JobState.SUCCEEDED
        self.expect(unmoved, "cancel, submit: changed a job that had succeeded")
        return job if unmoved else None

    def _curve_is_ordered(self, job_id: str) -> None:
        if not callable(getattr(self.backend, "curve", None)):
            return
        steps = [point.step for point in self.backend.curve(job_id)]
        ordered = steps == sorted(set(steps)) and all(step >= 0 for step in steps)
        self.expect(ordered, "curve: the steps are not each once, from 0 on, in order")

    def _origin_is_kept(self, method: str, jobs: Iterable[Job]) -> None:
        for job in jobs:
            kept = job.origin == self.request.origin
            finding = (
                f"{method}: the job has origin {job.origin}, its request {self.request.origin}"
            )
            self.expect(kept, finding)

    def _result_fits(self, job: Job) -> None:
        fits = (job.result is not None) == (job.state is JobState.SUCCEEDED)
        self.expect(fits, f"observe: result is {job.result!r} with state {job.state}")

    def completions(self, model_id: str) -> None:
        base = self.request.base_model
        prompts = [
            Prompt(messages=[{"role": "user", "content": text}]) for text in ("Hello?", "And you?")
        ]
        sampling = Sampling(max_tokens=4)
        second = None if self._base_answers(prompts[:1], sampling) else model_id
        models = [model_id, second]
        given = list(self.backend.complete(base, models, prompts, sampling))
        self._answered("two models and two prompts", given, {(0, 0), (0, 1), (1, 0), (1, 1)})
        reasons = {answer.completion.finish_reason for answer in given}
        self.expect(reasons <= {"stop", "length"}, f"complete: finish reasons {sorted(reasons)}")
        skip = {(0, 0), (1, 1)}
        given = list(self.backend.complete(base, models, prompts, sampling, skip))
        self._answered(f"without {sorted(skip)}", given, {(0, 1), (1, 0)})
        with closing(self.backend.complete(base, models, prompts, sampling)) as begun:
            next(begun, None)
        self.expect(next(begun, None) is None, "complete: answers after its iterator was closed")
        given = list(self.backend.complete(base, [], prompts, sampling))
        self.expect(not given, "complete: no models gave answers")
        try:
            list(self.backend.complete(base, [_NO_MODEL], prompts, sampling))
        except ModelMissing:
            return
        self.findings.append("complete: a model that does not exist gave answers")

    def _answered(
        self, asked: str, given: Sequence[Completed], wanted: Collection[tuple[int, int]]
    ) -> None:
        places = sorted((answer.model, answer.prompt) for answer in given)
        self.expect(places == sorted(wanted), f"complete: {asked} gave answers at {places}")
        latencies = [answer.completion.latency_s or 0.0 for answer in given]
        self.expect(min(latencies, default=0.0) >= 0, f"complete: latencies {latencies}")

    def _base_answers(self, prompts: Sequence[Prompt], sampling: Sampling) -> bool:
        said = self.backend.answers(self.request.base_model)
        try:
            list(self.backend.complete(self.request.base_model, [None], prompts, sampling))
        except ModelMissing as error:
            self.expect(not said, f"answers: the base model is said to answer, but: {error}")
            return False
        self.expect(said, "answers: the base model is said not to answer, and does")
        return True
