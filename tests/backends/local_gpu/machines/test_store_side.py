"""What a worker writes into a store, and what the machine of ftctl reads there."""

import json
import sys
import zipfile
from pathlib import Path

import pytest

from backends.contract.errors import BackendError
from backends.contract.jobs import Machine
from backends.local_gpu.jobs.run_dir import RunDir, write_end
from backends.local_gpu.json_files import json_bytes
from backends.local_gpu.machines import publishing
from backends.local_gpu.machines.claims import Claim, list_run
from backends.local_gpu.machines.mirror import refresh
from backends.local_gpu.machines.objects import LOG, PART, PROGRESS, key_of, part_name
from backends.local_gpu.machines.own_code import code_folder
from backends.local_gpu.machines.placed_request import PlacedRequest, require_same_version
from backends.local_gpu.machines.publishing import Growing, fetch_checkpoint, send_checkpoint
from backends.local_gpu.machines.scratch import SCRATCH, scratch_folder
from backends.stores.folder import FolderStore
from backends.stores.objects import StoreError
from tests.children import ROOT, child

NAME = "0123456789abcdef-1"
FINGERPRINT = "ft1:" + "0123456789abcdef" * 4


@pytest.fixture
def store(shared):
    return FolderStore(shared)


@pytest.fixture
def run(tmp_path):
    made = RunDir(path=tmp_path / "worker" / NAME)
    made.checkpoints.mkdir(parents=True)
    return made


@pytest.fixture
def here(tmp_path):
    made = RunDir(path=tmp_path / "here" / NAME)
    made.path.mkdir(parents=True)
    made.request.write_bytes(json_bytes({"fingerprint": FINGERPRINT}))
    return made


def claim_of(store, generation=1):
    return Claim(store=store, run=NAME, generation=generation)


def checkpoint(run, step, text="weights"):
    folder = run.checkpoints / f"checkpoint-{step}"
    folder.mkdir()
    (folder / "model.safetensors").write_text(text * 10)
    (folder / "ftctl.json").write_text("{}")
    return folder


def test_files_grow_here_as_they_grow_there(store, run, here):
    kinds = ((PROGRESS, run.progress), (LOG, run.log))
    first, second = (
        [Growing(claim=claim_of(store, one), kind=kind, path=path) for kind, path in kinds]
        for one in (1, 2)
    )
    expected = {here.progress: b"", here.log: b""}
    for growing in (first, second):
        for size in (10, PART + 7, 3, 2 * PART):
            for one, target in zip(growing, expected, strict=True):
                piece = bytes([65 + size % 26]) * size
                with one.path.open("ab") as file:
                    file.write(piece)
                one.send()
                expected[target] += piece
            refresh(store, here, list_run(store, NAME))
            for target, content in expected.items():
                assert target.read_bytes() == content
        for one in growing:
            one.path.unlink()
    assert max(path.stat().st_size for path in store_files(store)) <= PART


def store_files(store):
    return [path for path in Path(store.url).rglob("*") if path.is_file()]


def test_the_newest_whole_checkpoint_is_continued_from(store, run, tmp_path, monkeypatch):
    newest = -1
    for step in (10, 20, 30):
        checkpoint(run, step, f"weights of {step}")
        newest = send_checkpoint(claim_of(store), run, FINGERPRINT, newest)
    assert newest == 30
    marks = list_run(store, NAME).checkpoints
    assert [mark.split("/")[1] for mark in marks] == [
        "000000030-000001.json",
        "000000020-000001.json",
    ]
    other = RunDir(path=tmp_path / "other" / NAME)
    assert fetch_checkpoint(store, other, FINGERPRINT, marks) == (30, [])
    file = other.checkpoints / "checkpoint-30" / "model.safetensors"
    assert file.read_text() == "weights of 30" * 10

    for path in store_files(store):
        if path.read_bytes() == b"weights of 30" * 10:
            path.write_bytes(b"damage")
    other = RunDir(path=tmp_path / "third" / NAME)
    step, skipped = fetch_checkpoint(store, other, FINGERPRINT, marks)
    assert step == 20
    assert "the checkpoint of step 30 cannot be used" in skipped[0]

    monkeypatch.setattr(publishing, "version", lambda _: "9.9.9")
    step, skipped = fetch_checkpoint(store, other, FINGERPRINT, marks)
    assert step == 0
    assert skipped[0].startswith("the checkpoint of step 30 was written by ")
    assert "(here: 9.9.9)" in skipped[0]


def marks_of(store):
    return [mark.partition("/")[2].partition(".")[0] for mark in list_run(store, NAME).checkpoints]


