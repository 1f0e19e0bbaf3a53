"""Whole stories: `ftctl` trains a small model on a real Slurm, whatever happens there."""

import os
import subprocess
from contextlib import suppress

import pytest

from tests.children import until
from tests.engines.slurm.repositories import Repository
from tests.tiny_base import make_base

pytestmark = [pytest.mark.slurm, pytest.mark.torch, pytest.mark.timeout(2400)]
EPOCHS = int(600 / max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)))
"""Enough to interrupt a training several times, and not many more on a machine that is busy."""
SAME_STEPS = 40
"""First steps of a training, which two nodes take as one does."""
START_S = 600.0
"""Seconds that a worker may take to report its first step: it imports the training packages."""


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def here(base, tmp_path_factory):
    """Return a repository of which the fine-tune was trained on this machine."""
    made = Repository(tmp_path_factory.mktemp("here"), base, {})
    made.declare(epochs=EPOCHS)
    code, text = made("apply", "--auto-approve")
    assert code == 0, text
    return made


@pytest.fixture
def repository(cluster, base, tmp_path):
    """Return a repository whose machine is the cluster."""
    return Repository(tmp_path, base, cluster.environment)


def assert_same_losses(one, other):
    """Compare two trainings, bit for bit."""
    for ours, theirs in common_losses(one, other).values():
        assert ours == theirs
    assert held_out_loss(one) == held_out_loss(other)


def common_losses(one, other):
    """Return pairs of losses. Which steps are reported depends on the time that they take."""
    ours, theirs = one.losses(), other.losses()
    common = ours.keys() & theirs.keys()
    assert len(common) > len(theirs) // 3
    return {key: (ours[key], theirs[key]) for key in sorted(common)}


def held_out_loss(repository):
    return repository.build()["facts"]["held_out_loss"]


def number_of(cluster):
    """Return Slurm's number of the only open job; empty without one."""
    lines = cluster.jobs().splitlines()
    assert len(lines) <= 1, lines
    return lines[0].split()[0] if lines else ""


def trains(repository, worker):
    """Wait until a worker has trained."""
    until(lambda: repository.has_trained(worker), START_S)


def hurry(cluster):
    """Start a job that was put back into the queue, without Slurm's pause of two minutes."""
    number = number_of(cluster)
    if "PENDING" in cluster.jobs():
        with suppress(subprocess.CalledProcessError):
            cluster.type("scontrol", "update", f"JobId={number}", "StartTime=now")


def trains_again(cluster, repository, worker):
    """Wait until another worker has claimed the run, and has trained."""

    def trained():
        hurry(cluster)
        return repository.has_trained(worker)

    until(trained, START_S)


def test_moving_to_slurm_changes_nothing_but_the_place(cluster, repository, here):
    repository.declare("machine: hpc", EPOCHS)
    code, text = repository("apply", "--auto-approve")
    assert code == 0, text
    assert_same_losses(repository, here)
    build, theirs = repository.build(), here.build()
    for key in ("fingerprint", "inputs", "data", "model_id", "verdict"):
        assert build[key] == theirs[key]
    repository.declare("", EPOCHS)
    code, text = repository("plan", "--detailed-exitcode")
    assert code == 0, text
    assert "No changes" in text
    assert cluster.jobs() == ""


def test_requeued_lost_and_cancelled_there_it_is_trained_once(cluster, repository, here):
    repository.declare("machine: hpc", EPOCHS)
    with repository.typed("apply", "--auto-approve") as process:
        trains(repository, 1)
        number = number_of(cluster)
        cluster.type("scontrol", "requeue", number)
        trains_again(cluster, repository, 2)
        assert number_of(cluster) == number
        node = cluster.type("squeue", "--noheader", f"--jobs={number}", "--format=%N").strip()
        cluster.type("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
        trains_again(cluster, repository, 3)
        cluster.type("scancel", number)
        # To the scheduler it is over; to ftctl it is interrupted, and continues in another job.
        assert process.wait(2 * START_S) == 0
    assert repository.workers() == 4
    assert len([*repository.runs.glob("runs/*/result.json")]) == 1
    facts = repository.build()["facts"]
    assert (facts["workers"], facts["steps_lost"]) == (4, 0)
    assert_same_losses(repository, here)


def test_ftctl_cancels_a_job_there(cluster, repository):
    repository.declare("machine: hpc", EPOCHS)
    assert repository("apply", "--auto-approve", "--no-wait")[0] == 0
    trains(repository, 1)
    code, text = repository("cancel", "faq")
    assert code == 0, text
    until(lambda: cluster.jobs() == "", 300)
    _, text = repository("status")
    assert "cancelled" in text
    assert len([*repository.runs.glob("runs/*/result.json")]) == 1


def test_ftctl_cancels_a_job_that_waits_there(cluster, repository):
    cluster.type("sbatch", "--exclusive", "--nodes=2", "-o/dev/null", "--wrap=sleep 600")
    until(lambda: "RUNNING" in cluster.jobs())
    repository.declare("machine: hpc")
    with repository.typed("apply", "--auto-approve"):
        output = repository.root / "output"
        until(lambda: "queued, placed on hpc: PENDING (" in output.read_text(), START_S)
    assert repository("cancel", "faq")[0] == 0
    until(lambda: "ftctl" not in cluster.jobs(), 60)


def test_two_nodes_train_as_one_does(repository, here):
    repository.declare("machine: hpc, gpus: 2, nodes: 2", EPOCHS)
    code, text = repository("apply", "--auto-approve")
    assert code == 0, text
    # Sums in another order differ in their last bits, which hundreds of steps make more of.
    for (step, _), (both, alone) in common_losses(repository, here).items():
        assert both == pytest.approx(alone, rel=1e-4 if step <= SAME_STEPS else 5e-2)
    assert held_out_loss(repository) == pytest.approx(held_out_loss(here), rel=1e-2)
