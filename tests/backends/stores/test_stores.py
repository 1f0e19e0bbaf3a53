"""What every store promises: a folder, an S3 server, a hub."""

import os
import threading
from importlib import import_module

import pytest

from backends.stores.folder import FolderStore
from backends.stores.objects import StoreError, digest_of, piece_key
from backends.stores.probe import require_conditions
from controller.store.lease import PRUNE, pruning, pushing
from tests.servers.s3_server import KEYS

# The hub client's own call of its HTTP library.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
NAME = f"builds/{'a' * 64}/{'b' * 64}.json"


def test_an_object_is_created_once_and_never_replaced(store):
    assert store.read(NAME) is None
    assert not store.has(NAME)
    assert store.create(NAME, b"one")
    assert not store.create(NAME, b"two")
    assert store.read(NAME) == b"one"
    assert store.has(NAME)


def test_an_object_of_a_shared_store_is_replaced(request):
    for kind in ("folder", "bucket"):
        shared = request.getfixturevalue(kind)
        shared.write(NAME, b"one")
        shared.write(NAME, b"two")
        assert shared.read(NAME) == b"two"
        assert not shared.create(NAME, b"three")
        assert [one.bytes for one in shared.find("builds/")] == [3]


def test_objects_are_listed_and_removed(store):
    data = [os.urandom(100) for _ in range(3)]
    keys = [piece_key(digest_of(one)) for one in data]
    for key, one in zip(keys, data, strict=True):
        assert store.create(key, one)
        assert store.has(key)
    store.create(NAME, b"last")
    assert sorted(one.key for one in store.find("objects/")) == sorted(keys)
    assert [(one.key, one.bytes) for one in store.find("builds/")] == [(NAME, 4)]
    assert [store.read(key) for key in keys] == data
    store.remove([keys[0], keys[1], "objects/00/absent"])
    assert [one.key for one in store.find("objects/")] == [keys[2]]
    assert list(store.find("nothing/")) == []


def test_of_many_at_once_one_creates(store):
    won: list[int] = []

    def create(number: int) -> None:
        if store.create(NAME, str(number).encode()):
            won.append(number)

    threads = [threading.Thread(target=create, args=(number,), daemon=True) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(won) == 1
    assert store.read(NAME) == str(won[0]).encode()


def test_a_store_that_keeps_to_conditions_is_trusted(store):
    require_conditions(store)
    assert list(store.find("probes/")) == []


@pytest.mark.parametrize("lost", [1, 2])
def test_an_answer_that_is_lost_makes_no_store_one_that_loses_models(faulty_s3, lost):
    """The client asks again, and its own object is in the way then."""
    store, fault = faulty_s3
    fault.loses = lost
    require_conditions(store)
    assert fault.loses == 0
    assert list(store.find("probes/")) == []


def test_an_answer_that_is_lost_stops_neither_a_push_nor_a_prune(faulty_s3):
    store, fault = faulty_s3
    for lease in (pushing, pruning):
        fault.loses = 1
        with lease(store):
            assert len(list(store.find("locks/"))) == 1
        assert fault.loses == 0
    assert list(store.find("locks/")) == []


def test_a_store_that_ignores_conditions_is_refused(faulty_s3):
    store, fault = faulty_s3
    fault.ignores_conditions = True
    with pytest.raises(StoreError, match="accepts the condition to overwrite nothing, and ignores"):
        require_conditions(store)
    fault.ignores_conditions = False
    assert list(store.find("probes/")) == []
    require_conditions(store)


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_are_named_and_not_shown(faulty_s3, status):
    store, fault = faulty_s3
    fault.status = status
    for ask in (
        lambda: store.create(NAME, b""),
        lambda: store.read(NAME),
        lambda: store.has(NAME),
        lambda: list(store.find("builds/")),
        lambda: store.remove([NAME]),
    ):
        with pytest.raises(StoreError, match="refuses the credentials") as caught:
            ask()
        assert "AWS_ACCESS_KEY_ID" in str(caught.value)
        assert not any(value in str(caught.value) for value in (*KEYS.values(),) if "/" in value)
        assert caught.value.__cause__ is None


@pytest.mark.usefixtures("use_s3")
def test_a_bucket_that_does_not_exist_is_named():
    module = pytest.importorskip("backends.stores.bucket")
    store = module.BucketStore("s3://no-such-bucket/models")
    for ask in (
        lambda: store.create(NAME, b""),
        lambda: store.read(NAME),
        lambda: list(store.find("builds/")),
    ):
        with pytest.raises(StoreError, match="no-such-bucket/models does not exist"):
            ask()


def test_a_server_that_is_away_is_asked_a_few_times(faulty_s3):
    store, fault = faulty_s3
    fault.drops_after = 0
    with pytest.raises(StoreError, match="does not answer"):
        store.create(NAME, b"")
    assert 1 < len(fault.requests) < 20


def test_a_folder_that_is_not_mounted_is_not_made(tmp_path):
    store = FolderStore(tmp_path / "absent")
    for ask in (lambda: store.create(NAME, b""), lambda: store.read(NAME)):
        with pytest.raises(StoreError, match="absent is not there"):
            ask()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_permission_is_named(folder, tmp_path):
    (tmp_path / "shared" / "builds").write_text("in the way")
    with pytest.raises(StoreError, match="cannot be used: "):
        folder.create(NAME, b"")


def test_a_public_repository_is_no_private_store(hub):
    hub.server.private["acme/models"] = False
    with pytest.raises(StoreError, match="is declared private, and everybody can read it"):
        hub.prepare(private=True)
    hub.prepare(private=False)


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("text", [" hf_right", "hf_right\n"])
def test_blanks_around_a_token_are_not_sent(monkeypatch, text):
    monkeypatch.setenv("HF_TOKEN", text)
    store = import_module("backends.stores.hub").open_hub("hf://acme/models", private=True)
    assert store.create(NAME, b"one")
    assert store.read(NAME) == b"one"


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("text", "words"),
    [(" \n", "needs a token, and HF_TOKEN is not set"), ("hf_right\r\nhf", "is not a token")],
)
def test_a_store_without_a_token_tells_so_and_not_what_is_there(monkeypatch, text, words):
    monkeypatch.setenv("HF_TOKEN", text)
    with pytest.raises(StoreError, match=words) as caught:
        import_module("backends.stores.hub").open_hub("hf://acme/models", private=True)
    assert "Set HF_TOKEN to a token" in caught.value.remedy
    assert "hf_right" not in str(caught.value)


