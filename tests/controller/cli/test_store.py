"""`ftctl store`, and what other commands do with a store, as people type them."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from backends.local_gpu.machines.shipping import pull_folder, push_folder
from backends.stores.folder import FolderStore
from tests.servers.s3_server import BUCKET, KEYS, s3_server

pytestmark = pytest.mark.usefixtures("installed")
SPEC = "evaluation: {metrics: [exact_match]}\ngate: []\n"


def git(folder: Path, *arguments: str) -> None:
    config = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(
        ["git", *config, "-C", str(folder), *arguments], check=True, capture_output=True, timeout=60
    )


@pytest.fixture
def shared(tmp_path):
    folder = tmp_path / "shared"
    folder.mkdir()
    return folder


@pytest.fixture
def stored(shell, shared):
    """A repository with a model that is in a shared folder."""
    shell.write("ftctl.yaml", f"store: {{url: {shared}}}\n")
    shell.declare(more=SPEC)
    code, text = shell("apply", "-y")
    assert code == 0, text
    shell.told = text
    return shell


def clone(shell):
    """Lose everything that belongs to the machine: what is left is what a clone has."""
    shutil.rmtree(shell.root / ".ftctl")


def build_of(shell, name="faq"):
    entry = json.loads((shell.root / "finetunes/ftctl.lock").read_text())["finetunes"][name]
    return entry["builds"][entry["production"]]


def objects(shared, below="objects"):
    return sorted(path for path in (shared / below).rglob("*") if path.is_file())


def test_a_training_is_stored_and_recorded(stored, shared):
    assert "is in the store" in stored.told
    build = build_of(stored)
    digits = build["fingerprint"].partition(":")[2]
    for kind, key in (("builds", "model"), ("answers", "answers")):
        (manifest,) = objects(shared, kind)
        assert manifest == shared / kind / digits / f"{build['stored'][key][7:]}.json"
    before = (stored.root / "finetunes/ftctl.lock").read_bytes()
    assert stored("apply", "-y") == (0, "No changes. The one fine-tune matches its spec.\n")
    assert (stored.root / "finetunes/ftctl.lock").read_bytes() == before
    assert list(shared.rglob("*/probes/*")) == []


def test_a_fresh_clone_uses_models_of_the_store(stored):
    clone(stored)
    code, text = stored("plan")
    assert (code, "No changes" in text, "another machine" in text) == (0, True, False)
    assert stored.backend.models() == set()
    code, text = stored("chat", "faq", "-m", "q1?")
    assert code == 0, text
    assert stored.backend.models() == {build_of(stored)["model_id"]}
    assert len(list((stored.root / ".ftctl/answers").iterdir())) == 1
    assert stored("export", "faq", "--format", "adapter", "--out", str(stored.root / "out"))[0] == 0
    assert stored("model", "faq", "--path")[0] == 0
    assert stored.backend.submitted == 1


def test_a_revert_in_a_fresh_clone_trains_nothing(stored):
    first = build_of(stored)["fingerprint"]
    stored.declare(more=SPEC + "seed: 7\n")
    assert stored("apply", "-y")[0] == 0
    assert build_of(stored)["fingerprint"] != first
    clone(stored)
    stored.declare(more=SPEC)
    code, text = stored("plan")
    assert "another machine" not in text
    code, text = stored("apply", "-y")
    assert code == 0, text
    assert build_of(stored)["fingerprint"] == first
    assert stored.backend.submitted == 1  # the one that came from the store


def test_without_a_store_a_clone_is_told_so(shell, golden):
    shell.declare(more=SPEC)
    assert shell("apply", "-y")[0] == 0
    shell.declare(more=SPEC + "seed: 7\n")
    assert shell("apply", "-y")[0] == 0
    clone(shell)
    told = [shell("plan")[1], shell("status")[1], shell("chat", "faq", "-m", "q?")[1]]
    shell.declare(more=SPEC)
    told += [shell("plan")[1], shell("apply", "-y")[1], shell("store", "push")[1]]
    golden("store/without.txt", "\n----\n".join(told))
    assert stored_nothing(shell)


def stored_nothing(shell) -> bool:
    return '"stored"' not in (shell.root / "finetunes/ftctl.lock").read_text()


def test_a_store_that_was_declared_later_gets_the_models_at_the_next_apply(shell, shared):
    shell.declare(more=SPEC)
    assert shell("apply", "-y")[0] == 0
    assert stored_nothing(shell)
    shell.write("ftctl.yaml", f"store: {{url: {shared}}}\n")
    code, text = shell("apply", "-y")
    assert (code, "is in the store" in text) == (0, True)
    assert build_of(shell)["stored"]["model"]


def test_the_store_is_not_there_and_then_it_is(stored, shared):
    shared.rename(shared.with_name("away"))
    stored.declare(more=SPEC + "seed: 7\n")
    code, text = stored("apply", "-y")
    assert code == 1
    assert "is not there" in text
    assert "the next `ftctl apply` on this machine stores it" in text
    assert text.count("is not there") == 1
    assert "stored" not in build_of(stored)
    shared.with_name("away").rename(shared)
    code, text = stored("reconcile")
    assert (code, "is in the store" in text) == (0, True)
    assert build_of(stored)["stored"]["answers"]


def test_a_push_that_died_before_the_record_is_found_again(stored, shared):
    lockfile = stored.root / "finetunes/ftctl.lock"
    value = json.loads(lockfile.read_text())
    (build,) = value["finetunes"]["faq"]["builds"].values()
    before = build.pop("stored")
    lockfile.write_text(json.dumps(value))
    known = objects(shared, ".")
    assert stored("apply", "-y")[0] == 0
    assert build_of(stored)["stored"] == before
    assert objects(shared, ".") == known


def test_private_models_go_only_to_a_private_store(shell, shared):
    shell.write("ftctl.yaml", f"store: {{url: {shared}}}\n")
    shell.declare(more=SPEC)
    spec = shell.root / "finetunes/faq.yaml"
    spec.write_text(spec.read_text().replace("data:\n", "data:\n  sensitivity: private\n"))
    shell.declare("child", SPEC, base="{finetune: faq}")
    code, text = shell("apply", "-y")
    assert code == 0, text
    assert text.count("faq: its data is private, and the store") == 1
    code, text = shell("apply", "-y")
    assert code == 0, text
    assert "child: it starts from faq, and there its data is private" in text
    assert objects(shared, ".") == []
    code, text = shell("store", "push")
    assert code == 5
    assert "private: true" in text
    spec.write_text("backend: [")
    code, text = shell("store", "push", "faq")
    assert (code, "its spec, which tells whether its data is private, cannot be read" in text) == (
        5,
        True,
    )
    assert objects(shared, ".") == []
    shell.write("ftctl.yaml", f"store: {{url: {shared}, private: true}}\n")
    assert shell("store", "push")[0] == 0
    assert len(objects(shared, "builds")) == 2


def test_a_child_is_trained_from_a_parent_of_the_store(stored):
    clone(stored)
    stored.declare("child", SPEC, base="{finetune: faq}")
    code, text = stored("plan")
    assert (code, "is in the store, and not on this machine" in text) == (0, True), text
    assert stored.backend.models() == set()
    code, text = stored("apply", "-y")
    assert code == 0, text
    assert build_of(stored, "child")["parent"]["finetune"] == "faq"


def test_damage_is_found_named_and_repaired(stored, shared):
    assert stored("store", "verify")[0] == 0
    path = objects(shared)[0]
    path.write_bytes(b"x" * path.stat().st_size)
    key = path.relative_to(shared).as_posix()
    code, text = stored("store", "verify")
    assert (code, f"! {key} is damaged: faq, build" in text) == (1, True)
    code, value = stored.json("store", "verify", "--delete-damaged")
    assert (code, list(value["damaged"])) == (1, [key])
    assert f"! {key} is missing" in stored("store", "verify")[1]
    assert stored("store", "push")[0] == 0
    assert stored("store", "verify")[0] == 0


def test_a_tampered_object_is_never_used(stored, shared):
    clone(stored)
    for path in objects(shared):
        path.write_bytes(b"x" * path.stat().st_size)
    code, text = stored("chat", "faq", "-m", "q?")
    assert (code, "objects/" in text, "is damaged" in text) == (1, True, True)
    assert "Type `ftctl store verify --delete-damaged`" in text
    assert stored.backend.models() == set()


@pytest.fixture
def dormant(stored):
    """A repository with a build that has not been in production for a hundred days."""
    git(stored.root, "init", "-q")
    stored.write(".gitignore", ".ftctl/\n")
    stored.declare(more=SPEC + "seed: 7\n")
    assert stored("apply", "-y")[0] == 0
    lockfile = stored.root / "finetunes/ftctl.lock"
    value = json.loads(lockfile.read_text())
    for build in value["finetunes"]["faq"]["builds"].values():
        build["finished"] = "2020-01-01T00:00:00Z"
    lockfile.write_text(json.dumps(value))
    git(stored.root, "add", "-A")
    git(stored.root, "commit", "-qm", "one")
    return stored


def test_a_prune_removes_what_nothing_names(dormant, shared):
    production = build_of(dormant)["fingerprint"].partition(":")[2]
    before = objects(shared, ".")
    code, text = dormant("store", "prune")
    assert code == 0
    assert objects(shared, ".") == before  # dry
    code, value = dormant.json("store", "prune", "--yes")
    assert (code, len(value["builds"]), value["deleted"]) == (0, 1, True)
    assert f"{value['objects']} objects" in text
    assert [path.parent.name for path in objects(shared, "builds")] == [production]
    assert [path.parent.name for path in objects(shared, "answers")] == [production]
    assert dormant("store", "verify")[0] == 0
    # It stays out of the store until it is promoted again, and production is untouched.
    assert "No changes" in dormant("apply", "-y")[1]
    assert len(objects(shared, "builds")) == 1
    code, text = dormant("store", "prune")
    assert text.startswith("Nothing to remove: 2 stored")
    dormant.declare(more=SPEC)
    code, text = dormant("apply", "-y")
    assert (code, "is in the store" in text) == (0, True)
    assert len(objects(shared, "builds")) == 2


def test_a_prune_keeps_what_jobs_on_other_machines_need(dormant, shared, tmp_path):
    """A machine has its runs in the same folder."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text("{}")
    store, owner = FolderStore(shared), "ft1:" + "0" * 64
    digest = push_folder(store, owner, tmp_path / "data", ["train.jsonl"])
    for path in objects(shared, "."):
        os.utime(path, (0, 0))
    code, value = dormant.json("store", "prune", "--yes")
    assert (code, len(value["builds"])) == (0, 1)
    pull_folder(store, owner, digest, tmp_path / "there")
    assert (tmp_path / "there" / "train.jsonl").read_text() == "{}"


