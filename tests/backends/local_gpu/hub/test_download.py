"""Downloads into the hub's cache, file by file: what is kept, counted, verified and refused."""

import hashlib
from pathlib import Path

import pytest

from backends.contract.errors import BaseModelMissing, BaseModelUnknown, MachineFailed
from backends.local_gpu.hub import download as module
from backends.local_gpu.hub.download import bytes_left, download, missing, unreported
from backends.local_gpu.hub.listing import HubFile, HubModel
from tests.servers.models_hub import FIRST, ModelsHub, serving

WEIGHTS = bytes(range(256)) * 4096
SETTINGS = '{"이름": "카페"}'.encode()
FILES = {"config.json": SETTINGS, "model.safetensors": WEIGHTS}
BIG = 60 * 10**9


def described(name, content):
    """Return a file as the hub lists it: large ones by SHA-256, small ones by git's SHA-1."""
    if name.endswith(".safetensors"):
        digest = hashlib.sha256(content).hexdigest()
    else:
        digest = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    return HubFile(name=name, size=len(content), digest=digest)


SMALL, LARGE = (described(name, content) for name, content in FILES.items())
MODEL = HubModel(id="acme/tiny", commit=FIRST, settings=(SMALL,), weights=(LARGE,))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    with serving(ModelsHub(files={"acme/tiny": FILES})) as found:
        monkeypatch.setenv("HF_ENDPOINT", found.url)
        yield found


@pytest.fixture
def repository(tmp_path):
    path = tmp_path / "hub" / "models--acme--tiny"
    (path / "blobs").mkdir(parents=True)
    return path


def told_by(repository, files=MODEL.files):
    told = []
    download(MODEL, list(files), repository, lambda done, total: told.append((done, total)))
    return told


def part_of(repository, content):
    path = repository / "blobs" / f"{LARGE.digest}.ftctl.incomplete"
    path.write_bytes(content)
    return path


@pytest.mark.usefixtures("hub")
def test_files_are_named_by_their_contents_and_linked_under_their_names(repository):
    assert missing(MODEL, repository) == [SMALL, LARGE]
    assert told_by(repository)[-1] == (len(WEIGHTS) + len(SETTINGS),) * 2
    assert missing(MODEL, repository) == []
    snapshot = repository / "snapshots" / FIRST
    for file, content in zip(MODEL.files, FILES.values(), strict=True):
        link = snapshot / file.name
        assert link.is_symlink()
        assert link.readlink() == Path("..", "..", "blobs", file.digest)
        assert link.read_bytes() == content
    assert not list((repository / "blobs").glob("*.incomplete"))


def test_what_another_commit_has_already_is_only_linked(hub, repository):
    told_by(repository)
    hub.asked.clear()
    other = HubModel(id=MODEL.id, commit="2" * 40, settings=(SMALL,), weights=(LARGE,))
    download(other, missing(other, repository), repository, unreported)
    assert missing(other, repository) == []
    assert hub.asked == []


def test_a_link_to_a_file_that_somebody_removed_is_made_again(hub, repository):
    told_by(repository)
    (repository / "blobs" / LARGE.digest).unlink()
    assert missing(MODEL, repository) == [LARGE]
    hub.asked.clear()
    assert told_by(repository, [LARGE]) == [(len(WEIGHTS),) * 2]
    assert (repository / "snapshots" / FIRST / LARGE.name).read_bytes() == WEIGHTS
    assert len(hub.downloads()) == 1


HALF = len(WEIGHTS) // 2


@pytest.mark.parametrize(
    ("part", "whole", "asked"),
    [
        (None, False, [""]),
        (b"", False, [""]),
        (WEIGHTS[:HALF], False, [f" bytes={HALF}-"]),
        # All bytes were here, and a crash came before the file got its name.
        (WEIGHTS, False, []),
        (b"x" * len(WEIGHTS), False, [""]),
        (b"x" * HALF, False, [f" bytes={HALF}-", ""]),
        (b"x" * (len(WEIGHTS) + 9), False, [""]),
        # A server that knows no ranges sends everything again.
        (WEIGHTS[:HALF], True, [f" bytes={HALF}-"]),
        (b"x" * HALF, True, [f" bytes={HALF}-"]),
    ],
    ids=["none", "empty", "half", "all", "other", "half-other", "too-long", "whole", "whole-other"],
)
def test_what_was_downloaded_before_is_continued_if_it_is_right(
    hub, repository, part, whole, asked
):
    hub.whole = whole
    if part is not None:
        part_of(repository, part)
    told = told_by(repository, [LARGE])
    assert (repository / "blobs" / LARGE.digest).read_bytes() == WEIGHTS
    address = f"/acme/tiny/resolve/{FIRST}/model.safetensors"
    assert hub.downloads() == [address + one for one in asked]
    # What people see never passes the whole, and ends there.
    assert all(0 <= done <= total == len(WEIGHTS) for done, total in told)
    assert not told or told[-1][0] == len(WEIGHTS)


