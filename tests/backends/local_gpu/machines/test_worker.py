"""The worker on another machine, up to the moment in which it starts to train."""

import json
import os
from importlib.metadata import version

import pytest

from backends.contract.errors import BackendError
from backends.local_gpu.jobs.rank_protocol import STOPPED
from backends.local_gpu.jobs.run_dir import RunDir
from backends.local_gpu.json_files import json_bytes, last_line
from backends.local_gpu.machines.claims import list_run, take_claim
from backends.local_gpu.machines.nodes import ADDRESS, call_nodes
from backends.local_gpu.machines.objects import (
    CANCEL,
    LOG,
    PAUSE,
    PROGRESS,
    RESULT,
    checkpoint_name,
    key_of,
    part_name,
    released_name,
)
from backends.local_gpu.machines.placed_request import PlacedRequest
from backends.local_gpu.machines.publishing import send_checkpoint
from backends.local_gpu.machines.scratch import SCRATCH
from backends.local_gpu.machines.shipping import push_folder
from backends.local_gpu.machines.worker import Stop, Work, main, resume, work, work_along
from backends.stores.folder import FolderStore
from backends.stores.objects import StoreError

VERSION = version("ftctl")
NAME = "0123456789abcdef-1"
FINGERPRINT = "ft1:" + "0123456789abcdef" * 4


@pytest.fixture
def store(shared):
    return FolderStore(shared)


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    """A folder for workers, and the environment as it was once they have changed it."""
    monkeypatch.setattr(os, "environ", os.environ.copy())
    os.environ |= {SCRATCH: str(tmp_path / "scratch"), ADDRESS: "node-1"}
    return tmp_path / "scratch"


@pytest.fixture
def place(store, tmp_path):
    """Return a function that writes the request of a run into the store."""

    def made(ftctl=VERSION, **request):
        data = tmp_path / "data"
        data.mkdir(exist_ok=True)
        (data / "train.jsonl").write_text("{}\n")
        digest = push_folder(store, FINGERPRINT, data, ["train.jsonl"])
        base = {"reference": "Qwen/Qwen3-0.6B", "revision": "f" * 40, "identity": "hub:x"}
        placed = PlacedRequest(
            request={"fingerprint": FINGERPRINT, "base_model": base, **request},
            data=digest,
            base={},
            adapter=None,
            ftctl=ftctl,
        )
        raw = {name: getattr(placed, name) for name in PlacedRequest.__slots__}
        store.create(key_of(NAME, "request.json"), json_bytes(raw))

    return made


@pytest.fixture
def first_node(store):
    """Another worker that has claimed the run, as the first of several nodes."""
    claim = take_claim(store, NAME)
    yield claim
    claim.ended.set()


def test_a_worker_of_a_run_that_is_not_there_says_where_it_looked(shared, capsys):
    assert main(["--store", str(shared), "--run", NAME]) == 1
    said = capsys.readouterr().out
    assert f"ftctl: {shared} has no run {NAME}" in said
    assert "Check that the folder is shared." in said


def test_a_worker_that_comes_too_late_has_nothing_to_do(store, place, capsys):
    place()
    store.create(key_of(NAME, RESULT), b"{}")
    assert work(store, NAME, Stop()) == 0
    assert f"nothing to do: {NAME} has ended, or another worker" in capsys.readouterr().out
    assert list_run(store, NAME).generation == 0


def test_a_worker_leaves_a_run_to_the_one_that_has_it(store, place, first_node):
    place()
    assert work(store, NAME, Stop()) == 0
    assert list_run(store, NAME).generation == first_node.generation == 1