@pytest.mark.parametrize("how", ["pin", "git", "young", "unreadable", "shallow"])
def test_a_prune_keeps_what_may_be_needed(dormant, shared, how):
    entry = json.loads((dormant.root / "finetunes/ftctl.lock").read_text())["finetunes"]["faq"]
    (old,) = entry["builds"].keys() - {entry["production"]}
    if how == "pin":
        dormant.declare(more=SPEC + f"lifecycle: {{pin: {old[4:16]}}}\n")
    elif how == "git":
        # Another branch has it in production.
        git(dormant.root, "checkout", "-qb", "other")
        lockfile = dormant.root / "finetunes/ftctl.lock"
        kept = lockfile.read_bytes()
        lockfile.write_bytes(
            kept.replace(
                f'"production": "{entry["production"]}"'.encode(), f'"production": "{old}"'.encode()
            )
        )
        git(dormant.root, "commit", "-qam", "two")
        git(dormant.root, "checkout", "-q", "-")
    elif how == "young":
        lockfile = dormant.root / "finetunes/ftctl.lock"
        lockfile.write_text(lockfile.read_text().replace("2020-01-01", "2999-01-01"))
    elif how == "unreadable":
        dormant.write("finetunes/other.yaml", "backend: [")
    else:
        copy = dormant.root.with_name("copy")
        git(dormant.root, "clone", "-q", "--depth=1", f"file://{dormant.root}", str(copy))
        dormant.root = copy
    code, text = dormant("store", "prune", "--yes")
    assert len(objects(shared, "builds")) == 2, text
    assert code == (1 if how in {"unreadable", "shallow"} else 0), text


