"""Helpers for runs over a scripted backend."""

from backends.contract.jobs import JobState

FASTER = {"learning_rate": 2e-4}
SLOW = [*[JobState.RUNNING] * 12, JobState.SUCCEEDED]


def production(repo, name: str = "faq"):
    return repo.lockfile.finetunes[name].production


def declared(repo, name: str = "faq"):
    return repo.planned().resolved.desired[name].fingerprint
