"""Files that go to a store and come back."""

import os
import re
import shutil

import pytest

from backends.stores.manifest import Manifest, StoredFile, dump_manifest, parse_manifest
from backends.stores.objects import (
    BUILDS,
    PIECE,
    StoreError,
    digest_of,
    manifest_key,
    piece_key,
)
from backends.stores.pull import pull_files, read_manifest
from backends.stores.push import push_files
from controller.store.progress import unreported

# The hub client's own call of its HTTP library.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
FINGERPRINT = f"ft1:{'c' * 64}"
EMPTY = Manifest(
    fingerprint=FINGERPRINT, attempt=1, backend="local-gpu", model_id="ft:a:b:c-1", files=()
)
NAMES = ["model/weights.safetensors", "model/empty.txt", "request.json"]


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "run"
    (folder / "model").mkdir(parents=True)
    (folder / NAMES[0]).write_bytes(os.urandom(2 * PIECE + 100))
    (folder / NAMES[1]).write_bytes(b"")
    (folder / NAMES[2]).write_bytes(b"{}")
    return folder


def push(store, files, report=unreported):
    return push_files(store, BUILDS, EMPTY, files, NAMES, report)


def content(folder):
    return {name: (folder / name).read_bytes() for name in NAMES}


def test_files_come_back_as_they_were(store, files, tmp_path):
    told: list[tuple[int, int]] = []
    digest, made = push(store, files, lambda done, total: told.append((done, total)))
    assert told[-1] == (2 * PIECE + 102, 2 * PIECE + 102)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    manifest = read_manifest(store, BUILDS, FINGERPRINT, digest)
    assert manifest == made
    told.clear()
    pull_files(store, manifest, tmp_path / "in", lambda done, total: told.append((done, total)))
    assert content(tmp_path / "in") == content(files)
    assert told[-1] == (2 * PIECE + 102, 2 * PIECE + 102)


def test_what_is_stored_is_not_sent_again(faulty_s3, files):
    store, fault = faulty_s3
    first = push(store, files)
    fault.requests.clear()
    assert push(store, files) == first
    puts = [path for path in fault.requests if path.startswith("PUT")]
    assert [path for path in puts if "/objects/" in path] == []


def test_equal_files_are_stored_once(folder, files, tmp_path):
    shutil.copy(files / NAMES[2], files / NAMES[1])
    push(folder, files)
    assert len(list((tmp_path / "shared/objects").rglob("*/*"))) == 4


def test_a_push_that_lost_the_network_leaves_no_build_and_is_continued(faulty_s3, files):
    store, fault = faulty_s3
    fault.drops_after = 6
    with pytest.raises(StoreError, match="does not answer"):
        push(store, files)
    fault.drops_after = None
    assert list(store.find(BUILDS)) == []
    fault.requests.clear()
    digest, _ = push(store, files)
    assert [one.key for one in store.find(BUILDS)] == [manifest_key(BUILDS, FINGERPRINT, digest)]
    assert len({one.key for one in store.find("objects/")}) == 4


def test_a_pull_that_lost_the_network_continues_after_the_last_whole_piece(
    faulty_s3, files, tmp_path
):
    store, fault = faulty_s3
    _, manifest = push(store, files)
    target = tmp_path / "in"
    target.mkdir()
    (target / "model").mkdir()
    weights = (files / NAMES[0]).read_bytes()
    (target / NAMES[0]).write_bytes(weights[: PIECE + 50])
    (target / "left.tmp").write_bytes(b"of an earlier process")
    fault.requests.clear()
    pull_files(store, manifest, target, unreported)
    assert content(target) == content(files)
    assert not (target / "left.tmp").exists()
    first = piece_key(digest_of(weights[:PIECE]))
    assert not any(first in path for path in fault.requests)


