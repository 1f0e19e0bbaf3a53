"""Jobs of a Ray cluster: found again by name, placed once, whatever the cluster answers."""

import json
import sys
import time
import zipfile

import pytest

from backends.launchers.launcher import (
    LauncherError,
    Placed,
    PlacedState,
    Placement,
    SubmissionLost,
)
from tests.backends.launchers.ray.conftest import launcher_of
from tests.servers import ray_head

NAME = "ftctl-cafe-answers-0123456789ab"
COMMENT = "ftctl ft1:0123 attempt 1"
SLEEP = ("sleep", "60")
POST = "POST /api/jobs/"


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    """Wait for no job to settle; the head of these tests needs no time for it."""
    monkeypatch.setattr("backends.launchers.ray.jobs._SETTLE_S", 0.0)


def placement(**changes):
    return Placement(**{"name": NAME, "comment": COMMENT, "command": SLEEP, **changes})


def posts(head):
    return head.requests.count(POST)


def finish(head, name=NAME):
    head.jobs[name].kill()
    head.jobs[name].process.wait(10)


# ---- placed once


def test_a_job_is_found_by_its_name(head, launcher):
    launcher.submit(placement(gpus=0))

    assert launcher.find(["ftctl-other-0123456789ab", NAME]) == {
        NAME: Placed(state=PlacedState.RUNNING, words="RUNNING", comment=COMMENT)
    }
    assert head.starts == 1


def test_one_request_finds_any_number_of_jobs(head, launcher):
    names = [f"ftctl-cafe-{number:012}" for number in range(40)]
    head.others += [
        {"submission_id": name, "status": "PENDING", "metadata": {"comment": COMMENT}}
        for name in names
    ]

    assert set(launcher.find(names)) == set(names)
    assert head.requests == ["GET /api/jobs/"]


def test_a_second_submission_makes_no_second_job(head, launcher):
    launcher.submit(placement(gpus=0))
    launcher.submit(placement(gpus=0))

    assert (head.starts, posts(head)) == (1, 1)


@pytest.mark.parametrize(
    "fault",
    [
        ray_head.resets(after_work=True),
        ray_head.drips(after_work=True),
        ray_head.drips(after_work=True, in_headers=True),
        ray_head.answers_after_work(500, "Internal Server Error"),
        ray_head.answers_after_work(504, "<html><title>Gateway timeout</title>"),
        ray_head.answers_after_work(200, "<html><title>Welcome</title>"),
    ],
)
def test_an_answer_that_is_lost_after_the_job_was_made_is_no_loss(head, fault):
    launcher = launcher_of(head, timeout_s=0.5)
    head.fail(POST, fault)

    launcher.submit(placement(gpus=0))

    assert (head.starts, posts(head)) == (1, 1)
    assert launcher.find([NAME])[NAME].state is PlacedState.RUNNING


@pytest.mark.parametrize(
    "fault",
    [
        ray_head.resets(after_work=False),
        ray_head.drips(after_work=False),
        ray_head.answers(500, "No available agent to submit job, please try again later."),
        ray_head.answers(502, "<html><title>Bad gateway</title>"),
    ],
)
def test_a_job_that_is_not_there_after_a_doubtful_answer_is_lost_until_somebody_looks(head, fault):
    launcher = launcher_of(head, timeout_s=0.5)
    head.fail(POST, fault)

    with pytest.raises(SubmissionLost, match=f"not known whether Ray has the job {NAME}"):
        launcher.submit(placement(gpus=0))

    assert posts(head) == 1
    launcher.submit(placement(gpus=0))
    assert head.starts == 1


def test_a_job_is_lost_if_even_the_look_at_it_fails(head, launcher):
    head.fail(POST, ray_head.resets(after_work=True))
    head.fail("GET /api/jobs/", ray_head.answers(404, "no such job"))
    head.fail("GET /api/jobs/", ray_head.answers(503, "starting"))

    with pytest.raises(SubmissionLost):
        launcher.submit(placement(gpus=0))

    launcher.submit(placement(gpus=0))
    assert (head.starts, posts(head)) == (1, 1)


def test_somebody_who_placed_it_in_the_meantime_has_placed_it(head, launcher):
    launcher.submit(placement(gpus=0))
    head.fail(f"GET /api/jobs/{NAME}", ray_head.answers(404, "no such job"))

    launcher.submit(placement(gpus=0))

    assert (head.starts, posts(head)) == (1, 2)


def test_nothing_is_lost_where_nothing_was_sent(head, launcher):
    head.__exit__()

    with pytest.raises(LauncherError, match="nothing listens there") as caught:
        launcher.submit(placement())

    assert not isinstance(caught.value, SubmissionLost)


def test_what_ray_refuses_is_refused_with_its_words(head):
    launcher = launcher_of(head, runtime_env={"nonsense": 1})

    with pytest.raises(LauncherError) as caught:
        launcher.submit(placement())

    assert not isinstance(caught.value, SubmissionLost)
    assert "ValueError: runtime_env field nonsense is not known" in caught.value.message
    assert "runtime_env" in caught.value.remedy


