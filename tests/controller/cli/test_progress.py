"""Lines about open jobs, where nobody sees a terminal."""

import pytest

from backends.contract.jobs import Job, JobState, Progress
from controller.cli.progress import PlainScreen


def job(state: JobState, **changes) -> Job:
    return Job(
        id="run-1-1", fingerprint="sha256:1", attempt=1, state=state, created_s=0.0, **changes
    )


@pytest.mark.parametrize(
    ("seen", "line"),
    [
        (job(JobState.QUEUED), "» cafe: queued"),
        (
            job(JobState.QUEUED, error="waiting for a free device"),
            "» cafe: queued, waiting for a free device",
        ),
        (job(JobState.QUEUED, error="\x1b[31mred"), "» cafe: queued, \\x1b[31mred"),
        (job(JobState.RUNNING), "» cafe: running"),
        (job(JobState.FAILED, error="said when it is recorded"), "» cafe: failed"),
        (
            job(JobState.RUNNING, progress=Progress(step=4, total_steps=8), error="unused"),
            "» cafe: running, step 4/8",
        ),
    ],
)
def test_a_line_says_what_a_job_does_or_waits_for(seen, line, capsys):
    PlainScreen().progress({"cafe": seen})
    assert capsys.readouterr().out == f"{line}\n"


def test_a_line_comes_again_only_with_another_state(capsys):
    screen = PlainScreen()
    for state in (JobState.QUEUED, JobState.QUEUED, JobState.RUNNING):
        screen.progress({"cafe": job(state)})
    assert capsys.readouterr().out == "» cafe: queued\n» cafe: running\n"