def test_a_worker_that_cannot_use_later_checkpoints_keeps_its_own(store, run, tmp_path):
    newest = -1
    for step in (20, 30):
        checkpoint(run, step)
        newest = send_checkpoint(claim_of(store), run, FINGERPRINT, newest)
    # Other libraries are there now: the next worker starts from the beginning.
    second, newest = RunDir(path=tmp_path / "second" / NAME), 0
    second.checkpoints.mkdir(parents=True)
    later = ["000000030-000001", "000000020-000001"]
    for step, kept in (
        (5, [*later, "000000005-000002"]),
        (10, [*later, "000000010-000002", "000000005-000002"]),
        (15, [*later, "000000015-000002", "000000010-000002"]),
        (25, ["000000030-000001", "000000025-000002", "000000020-000001"]),
        (30, ["000000030-000002", "000000030-000001"]),
        (40, ["000000040-000002", "000000030-000002"]),
    ):
        checkpoint(second, step)
        newest = send_checkpoint(claim_of(store, 2), second, FINGERPRINT, newest)
        assert (newest, marks_of(store)) == (step, kept)


LOST, STEP = '{"message": "worker", "steps_lost": %d}\n', '{"step": %d, "loss": 1.5}\n'


@pytest.mark.parametrize(
    ("workers", "reached", "lost"),
    [
        ([], 0, 0),
        ([STEP % 40], 40, 0),
        ([STEP % 40 + STEP % 50 + '{"message": "stopped"}\n'], 50, 0),
        # The second continues from 30, and has come to 35.
        ([STEP % 50, LOST % 20 + STEP % 35], 35, 20),
        # It was lost before it reported a step: what the first one lost is lost once.
        ([STEP % 50, LOST % 20], 30, 20),
        ([STEP % 50, LOST % 20, LOST % 0 + STEP % 31], 31, 20),
        ([STEP % 50, LOST % 50 + STEP % 10, LOST % 10], 0, 60),
        # Halves of lines, and what is no report, count for nothing.
        (
            [STEP % 50 + '{"step": 6', '\xff[1, 2]\n"step"\n{"step": "90", "spent_s": null}\n'],
            50,
            0,
        ),
    ],
)
def test_steps_are_lost_once(store, workers, reached, lost):
    for generation, text in enumerate(workers, start=1):
        store.write(key_of(NAME, part_name(PROGRESS, generation, 0)), text.encode("latin-1"))
    found = publishing.reported_by_all(store, list_run(store, NAME))
    assert (found.step, found.lost, found.spent_s) == (reached, lost, 0.0)


def test_a_checkpoint_that_is_replaced_while_it_is_sent_is_left(store, run, monkeypatch):
    checkpoint(run, 10)
    monkeypatch.setattr(publishing, "files_of", lambda _: ["gone.safetensors"])
    assert send_checkpoint(claim_of(store), run, FINGERPRINT, -1) == -1
    assert list_run(store, NAME).checkpoints == []


def test_a_worker_that_was_taken_over_marks_no_checkpoint_and_no_result(store, run):
    checkpoint(run, 10)
    write_end(run, "failed", "no more")
    store.create(key_of(NAME, "claims/000002.json"), b"{}")
    assert send_checkpoint(claim_of(store), run, FINGERPRINT, -1) == -1
    assert not publishing.send_result(claim_of(store), run, FINGERPRINT, {})
    stored = list_run(store, NAME)
    assert stored.checkpoints == []
    assert not stored.has("result.json")


def test_a_result_whose_answer_was_lost_counts(store, run):
    """The request is repeated, and finds what the first one has made."""
    write_end(run, "failed", "no more")
    claim = claim_of(store)
    for _ in range(2):
        assert publishing.send_result(claim, run, FINGERPRINT, {})
    assert not publishing.send_result(claim_of(store, 2), run, FINGERPRINT, {})


def test_a_result_comes_last_and_takes_the_checkpoints_with_it(store, run, here):
    checkpoint(run, 10)
    send_checkpoint(claim_of(store), run, FINGERPRINT, -1)
    run.model.mkdir()
    (run.model / "adapter_model.safetensors").write_text("adapter")
    ended = {"state": "succeeded", "facts": {"steps": 10}, "finished_s": 5.0}
    run.result.write_bytes(json_bytes(ended))
    assert publishing.send_result(claim_of(store), run, FINGERPRINT, {"workers": 1})
    stored = list_run(store, NAME)
    assert stored.checkpoints == []
    assert list(store.find(f"checkpoints/{NAME}/")) == []
    refresh(store, here, stored)
    assert (here.model / "adapter_model.safetensors").read_text() == "adapter"
    assert json.loads(here.result.read_text()) == ended | {"facts": {"steps": 10, "workers": 1}}