def test_an_ended_job_is_placed_again_under_its_name(head, launcher):
    launcher.submit(placement(gpus=0))
    finish(head)

    launcher.submit(placement(gpus=0))

    assert head.starts == 2
    assert launcher.find([NAME])[NAME].state is PlacedState.RUNNING


def test_an_ended_job_is_left_alone_until_ray_has_settled_it(head, launcher, monkeypatch):
    monkeypatch.setattr("backends.launchers.ray.jobs._SETTLE_S", 0.7)
    launcher.submit(placement(gpus=0))
    finish(head)

    started = time.monotonic()
    launcher.submit(placement(gpus=0))
    assert time.monotonic() - started >= 0.7

    finish(head)
    head.jobs[NAME].ended_s = time.time() - 3600
    started = time.monotonic()
    launcher.submit(placement(gpus=0))
    assert time.monotonic() - started < 0.7


@pytest.mark.parametrize("ends", [False, True])
def test_a_job_of_somebody_else_is_shown_and_not_touched(head, launcher, ends):
    launcher.submit(placement(gpus=0, comment="their comment"))
    if ends:
        finish(head)
    head.requests.clear()

    assert launcher.find([NAME])[NAME].comment == "their comment"
    with pytest.raises(LauncherError, match="not ours: their comment"):
        launcher.submit(placement(gpus=0))

    assert [each for each in head.requests if not each.startswith("GET")] == []
    assert head.starts == 1


def test_a_head_that_forgot_its_jobs_has_none(head, launcher):
    launcher.submit(placement(gpus=0))
    process = head.jobs[NAME].process
    head.forget()

    assert launcher.find([NAME]) == {}
    assert launcher.logs(NAME, 5) == []
    launcher.stop(NAME, at_once=True)
    process.kill()
    process.wait(10)


# ---- states


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("PENDING", PlacedState.QUEUED),
        ("RUNNING", PlacedState.RUNNING),
        ("STOPPED", PlacedState.ENDED),
        ("SUCCEEDED", PlacedState.ENDED),
        ("FAILED", PlacedState.ENDED),
        ("OF_A_NEWER_RAY", PlacedState.RUNNING),
    ],
)
def test_states_in_our_words(head, launcher, said, state):
    launcher.submit(placement(gpus=0))
    head.jobs[NAME].lie = said

    placed = launcher.find([NAME])[NAME]

    assert placed.state is state
    assert placed.words.startswith(said)
    assert "secret row" not in placed.words


def test_a_job_that_waits_for_resources_says_so(launcher):
    launcher.submit(placement(gpus=8))

    placed = launcher.find([NAME])[NAME]
    assert placed.state is PlacedState.QUEUED
    assert "waiting for free resources" in placed.words


def test_words_have_the_cause_and_no_traceback(head, launcher):
    launcher.submit(placement(gpus=0))
    message = (
        "runtime_env setup failed: no folder.\n[Node 10.0.0.7] Traceback (most recent call last):\n"
        '  File "agent.py", line 561, in create\nOSError: Failed to download gcs://_ray_pkg_00.zip\n'
    )
    head.others.append(
        {"submission_id": "ftctl-b", "status": "FAILED", "message": message, "metadata": None}
    )

    assert launcher.find(["ftctl-b"])["ftctl-b"].words == (
        "FAILED (runtime_env setup failed: no folder. OSError: Failed to download "
        "gcs://_ray_pkg_00.zip)"
    )


# ---- what is submitted


def submitted(head, **changes):
    return head.jobs[placement(**changes).name].body


def test_resources_of_a_placement_are_reserved(head):
    launcher = launcher_of(head, cpus=6, resources={"fast_disk": 0.5}, runtime_env={"pip": ["x"]})

    launcher.submit(placement(gpus=4, memory_bytes=64_000_000_000, environment={"A": "b"}))

    body = submitted(head)
    assert (body["entrypoint_num_cpus"], body["entrypoint_num_gpus"]) == (6, 4)
    assert body["entrypoint_memory"] == 64_000_000_000
    assert body["entrypoint_resources"] == {"fast_disk": 0.5}
    assert body["metadata"] == {"comment": COMMENT}
    assert body["runtime_env"] == {
        "pip": ["x"],
        "env_vars": {
            "A": "b",
            "RAY_JOB_STOP_SIGNAL": "SIGTERM",
            "RAY_JOB_STOP_WAIT_TIME_S": "120",
        },
    }


def test_several_nodes_are_reserved_by_a_program_in_the_cluster(head):
    launcher = launcher_of(head, cpus=2, resources={"fast_disk": 1}, stop_wait_s=60)
    command = ("/opt/ftctl/bin/python3", "-m", "worker", "--store", "/mnt/a b")

    launcher.submit(placement(gpus=8, nodes=2, memory_bytes=1000, command=command))

    body = submitted(head)
    assert "entrypoint_num_gpus" not in body, "the program itself uses none"
    bundle = json.dumps({"CPU": 2.0, "fast_disk": 1.0, "GPU": 8, "memory": 1000})
    assert body["entrypoint"] == (
        "exec /opt/ftctl/bin/python3 -P -m backends.launchers.ray.nodes --nodes 2 "
        f"--bundle '{bundle}' --wait 60 -- /opt/ftctl/bin/python3 -m worker --store '/mnt/a b'"
    )


