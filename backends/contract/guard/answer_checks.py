"""Checks of a backend's answers beyond their types. Pure."""

import json
import math
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final, Protocol, TypeAlias, cast

from backends.contract.capabilities import Capabilities
from backends.contract.common_names import COMMON_NAMES
from backends.contract.completions import Completed
from backends.contract.deployments import Deployment, Hosting
from backends.contract.guard.faults import Call
from backends.contract.guard.value_types import shown
from backends.contract.inspector import ExampleInspector, Json
from backends.contract.jobs import BaseModel, Estimate, Job, JobState, Memory, Recipe
from backends.contract.recording import AnswersEstimate
from backends.contract.shutdowns import ShutdownNotice, is_day

Given: TypeAlias = Mapping[str, Any]
"""Arguments of the call, by the contract's names."""
_DAY: Final = "a day, YYYY-MM-DD"
_YEAR_10000: Final = 253_402_300_800
"""The first second that no calendar has, since 1970."""


def _capabilities(call: Call, can: Capabilities, _: Given) -> None:
    if not 0 <= can.poll_s < math.inf:
        raise call.wrong(f"poll_s {can.poll_s}", "seconds")


def _hyperparameters(call: Call, parsed: Mapping[str, Json], _: Given) -> None:
    try:
        json.dumps(parsed, allow_nan=False)
    except ValueError as error:
        raise call.wrong(shown(parsed), f"what JSON can hold ({error})") from error


def _common_names(call: Call, names: Mapping[str, str], _: Given) -> None:
    if unknown := sorted({*names.values()} - COMMON_NAMES):
        raise call.wrong(shown(unknown), "names of backends.contract.common_names")


def _base_model(call: Call, found: BaseModel, _: Given) -> None:
    if not (found.reference and found.identity):
        raise call.wrong(shown(found), "a reference and an identity")
    if found.shutdown_date is not None and not is_day(found.shutdown_date):
        raise call.wrong(shown(found.shutdown_date), _DAY)


def _shutdowns(call: Call, found: Mapping[str, ShutdownNotice], given: Given) -> None:
    _keys(call, found, given["models"])
    for notice in found.values():
        if notice.date is not None and not is_day(notice.date):
            raise call.wrong(shown(notice.date), _DAY)


def _deployments(call: Call, found: Mapping[str, Deployment], given: Given) -> None:
    _keys(call, found, given["models"])


def _hosting(call: Call, found: Hosting | None, _: Given) -> None:
    usd = None if found is None else found.usd_per_hour
    if usd is not None and not 0 <= usd < math.inf:
        raise call.wrong(f"usd_per_hour {usd}", "0 or more US dollars")


def _recipes(call: Call, found: Sequence[Recipe], _: Given) -> None:
    if not found:
        raise call.wrong("none", "the newest recipe first")


def _inspector(call: Call, inspector: ExampleInspector, _: Given) -> None:
    # Examples are read in other processes, so find out here whether it can go there.
    if not call.guard.built_in:
        pickle.dumps(inspector)


def _counts(call: Call, counts: Sequence[int], given: Given) -> None:
    examples = len(given["examples"])
    if len(counts) != examples:
        raise call.wrong(f"{len(counts)} counts", f"one for each of {examples}")


def _estimate(call: Call, estimate: Estimate, _: Given) -> None:
    for least, most in filter(None, (estimate.usd, estimate.gpu_hours)):
        if not 0 <= least <= most < math.inf:
            raise call.wrong(shown((least, most)), "a range: the least, then the most")
    if (estimate.steps or 0) < 0:
        raise call.wrong(f"{estimate.steps} steps", "0 or more")


def _answers_estimate(call: Call, estimate: AnswersEstimate | None, _: Given) -> None:
    if estimate is None:
        return
    least, most = estimate.completion_tokens
    if not (estimate.prompt_tokens >= 0 and 0 <= least <= most):
        raise call.wrong(shown(estimate), "numbers of tokens: the least, then the most")
    price = estimate.price
    if price is not None and not (0 <= price.input < math.inf and 0 <= price.output < math.inf):
        raise call.wrong(shown(price), "a price")


def _memory(call: Call, memory: Memory | None, _: Given) -> None:
    if memory is None:
        return
    for size in (memory.needs, *memory.parts.values(), memory.has or 0):
        if size < 0:
            raise call.wrong(f"{size} bytes", "0 or more")
    if bool(memory.problem) != bool(memory.remedy):
        raise call.wrong(shown(memory.problem), "a problem with a remedy, or neither")


def _jobs_of_fingerprints(call: Call, found: Mapping[str, Sequence[Job]], given: Given) -> None:
    _keys(call, found, given["fingerprints"])
    for fingerprint, jobs in found.items():
        for job in jobs:
            _result(call, job)
            if job.fingerprint != fingerprint:
                said = f"job {job.id!r} of fingerprint {job.fingerprint!r}"
                raise call.wrong(said, f"jobs of {fingerprint!r} under that key")