@pytest.mark.parametrize("left", ["longer", "link", "linked folder", "another file"])
def test_what_an_earlier_process_left_is_never_part_of_a_model(folder, files, tmp_path, left):
    _, manifest = push(folder, files)
    target, outside = tmp_path / "in", tmp_path / "outside"
    outside.mkdir()
    (outside / "weights.safetensors").write_bytes(b"somebody's")
    target.mkdir()
    if left == "linked folder":
        (target / "model").symlink_to(outside)
    else:
        (target / "model").mkdir()
    if left == "longer":
        whole = (files / NAMES[0]).read_bytes()
        (target / NAMES[0]).write_bytes(whole + b"more")
        (target / NAMES[2]).write_bytes(b"{}}")
    elif left == "link":
        (target / NAMES[0]).symlink_to(outside / "weights.safetensors")
    elif left == "another file":
        (target / "model" / "한글.bin").write_bytes(b"left")
    pull_files(folder, manifest, target, unreported)
    assert content(target) == content(files)
    assert sorted(path.name for path in target.rglob("*") if path.is_file()) == sorted(
        name.rpartition("/")[2] for name in NAMES
    )
    assert not any(path.is_symlink() for path in target.rglob("*"))
    assert (outside / "weights.safetensors").read_bytes() == b"somebody's"


@pytest.mark.parametrize(
    ("name", "shown"),
    [("a\nb", "a\\nb"), ("a\u3000b", "a\\u3000b"), (os.fsdecode(b"\xffa"), "\\udcffa")],
)
def test_a_name_that_no_manifest_holds_is_refused_before_anything_is_sent(
    folder, files, tmp_path, name, shown
):
    (files / name).write_bytes(b"weights")
    with pytest.raises(StoreError, match=re.escape("no file that is called")) as found:
        push_files(folder, BUILDS, EMPTY, files, [*NAMES, name], unreported)
    assert shown in found.value.message
    assert list((tmp_path / "shared").rglob("*")) == []


def test_a_damaged_object_is_named_and_never_kept(faulty_s3, files, tmp_path):
    store, fault = faulty_s3
    digest, manifest = push(store, files)
    key = piece_key(manifest.files[0].pieces[1])
    fault.damages = key
    with pytest.raises(StoreError, match=f"object {key} is damaged"):
        pull_files(store, manifest, tmp_path / "in", unreported)
    assert (tmp_path / "in" / NAMES[0]).stat().st_size == PIECE
    fault.damages = manifest_key(BUILDS, FINGERPRINT, digest)
    with pytest.raises(StoreError, match="is damaged: its content has the digest"):
        read_manifest(store, BUILDS, FINGERPRINT, digest)
    fault.damages = ""
    store.remove([key])
    with pytest.raises(StoreError, match=f"has no object {key}"):
        pull_files(store, manifest, tmp_path / "in", unreported)


def stored(path: str) -> StoredFile:
    return StoredFile(path=path, bytes=0, sha256=digest_of(b""), pieces=())


@pytest.mark.parametrize(
    "path", ["../x", "/etc/x", "a/../../x", "a//b", "", ".", "a\\b", "a\nb", "a/\x1b[2J"]
)
def test_a_manifest_cannot_name_a_file_outside(path):
    good = dump_manifest(EMPTY.model_copy(update={"files": (stored("a"),)}))
    assert parse_manifest(good, "it").files[0].path == "a"
    bad = EMPTY.model_copy(update={"files": (stored("a").model_copy(update={"path": path}),)})
    with pytest.raises(StoreError, match="it is not a manifest"):
        parse_manifest(dump_manifest(bad), "it")


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"[" * 100_000, b'{"format": 1}', b"\xff"])
def test_a_manifest_that_is_not_one_is_refused(text):
    with pytest.raises(StoreError, match="it is not a manifest"):
        parse_manifest(text, "it")


def test_a_manifest_of_a_newer_ftctl_is_refused_by_its_format():
    with pytest.raises(StoreError, match="newer ftctl"):
        parse_manifest(b'{"format": 2}', "it")


def test_the_manifest_of_another_build_is_refused(folder, files):
    digest, manifest = push(folder, files)
    other = f"ft1:{'d' * 64}"
    folder.create(manifest_key(BUILDS, other, digest), dump_manifest(manifest))
    with pytest.raises(StoreError, match="is the manifest of ft1:ccc"):
        read_manifest(folder, BUILDS, other, digest)


def test_a_full_disk_is_told_before_anything_is_fetched(folder, files, tmp_path):
    _, manifest = push(folder, files)
    # More than any disk has.
    file = manifest.files[0].model_copy(update={"bytes": 10**15})
    huge = manifest.model_copy(update={"files": (file,)})
    with pytest.raises(StoreError, match=r"MB more in .*, and .* MB are free"):
        pull_files(folder, huge, tmp_path / "in", unreported)
    assert list((tmp_path / "in").iterdir()) == []