def test_code_is_brought_once_and_is_the_working_folder(head, launcher, tmp_path):
    code = tmp_path / "ftctl.zip"
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("a.txt", "from the zip file\n")

    for number in range(2):
        job = placement(name=f"ftctl-{number}", gpus=0, code=code, command=("cat", "a.txt"))
        launcher.submit(job)
        head.jobs[job.name].process.wait(10)

    assert [each for each in head.requests if "PUT" in each] == [
        f"PUT /api/packages/gcs/{next(iter(head.packages))}"
    ]
    assert launcher.logs("ftctl-1", 1) == ["from the zip file"]


def test_a_job_runs_in_its_image(head, launcher):
    launcher.submit(placement(gpus=0, image="registry/ftctl:1"))

    assert submitted(head)["runtime_env"]["image_uri"] == "registry/ftctl:1"


def test_code_that_ray_does_not_take_is_refused(head, launcher, tmp_path):
    code = tmp_path / "ftctl.zip"
    with code.open("wb") as file:
        file.truncate(101 << 20)

    with pytest.raises(LauncherError, match="has 101 MB; Ray takes less than 100"):
        launcher.submit(placement(code=code))

    assert posts(head) == 0


# ---- stop, logs, capacity


def test_a_job_saves_its_work_when_it_is_stopped(head, launcher, eventually):
    saves = (
        "sh",
        "-c",
        "trap 'sleep 1; echo saved; exit 143' TERM; echo up; while :; do sleep 0.1; done",
    )
    launcher.submit(placement(gpus=0, command=saves))
    eventually(lambda: launcher.logs(NAME, 1) == ["up"])

    launcher.stop(NAME, at_once=False)

    eventually(lambda: launcher.find([NAME])[NAME].state is PlacedState.ENDED)
    assert "saved" in launcher.logs(NAME, 2)
    head.requests.clear()
    launcher.stop(NAME, at_once=False)
    assert head.requests == [f"GET /api/jobs/{NAME}"], "it has ended already"


def test_the_end_of_a_job_is_awaited_for_longer_than_ray_lets_it_save(head):
    assert launcher_of(head).ending_s() > 120
    assert launcher_of(head, stop_wait_s=3600).ending_s() > 3600


def test_a_job_of_somebody_else_is_not_stopped(head, launcher):
    launcher.submit(placement(gpus=0, comment="theirs"))

    with pytest.raises(LauncherError, match="not ours"):
        launcher.stop(NAME, at_once=True)

    assert head.jobs[NAME].process.poll() is None


def test_a_job_that_ends_while_it_is_stopped_is_fine(head, launcher):
    launcher.submit(placement(gpus=0))
    head.fail(f"POST /api/jobs/{NAME}/stop", ray_head.answers(404, "Job does not exist"))

    launcher.stop(NAME, at_once=False)


def test_the_last_lines_of_long_output(head, launcher):
    launcher.submit(placement(gpus=0, command=("true",)))
    head.jobs[NAME].process.wait(10)
    written = "".join(f'{number} "카페" \\n \\\\ x\n' for number in range(400_000))
    head.jobs[NAME].log.write_text(written)

    assert launcher.logs(NAME, 2) == [
        '399998 "카페" \\n \\\\ x',
        '399999 "카페" \\n \\\\ x',
    ]
    assert launcher.logs(NAME, 0) == []
    assert len(launcher.logs(NAME, 10_000)) == 10_000


@pytest.mark.parametrize(
    ("nodes", "gpus", "count"),
    [
        ([{"CPU": 2.0}, {"CPU": 2.0}], 0, 2),
        ([{"memory": 1e9}, {"CPU": 64.0, "GPU": 8.0}, {"CPU": 64.0, "GPU": 8.0}], 16, 2),
        ([], 0, 0),
    ],
)
def test_capacity_is_that_of_the_nodes(head, launcher, nodes, gpus, count):
    head.nodes = nodes

    capacity = launcher.capacity()

    assert (capacity.gpus, capacity.nodes) == (gpus, count)


def test_an_old_cluster_does_not_tell_its_capacity(head, launcher):
    head.fail("GET /api/v0/nodes", ray_head.answers(404, "404: Not Found"))

    capacity = launcher.capacity()

    assert (capacity.gpus, capacity.nodes) == (None, None)


def test_variables_arrive_as_they_are(head, launcher):
    odd = {"PLAIN": "a 'b' \"c\"", "DOLLARS": "$HOME ${HOME}\n$$\n", "EMPTY": ""}
    program = "import json, os; print(json.dumps({k: os.environ[k] for k in ['PLAIN', 'DOLLARS', 'EMPTY']}))"
    launcher.submit(placement(gpus=0, environment=odd, command=(sys.executable, "-c", program)))
    head.jobs[NAME].process.wait(10)

    assert "$" not in json.dumps(submitted(head)["runtime_env"]), "Ray would expand it"
    assert json.loads(launcher.logs(NAME, 1)[0]) == odd