@pytest.mark.parametrize("size", [0, 1, HALF, len(WEIGHTS), len(WEIGHTS) + 1])
def test_bytes_that_are_left_do_not_count_what_is_here(repository, size):
    assert bytes_left([SMALL, LARGE], repository) == len(WEIGHTS) + len(SETTINGS)
    part = part_of(repository, b"x" * size)
    assert bytes_left([SMALL, LARGE], repository) == (
        len(WEIGHTS) - min(size, len(WEIGHTS)) + len(SETTINGS)
    )
    part.rename(repository / "blobs" / LARGE.digest)
    assert bytes_left([SMALL, LARGE], repository) == len(SETTINGS)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_the_hub_damages_is_removed_and_named(hub, repository, name):
    hub.damaged = {name}
    with pytest.raises(BaseModelUnknown) as caught:
        told_by(repository)
    assert caught.value.message == (
        f"{name} of acme/tiny was damaged on its way: its checksum is not the hub's"
    )
    assert caught.value.remedy.startswith("Type the command again")
    digests = {file.name: file.digest for file in MODEL.files}
    assert not list((repository / "blobs").glob(f"{digests[name]}*"))
    assert not (repository / "snapshots" / FIRST / name).exists()


@pytest.mark.usefixtures("hub")
def test_a_file_that_ends_too_early_is_named_and_what_came_is_kept(repository):
    longer = HubFile(name=LARGE.name, size=LARGE.size + 9, digest=LARGE.digest)
    with pytest.raises(BaseModelUnknown) as caught:
        told_by(repository, [longer])
    assert caught.value.message == (
        "the hub broke off in the middle of model.safetensors of acme/tiny"
    )
    assert caught.value.remedy.startswith("Type the command again: what was downloaded stays")
    assert bytes_left([longer], repository) == 9
    assert not (repository / "snapshots").exists()


def test_a_server_that_is_away_during_a_download_is_named(monkeypatch, repository):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    # Its client tries five times, a second apart, before it gives up.
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    with pytest.raises(BaseModelUnknown, match="the hub does not answer about acme/tiny") as caught:
        told_by(repository, [LARGE])
    assert caught.value.remedy.startswith("Check the network.")


@pytest.mark.usefixtures("hub")
def test_a_cache_is_made_where_there_is_none(tmp_path):
    repository = tmp_path / "새" / "hub" / "models--acme--tiny"
    told_by(repository)
    assert missing(MODEL, repository) == []
    # Locks are beside the models, where the library's own are.
    names = {path.parent.name for path in repository.parent.rglob("*.lock")}
    assert names == {"models--acme--tiny"}
    assert (repository.parent / ".locks").is_dir()


def test_a_file_that_is_gone_from_the_hub_is_named(hub, repository):
    del hub.files["acme/tiny"]["model.safetensors"]
    try:
        with pytest.raises(
            BaseModelMissing, match=f"a file of acme/tiny at {FIRST} is gone"
        ) as caught:
            told_by(repository)
    finally:
        hub.files["acme/tiny"]["model.safetensors"] = WEIGHTS
    assert caught.value.remedy == "Name another `revision`."


def test_a_file_that_is_too_large_for_one_download_is_named_before_anything_is_asked(
    hub, repository
):
    huge = HubFile(name="model.safetensors", size=BIG, digest="0" * 64)
    model = HubModel(id="acme/huge", commit=FIRST, settings=(), weights=(huge,))
    with pytest.raises(BaseModelMissing) as caught:
        download(model, [huge], repository, unreported)
    assert caught.value.message == (
        "model.safetensors of acme/huge has 60.0 GB, and ftctl downloads files of up to 50.0 GB"
    )
    assert caught.value.remedy == (
        f"Download the model with `hf download acme/huge --revision {FIRST}`."
    )
    assert hub.asked == []


@pytest.mark.parametrize(
    ("free", "needed"),
    [(len(WEIGHTS) + 50_000_000, False), (len(WEIGHTS) + 49_999_999, True), (0, True)],
)
def test_a_disk_keeps_some_room_after_a_download(hub, repository, monkeypatch, free, needed):
    usage = module.shutil.disk_usage(repository)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage._replace(free=free))
    if not needed:
        assert told_by(repository, [LARGE])
        return
    with pytest.raises(
        MachineFailed, match=r"acme/tiny needs 1\.0 MB more, and the disk of"
    ) as caught:
        told_by(repository, [LARGE])
    assert f"the disk of {repository} has {free / 1e6:.1f} MB left" in caught.value.message
    assert "HF_HUB_CACHE" in caught.value.remedy
    assert hub.asked == []


@pytest.mark.usefixtures("hub")
def test_a_full_disk_does_not_matter_where_nothing_is_left_to_download(repository, monkeypatch):
    part_of(repository, WEIGHTS).rename(repository / "blobs" / LARGE.digest)
    usage = module.shutil.disk_usage(repository)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage._replace(free=0))
    assert told_by(repository, [LARGE]) == []
    assert missing(MODEL, repository) == [SMALL]


@pytest.mark.usefixtures("hub")
def test_a_cache_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "cache").write_text("a file in its place")
    with pytest.raises(MachineFailed) as caught:
        told_by(tmp_path / "cache" / "models--acme--tiny")
    assert caught.value.message.startswith("the hub's cache cannot be written: ")
    assert str(tmp_path / "cache") in caught.value.message
    assert caught.value.remedy == "Set HF_HUB_CACHE to a folder that you may write."


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is full")
@pytest.mark.usefixtures("hub")
def test_a_disk_that_is_full_in_the_middle_is_named(repository):
    part = repository / "blobs" / f"{LARGE.digest}.ftctl.incomplete"
    part.symlink_to("/dev/full")
    with pytest.raises(MachineFailed, match="the hub's cache cannot be written: ") as caught:
        told_by(repository, [LARGE])
    assert "No space left on device" in caught.value.message
    assert caught.value.remedy == "Make room, or set HF_HUB_CACHE to a folder on another disk."
    part.unlink()
    assert told_by(repository, [LARGE])[-1] == (len(WEIGHTS),) * 2