def _jobs_of_names(call: Call, found: Mapping[str, Sequence[Job]], given: Given) -> None:
    _keys(call, found, given["names"])
    for job in chain.from_iterable(found.values()):
        _result(call, job)


def _submitted(call: Call, job: Job, given: Given) -> None:
    _result(call, job)
    if not job.id:
        raise call.wrong("a job without ID", "the ID of the job")
    key = (given["request"].fingerprint, given["request"].attempt)
    if (job.fingerprint, job.attempt) != key:
        found = f"job {job.id!r} of {job.fingerprint!r}, attempt {job.attempt}"
        raise call.wrong(found, f"the job of {key[0]!r}, attempt {key[1]}")


def _observed(call: Call, seen: Mapping[str, Job], given: Given) -> None:
    _keys(call, seen, given["job_ids"])
    for job_id, job in seen.items():
        _result(call, job)
        if job.id != job_id:
            raise call.wrong(f"job {job.id!r}", f"job {job_id!r} under that key")


class StreamCheck(Protocol):
    """Checks of one answer that comes piece by piece; each raises `BackendError`."""

    def begin(self, found: object) -> None:
        """Check the iterator itself."""

    def add(self, piece: object) -> None:
        """Check one piece, whose type was checked before."""

    def end(self) -> None:
        """Check that nothing is missing."""


class _Completions:
    """Checks that each model answers each prompt once, in a byte per answer."""

    def __init__(self, call: Call, given: Given) -> None:
        self._call = call
        self._models, self._prompts = len(given["models"]), len(given["prompts"])
        self._skip = given["skip"]
        self._seen = bytearray(self._models * self._prompts)

    def begin(self, found: object) -> None:
        if not isinstance(found, Iterator):
            raise self._call.wrong(
                shown(found), "an iterator that yields a Completed when an answer ends"
            )

    def add(self, piece: object) -> None:
        answer = cast("Completed", piece)
        where = f"an answer of model {answer.model} to prompt {answer.prompt}"
        if not (0 <= answer.model < self._models and 0 <= answer.prompt < self._prompts):
            most = f"places below {self._models} and {self._prompts}"
            raise self._call.wrong(where, most)
        if (answer.model, answer.prompt) in self._skip:
            raise self._call.wrong(where, "no answers that are skipped")
        place = answer.model * self._prompts + answer.prompt
        if self._seen[place]:
            raise self._call.wrong(f"{where} twice", "each answer once")
        self._seen[place] = 1

    def end(self) -> None:
        missing = (
            (model, prompt)
            for model in range(self._models)
            for prompt in range(self._prompts)
            if not self._seen[model * self._prompts + prompt]
        )
        lost = next((place for place in missing if place not in self._skip), None)
        if lost is not None:
            found = f"{sum(self._seen)} answers, none of model {lost[0]} to prompt {lost[1]}"
            raise self._call.wrong(found, "an answer of every model to every prompt")


def _keys(call: Call, found: Mapping[str, object], wanted: Iterable[str]) -> None:
    strangers = found.keys() - set(wanted)
    if strangers:
        raise call.wrong(f"an answer for {min(strangers)!r}", "answers to what was asked")


def _result(call: Call, job: Job) -> None:
    result = job.result
    if (job.state is JobState.SUCCEEDED) != (result is not None and bool(result.model_id)):
        raise call.wrong(
            f"job {job.id!r} with state {job.state.value!r} and result {shown(result)}",
            "a result with a model ID exactly when the state is 'succeeded'",
        )
    for name, time_s in (("created_s", job.created_s), ("finished_s", job.finished_s)):
        if time_s is not None and not 0 <= time_s < _YEAR_10000:
            raise call.wrong(f"job {job.id!r} with {name} {time_s}", "seconds since 1970")


CHECKS: Final[Mapping[str, Callable[[Call, Any, Given], None]]] = {
    "capabilities": _capabilities,
    "common_names": _common_names,
    "parse_hyperparameters": _hyperparameters,
    "resolve_base_model": _base_model,
    "recipes": _recipes,
    "inspector": _inspector,
    "inspector.count": _counts,
    "estimate": _estimate,
    "estimate_answers": _answers_estimate,
    "memory": _memory,
    "find_jobs": _jobs_of_fingerprints,
    "find_jobs_by_name": _jobs_of_names,
    "submit": _submitted,
    "observe": _observed,
    "announced_shutdowns": _shutdowns,
    "deployments": _deployments,
    "hosting": _hosting,
    "shipped_shutdowns": _shutdowns,
}
"""Checks by the method that answered; each raises `BackendError` for a wrong answer."""
STREAM_CHECKS: Final[Mapping[str, Callable[[Call, Given], StreamCheck]]] = {
    "complete": _Completions,
}
"""Checks of methods that answer piece by piece."""