def test_halved_batches_are_kept_for_the_next_worker_on_every_node(store, run, tmp_path):
    assert publishing.send_halvings(store, run, 0) == 0
    # The node that runs out of memory may be any of them.
    run.halvings.write_bytes(json_bytes({"halvings": 2}))
    assert publishing.send_halvings(store, run, 0) == 2
    stored = list_run(store, NAME)
    other = RunDir(path=tmp_path / "other" / NAME)
    other.path.mkdir(parents=True)
    assert publishing.fetch_halvings(other, stored) == 2
    assert json.loads(other.halvings.read_text()) == {"halvings": 2}
    before = stored.objects["halvings/002"].modified_s
    for known in (0, 2):
        publishing.send_halvings(store, other, known)
    assert list_run(store, NAME).objects["halvings/002"].modified_s == before


def test_a_training_that_halved_nothing_begins_with_whole_batches(store, run):
    assert publishing.fetch_halvings(run, list_run(store, NAME)) == 0
    assert not run.halvings.exists()


class Failing(FolderStore):
    """A store that does not answer for a while."""

    failures = 3

    def find(self, prefix):
        if self.failures:
            self.failures -= 1
            raise StoreError(f"no answer about {prefix}", "Wait.")
        yield from super().find(prefix)


def test_a_result_waits_for_a_store_that_does_not_answer(shared, run, monkeypatch, capsys):
    monkeypatch.setattr(publishing, "AGAIN_S", 0.0)
    write_end(run, "failed", "no more")
    claim = claim_of(Failing(shared))
    with pytest.raises(StoreError):
        publishing.record_result(claim, run, FINGERPRINT, {}, [15])
    assert publishing.record_result(claim, run, FINGERPRINT, {}, [])
    assert capsys.readouterr().out.count("the result is not recorded yet: no answer") == 2
    assert list_run(claim.store, NAME).has("result.json")


def test_a_damaged_result_is_named(store, here):
    store.create(key_of(NAME, "result.json"), b"nonsense")
    with pytest.raises(StoreError, match=r"result.json is damaged"):
        refresh(store, here, list_run(store, NAME))
    assert not here.result.exists()


def test_another_version_of_ftctl_is_refused():
    placed = PlacedRequest(request={}, data="", base={}, adapter=None, ftctl="99.0")
    with pytest.raises(BackendError, match=r"the job was placed by 99\.0"):
        require_same_version(placed)


def test_what_killed_workers_left_is_removed_and_what_lives_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv(SCRATCH, str(tmp_path / "scratch"))
    (tmp_path / "scratch" / "bases" / "kept").mkdir(parents=True)
    with scratch_folder(NAME, 1) as first:
        dead = [tmp_path / "scratch" / name for name in (f"{NAME}-7", f"{NAME}-node-1-7")]
        for folder in dead:
            (folder / "runs" / NAME).mkdir(parents=True)
            (folder / "worker.lock").touch()
        with scratch_folder(NAME, 2) as second:
            assert first.is_dir()
            assert second.is_dir()
            assert not any(folder.exists() for folder in dead)
    assert [path.name for path in (tmp_path / "scratch").iterdir()] == ["bases"]


def test_nothing_of_others_is_removed_from_a_disk_that_workers_share_with_them(
    tmp_path, monkeypatch
):
    monkeypatch.setenv(SCRATCH, str(tmp_path / "scratch"))
    theirs = (
        "datasets/카페.csv",
        "runs/1/worker.lock",
        f"{NAME}/a",
        "notes.txt",
        f"{NAME}-1-old/b",
    )
    # A worker that begins now has its folder, and not yet its lock.
    theirs += (f"{NAME}-3/runs",)
    for name in theirs:
        file = tmp_path / "scratch" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("mine")
    with scratch_folder(NAME, 1):
        pass
    found = {path for path in (tmp_path / "scratch").rglob("*") if path.is_file()}
    assert found == {tmp_path / "scratch" / name for name in theirs}


def machine_of(runs):
    return Machine(name="cluster", launcher="processes", runs=str(runs), ships=True)


def test_the_code_in_a_shared_folder_is_this_ftctl(shared, tmp_path):
    environment = {}
    assert code_folder(machine_of(shared), tmp_path, environment) is None
    assert code_folder(machine_of(shared), tmp_path, environment) is None
    (folder,) = (shared / "code").iterdir()
    assert environment == {"PYTHONPATH": str(folder)}
    source = (ROOT / "backends" / "registry.py").read_bytes()
    assert (folder / "backends" / "registry.py").read_bytes() == source
    asked = "import importlib.metadata as m, backends; print(m.version('ftctl'), backends.__file__)"
    with child(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(folder)!r}); {asked}"],
        stdout=-1,
        text=True,
    ) as process:
        told = process.communicate(timeout=30)[0]
    assert str(folder) in told


def test_equal_code_is_one_zip_file(tmp_path):
    machine = machine_of("s3://acme/runs")
    first = code_folder(machine, tmp_path / "one", {})
    second = code_folder(machine, tmp_path / "two", {})
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as packed:
        assert "backends/local_gpu/machines/worker.py" in packed.namelist()