def test_a_worker_of_another_version_says_so_in_the_store_and_lets_go(store, place, scratch):
    place(ftctl="0.0.1")
    assert work(store, NAME, Stop()) == 1
    stored = list_run(store, NAME)
    assert stored.is_released
    words = f"this machine has ftctl {VERSION}, and the job was placed by 0.0.1"
    assert words in store.read(key_of(NAME, released_name(1))).decode()
    # `ftctl logs` shows what a worker has written.
    (part,) = stored.parts(LOG)
    assert store.read(part.key).decode().startswith(f"ftctl: {words}")
    assert stored.failed_starts == 1
    assert list(scratch.iterdir()) == []


def test_a_worker_whose_examples_are_gone_lets_go(store, place, shared):
    place()
    for path in (shared / "objects").rglob("*"):
        if path.is_file():
            path.unlink()
    assert work(store, NAME, Stop()) == 1
    assert list_run(store, NAME).is_released


def test_another_node_that_is_asked_to_stop_says_that_it_stopped(store, place):
    place()
    stop = Stop()
    assert not stop.asked
    stop.receive(15, None)
    assert work_along(store, NAME, 1, stop) == STOPPED


def test_another_node_of_a_run_that_has_ended_is_done(store, place):
    place()
    store.create(key_of(NAME, RESULT), b"{}")
    assert main(["--store", store.url, "--run", NAME, "--node", "1"]) == 0


def test_another_node_of_another_version_is_refused(store, place, first_node):
    place(ftctl="0.0.1")
    call_nodes(first_node, 0)
    with pytest.raises(BackendError, match=r"the job was placed by 0\.0\.1"):
        work_along(store, NAME, 1, Stop())


def checkpoint(claim, folder, step):
    """Write a checkpoint as the first node does."""
    run = RunDir(path=folder / "first" / NAME)
    made = run.checkpoints / f"checkpoint-{step}"
    made.mkdir(parents=True)
    (made / "model.safetensors").write_text("weights")
    (made / "ftctl.json").write_text("{}")
    assert send_checkpoint(claim, run, FINGERPRINT, -1) == step


def of_other_libraries(store, key):
    mark = json.loads(store.read(key))
    store.write(key, json_bytes({**mark, "libraries": {"torch": "1.0"}}))


def of_lost_files(store, key):
    mark = json.loads(store.read(key))
    store.write(key, json_bytes({**mark, "files": "sha256:" + "0" * 64}))


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (of_other_libraries, r"step 20 was written by torch 1\.0 \(here: "),
        (of_lost_files, "step 20 cannot be used: "),
        (lambda store, key: store.remove([key]), "step 20 is not in the store"),
    ],
)
def test_a_node_that_cannot_continue_where_the_first_one_does_trains_nothing(
    store, place, first_node, scratch, damage, why
):
    place()
    checkpoint(first_node, scratch.parent, 20)
    call_nodes(first_node, 20)
    damage(store, key_of(NAME, checkpoint_name(20, 1)))
    # From its beginning, it would train other weights than the first node, and nobody would see it.
    with pytest.raises(StoreError, match=why) as caught:
        work_along(store, NAME, 1, Stop())
    assert "the same versions" in caught.value.remedy
    assert list(scratch.iterdir()) == []


def test_lines_for_people_are_events_and_output(first_node, tmp_path, capsys):
    run = RunDir(path=tmp_path / NAME)
    run.path.mkdir()
    made = Work(claim=first_node, run=run, fingerprint=FINGERPRINT)
    made.say("카페를 학습합니다", steps_lost=3)
    made.say("again")
    first, second = map(json.loads, run.progress.read_text().splitlines())
    assert (first["message"], first["steps_lost"]) == ("카페를 학습합니다", 3)
    assert "steps_lost" not in second
    assert second["time_s"] >= first["time_s"] > 0
    assert capsys.readouterr().out == "ftctl: 카페를 학습합니다\nftctl: again\n"


def reports(store, generation, *lines):
    text = "".join(json.dumps(line) + "\n" for line in lines)
    store.write(key_of(NAME, part_name(PROGRESS, generation, 0)), text.encode())


