"""Plans made from a few values."""

from backends.contract.jobs import JobState
from controller.lockfile.model import Lockfile
from controller.plan.observed import Observed
from controller.plan.plan import make_plan

FAILED, SUCCEEDED, CANCELLED = JobState.FAILED, JobState.SUCCEEDED, JobState.CANCELLED
RUNNING, QUEUED, INTERRUPTED = JobState.RUNNING, JobState.QUEUED, JobState.INTERRUPTED


def plan(desired, entry=None, *, jobs=(), found=(), others=None, unresolved=None, **answers):
    finetunes = dict(others or {})
    if entry is not None:
        finetunes["faq"] = entry
    by_fingerprint = {}
    for job in found:
        by_fingerprint.setdefault(job.fingerprint, []).append(job)
    observed = Observed(
        jobs={job.id: job for job in jobs},
        found={key: tuple(made) for key, made in by_fingerprint.items()},
        **answers,
    )
    declared = {one.name: one for one in (desired if isinstance(desired, list) else [desired])}
    recorded = Lockfile(finetunes=finetunes)
    return make_plan(declared, recorded, observed, unresolved=unresolved or {})


def step(*arguments, **settings):
    return plan(*arguments, **settings).of("faq")
