import errno
import os
import resource
import stat

import pytest

from backends.atomic_files import (
    append_line,
    locked,
    publish_dir,
    write_atomic,
    write_atomic_lines,
)
from backends.lock_files import hand_on, try_lock


def test_a_file_is_replaced_whole_and_readable_by_others(tmp_path):
    path = tmp_path / "new folder" / "file"
    for data in (b"one", b"", b"three"):
        write_atomic(path, data)
        assert path.read_bytes() == data
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    write_atomic(path, b"old")
    with pytest.raises(TypeError):
        write_atomic(path, "not bytes")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("lines", [[b"a"], [b"a\n", b"b"], [b"", b"b\n\n"]])
def test_each_line_that_is_appended_ends_once(tmp_path, lines):
    path = tmp_path / "new folder" / "lines"
    for line in lines:
        append_line(path, line)
    assert path.read_bytes() == b"".join(line.rstrip(b"\n") + b"\n" for line in lines)


def test_nothing_is_appended_to_a_line_that_a_full_disk_tore(tmp_path):
    path = tmp_path / "lines"
    append_line(path, b"whole")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            append_line(path, b"never whole")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == b"whole\nnev"
    for line in (b"after", b"last"):
        append_line(path, line)
    assert path.read_bytes() == b"whole\nnev\nafter\nlast\n"


def test_a_folder_gets_its_name_when_it_is_complete(tmp_path):
    partial, final = tmp_path / "partial", tmp_path / "final"
    (partial / "inner").mkdir(parents=True)
    (partial / "inner" / "file").write_text("weights")
    publish_dir(partial, final)
    assert not partial.exists()
    assert (final / "inner" / "file").read_text() == "weights"
    # A folder in which there is something is never replaced.
    (partial / "inner").mkdir(parents=True)
    with pytest.raises(OSError, match="not empty"):
        publish_dir(partial, final)
    assert (final / "inner" / "file").read_text() == "weights"


def test_a_lock_has_one_holder(tmp_path):
    path = tmp_path / "new folder" / "lock"
    with locked(path) as first, locked(path) as second:
        assert (first, second) == (True, False)
    handle = try_lock(path)
    with locked(path) as third:
        assert third is False
    os.close(handle)
    with locked(path) as fourth:
        assert fourth is True


def test_only_a_lock_that_is_handed_on_is_inherited(tmp_path):
    handle = try_lock(tmp_path / "lock")
    assert not os.get_inheritable(handle)
    hand_on(handle)
    assert os.get_inheritable(handle)
    os.close(handle)


def test_a_refused_write_names_the_file_and_no_temporary_one(tmp_path):
    def lines():
        yield b"half"
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "triage.yaml"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="No space left") as caught:
        write_atomic_lines(path, lines())
    assert caught.value.filename == str(path)
    assert (path.read_bytes(), list(tmp_path.iterdir())) == (b"old", [path])