@pytest.fixture
def second(store, first_node, tmp_path):
    """The work of a worker that follows a lost one."""
    first_node.release()
    claim = take_claim(store, NAME)
    run = RunDir(path=tmp_path / "second" / NAME)
    run.path.mkdir(parents=True)
    yield Work(claim=claim, run=run, fingerprint=FINGERPRINT)
    claim.ended.set()


def test_a_worker_continues_from_the_checkpoint_and_says_what_is_lost(store, second, tmp_path):
    checkpoint(second.claim, tmp_path, 20)
    reports(store, 1, {"step": 20, "spent_s": 800.0}, {"step": 26, "spent_s": 960.0, "loss": 1.5})
    resume(second, list_run(store, NAME))
    assert (second.saved, second.facts) == (20, {"workers": 2, "steps_lost": 6})
    assert [path.name for path in second.run.checkpoints.iterdir()] == ["checkpoint-20"]
    (line,) = map(json.loads, second.run.progress.read_text().splitlines())
    assert line["message"] == "worker 2 continues from step 20; 6 steps are lost"
    assert line["steps_lost"] == 6


def test_the_hours_of_lost_workers_count_for_the_budget(store, second):
    # Eight devices for two hours: the checkpoint knows of two hours alone.
    reports(store, 1, {"step": 9, "spent_s": 8 * 7200.0})
    resume(second, list_run(store, NAME))
    # The training begins to count at the last number in this file.
    assert last_line(second.run.progress, "spent_s")["spent_s"] == 8 * 7200.0
    message = last_line(second.run.progress, "message")["message"]
    assert message == "worker 2 starts from its beginning; 9 steps are lost"


def test_the_first_worker_says_nothing_of_others(store, first_node, tmp_path):
    run = RunDir(path=tmp_path / NAME)
    run.path.mkdir()
    made = Work(claim=first_node, run=run, fingerprint=FINGERPRINT)
    resume(made, list_run(store, NAME))
    assert (made.saved, made.facts) == (0, {"workers": 1, "steps_lost": 0})
    assert not run.progress.exists()


def test_a_checkpoint_that_cannot_be_used_is_said_before_an_earlier_one_is(store, second, tmp_path):
    for step in (10, 20):
        checkpoint(second.claim, tmp_path, step)
    of_other_libraries(store, key_of(NAME, checkpoint_name(20, 2)))
    resume(second, list_run(store, NAME))
    assert second.saved == 10
    why, begins = (json.loads(line) for line in second.run.progress.read_text().splitlines())
    assert why["message"].startswith("the checkpoint of step 20 was written by torch 1.0 (here: ")
    assert why["message"].endswith("; an earlier one is used, or none")
    assert begins["message"] == "worker 2 continues from step 10; 0 steps are lost"


class Failing(FolderStore):
    """A store that takes nothing for a while."""

    def create(self, key, data):
        raise StoreError(f"no room for {len(data)} bytes of {key}", "Wait.")


def test_what_a_store_does_not_take_waits_for_the_next_report(store, first_node, tmp_path, capsys):
    run = RunDir(path=tmp_path / NAME)
    run.path.mkdir()
    run.halvings.write_bytes(json_bytes({"halvings": 1}))
    made = Work(claim=first_node, run=run, fingerprint=FINGERPRINT, saved=7)
    first_node.store = Failing(tmp_path / "shared")
    made.send()
    assert "not reported: no room for 0 bytes" in capsys.readouterr().out
    assert (made.halvings, made.saved) == (0, 7)
    first_node.store = store
    made.send()
    assert made.halvings == list_run(store, NAME).halvings == 1


@pytest.mark.parametrize("mark", [CANCEL, PAUSE])
def test_marks_of_the_machine_of_ftctl_are_no_claims(store, place, mark):
    place()
    store.write(key_of(NAME, mark), b"")
    stored = list_run(store, NAME)
    assert stored.is_unclaimed
    assert stored.failed_starts == 0
