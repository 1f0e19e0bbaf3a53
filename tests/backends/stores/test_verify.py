"""Damage of every kind is found, and stops neither the rest of a verification nor its repair."""

import pytest

from backends.stores.manifest import Manifest
from backends.stores.objects import BUILDS, PIECE, StoreError, manifest_key, piece_key
from backends.stores.pull import pull_files, read_manifest
from backends.stores.push import push_files
from controller.lockfile.model import Build, Entry, Stored
from controller.store.progress import unreported
from controller.store.verify import verify_store

FINGERPRINT = f"ft1:{'c' * 64}"
EMPTY = Manifest(
    fingerprint=FINGERPRINT, attempt=1, backend="local-gpu", model_id="ft:a:b:c-1", files=()
)
NAMES = ["weights", "한국어 이름.json"]
DAMAGE = {
    "emptied": b"",
    "changed": b"weighty.",
    "longer": b"weights!",
    "far too long": bytes(2 * PIECE + 1),
    "removed": None,
}


@pytest.fixture
def files(tmp_path):
    (tmp_path / "run").mkdir()
    for name, text in zip(NAMES, (b"weights", b"{}"), strict=True):
        (tmp_path / "run" / name).write_bytes(text)
    return tmp_path / "run"


@pytest.mark.parametrize("part", ["piece", "manifest"])
@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_damage_is_named_removed_and_repaired_by_a_push(
    request, tmp_path, files, kind, damage, part
):
    store = request.getfixturevalue(kind)
    digest, manifest = push_files(store, BUILDS, EMPTY, files, NAMES, unreported)
    stored = Build.model_construct(fingerprint=FINGERPRINT, stored=Stored(model=digest))
    entries = {"faq": Entry.model_construct(builds={FINGERPRINT: stored})}
    key = (
        manifest_key(BUILDS, FINGERPRINT, digest)
        if part == "manifest"
        else piece_key(manifest.files[0].pieces[0])
    )
    store.remove([key])
    if (text := DAMAGE[damage]) is not None:
        store.write(key, text)

    found = verify_store(store, entries, unreported)

    what = {key: "faq, build cccccccccccc"}
    assert (found.damaged, found.missing) == (({}, what) if text is None else (what, {}))
    assert found.objects == (1 if part == "piece" else 0)
    with pytest.raises(StoreError, match=f"object {key}"):
        pull_files(
            store, read_manifest(store, BUILDS, FINGERPRINT, digest), tmp_path / "in", unreported
        )
    store.remove(list(found.damaged))
    assert push_files(store, BUILDS, EMPTY, files, NAMES, unreported)[0] == digest
    found = verify_store(store, entries, unreported)
    assert (found.damaged, found.missing, found.objects) == ({}, {}, 2)
    pull_files(store, manifest, tmp_path / "in", unreported)
    assert (tmp_path / "in" / NAMES[0]).read_bytes() == b"weights"