def test_pieces_become_visible_with_the_manifest(hub):
    key = piece_key(digest_of(b"weights"))
    hub.create(key, b"weights")
    assert key not in hub.server.files["acme/models"]
    hub.create(NAME, b"manifest")
    assert {key, NAME} <= hub.server.files["acme/models"].keys()


def test_pushes_and_prunes_keep_out_of_each_others_way(store):
    held = pytest.raises(StoreError, match="a model is being pushed")
    with pushing(store), pushing(store), held, pruning(store):
        pytest.fail("pruned")
    with pruning(store):
        with pytest.raises(StoreError, match="models are being pruned"), pushing(store):
            pytest.fail("pushed")
        with pytest.raises(StoreError, match="another prune"), pruning(store):
            pytest.fail("pruned twice")
    assert list(store.find("locks/")) == []


def test_a_push_that_a_prune_took_for_dead_is_not_taken_for_done(folder, tmp_path):
    """Its machine slept for a day: the prune removed pieces that no manifest named yet."""
    stopped = pytest.raises(StoreError, match="were pruned from the store")
    with stopped as found, pushing(folder):
        [mark] = (tmp_path / "shared" / "locks").iterdir()
        os.utime(mark, (1, 1))
        with pruning(folder):
            pass
    assert "sends what is missing" in found.value.remedy
    assert list(folder.find("locks/")) == []


@pytest.mark.parametrize("age_s", [0, 1_700, 1_900])
def test_a_prune_stops_before_a_push_may_begin(folder, tmp_path, age_s):
    with pruning(folder) as require_force:
        mark = tmp_path / "shared" / PRUNE
        os.utime(mark, (mark.stat().st_mtime - age_s,) * 2)
        if age_s < 1_800:
            require_force()
        else:
            with pytest.raises(StoreError, match="took too long"):
                require_force()
    assert list(folder.find("locks/")) == []


def test_a_prune_whose_mark_another_one_took_stops(folder):
    with pruning(folder) as require_force:
        folder.remove([PRUNE])
        folder.create(PRUNE, b"another")
        with pytest.raises(StoreError, match="took too long"):
            require_force()
    assert folder.read(PRUNE) == b"another"


def test_marks_of_processes_that_died_lose_their_force(folder, tmp_path):
    folder.create(PRUNE, b"dead")
    folder.create("locks/push-dead", b"")
    for path in (tmp_path / "shared" / "locks").iterdir():
        os.utime(path, (1, 1))
    with pushing(folder):
        pass
    with pruning(folder):
        assert [one.key for one in folder.find("locks/")] == [PRUNE]
    assert list(folder.find("locks/")) == []