def test_pull_fetches_production_and_its_answers(stored):
    clone(stored)
    code, value = stored.json("store", "pull")
    assert code == 0
    (pulled,) = value["pulled"]
    assert (pulled["name"], pulled["folder"] is not None) == ("faq", True)
    assert stored.backend.models() == {pulled["model_id"]}
    assert stored("store", "pull", "nobody")[0] == 1


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("ftp://a/b", "'ftp' is not a kind of store"),
        ("s3://key:secret@bucket/x", "holds a login or a key"),
        ("s3://bucket/x?sig=abc", "holds a login or a key"),
        ("s3://", "names no place"),
        ("s3://bucket/../x", "names no place"),
        ("hf://acme", "names no place"),
        ("hf://acme/models/more", "names no place"),
    ],
)
def test_an_address_that_names_no_store_is_refused(shell, url, says):
    shell.declare(more=SPEC)
    shell.write("ftctl.yaml", f"store: {{url: '{url}'}}\n")
    code, text = shell("store", "push")
    assert code == 1
    assert "ftctl.yaml:1: store.url" in text
    assert says in text
    assert "secret" not in text


def test_without_a_declared_store_the_commands_tell_so(shell):
    shell.declare(more=SPEC)
    for name in ("push", "pull", "verify", "prune"):
        code, text = shell("store", name)
        assert (code, "ftctl.yaml: store: no store is declared" in text) == (1, True)


def test_the_whole_round_on_a_server_that_speaks_s3(shell, monkeypatch):
    pytest.importorskip("obstore")
    pytest.importorskip("moto")
    for name in ("AWS_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    shell.declare(more=SPEC)
    shell.write("ftctl.yaml", f"store: {{url: s3://{BUCKET}/acme}}\n")
    with s3_server() as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        told = [shell("apply", "-y"), shell("store", "verify")]
        clone(shell)
        told += [shell("chat", "faq", "-m", "q1?")]
    clone(shell)
    told += [shell("chat", "faq", "-m", "q1?")]
    assert [code for code, _ in told] == [0, 0, 0, 1], told
    assert "does not answer: 'no connection'" in told[-1][1]
    secret = KEYS["AWS_SECRET_ACCESS_KEY"]
    files = [path.read_bytes() for path in shell.root.rglob("*") if path.is_file()]
    assert not any(secret in text for _, text in told)
    assert not any(secret.encode() in content for content in files)


def test_doctor_tests_the_store(stored, shared):
    _, text = stored("doctor")
    assert f"ok  store        {shared}, keeps to conditions" in text
    shutil.rmtree(shared)
    code, text = stored("doctor")
    assert (code, "!!  store" in text, "is not there" in text) == (1, True, True)
