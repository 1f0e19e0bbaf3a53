"""Jobs that wait at a scheduler, and trainings that lost workers."""

import pytest

from backends.contract.jobs import JobState
from controller.lockfile.model import Lockfile
from controller.render.placed import again_words
from controller.render.status import build_text, status_text
from controller.report.costs import costs_of

WORDS = "placed on cluster: PENDING (Resources)"


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.INTERRUPTED])
def test_status_tells_what_a_job_waits_for(make, state):
    desired = make.desired()
    lockfile = Lockfile(finetunes={"faq": make.entry(job=make.open_job(desired))})
    job = make.job(desired, state, error=f"{WORDS}\x1b[2J")
    text = status_text(lockfile, ["faq"], {"job-1": job}, {}, {}, {})
    assert f"\nfaq: {WORDS}\\x1b[2J" in text


def test_a_job_that_runs_waits_for_nothing(make):
    desired = make.desired()
    lockfile = Lockfile(finetunes={"faq": make.entry(job=make.open_job(desired))})
    text = status_text(lockfile, ["faq"], {"job-1": make.job(desired)}, {}, {}, {})
    assert "faq:" not in text


def test_lost_workers_are_shown_with_the_build(make):
    build = make.build(make.desired(), facts={"workers": 3, "steps_lost": 12})
    assert "workers     3, 12 steps done again" in build_text("faq", make.entry(build), [])
    assert ("workers", "3, 12 steps done again") in costs_of(build, None)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({}, ""),
        ({"workers": 1, "steps_lost": 0}, ""),
        ({"workers": 2, "steps_lost": 0}, "2, no step done again"),
        ({"workers": "two"}, ""),
    ],
)
def test_one_worker_is_not_worth_a_word(facts, words):
    assert again_words(facts) == words
