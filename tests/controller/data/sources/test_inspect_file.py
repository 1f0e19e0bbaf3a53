"""What is seen and remembered of a file before its rows are read."""

import gzip
import os
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from controller.data.errors import DataError
from controller.data.sources.inspect_file import inspect_file, inspect_small_file
from controller.data.sources.source_file import GitBlob

LATER = 2**62
"""As if git were asked long after a file was written."""


@settings(deadline=None)
@example(b"\xef\xbb\xbfq\n")
@example("q\n한글\n".encode())
@example(b"  \n")
@given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_a_small_file_is_seen_as_every_file_is(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("small") / "a.csv"
    path.write_bytes(content)
    small = inspect_small_file(path)
    try:
        info = inspect_file(path, path.with_name("looks"), file_format="csv", in_part=True)
    except DataError:
        info = None
    assert small in (info, None)
    assert (small is None) == (info is None or info.encoding != "utf-8-sig")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"q\n\0",
        gzip.compress(b"q\n", mtime=0),
        b"\x28\xb5\x2f\xfd",
        "q\n".encode("utf-16"),
        "한글\n".encode("cp949"),
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n",
        b"q\n" * 40_000,
    ],
)
def test_what_is_not_small_and_plain_is_looked_at_in_full(tmp_path, content):
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    assert inspect_small_file(path) is None


def memo(looks: Path) -> Path:
    (found,) = looks.iterdir()
    return found


def test_an_unchanged_file_is_not_read_again(tmp_path):
    path, looks = tmp_path / "a.csv", tmp_path / "looks"
    path.write_text("q\n")
    first = inspect_file(path, looks, file_format="csv")
    told = memo(looks)
    # The ctime cannot be set back; let the memo be younger.
    os.utime(told, ns=(2**62, 2**62))
    told.write_text(told.read_text().replace(first.sha256, "0" * 64))
    os.utime(told, ns=(2**62, 2**62))
    assert inspect_file(path, looks, file_format="csv").sha256 == "0" * 64


def test_a_file_as_young_as_its_memo_is_read_again(tmp_path):
    path, looks = tmp_path / "a.csv", tmp_path / "looks"
    path.write_text("q\n")
    first = inspect_file(path, looks, file_format="csv")
    told = memo(looks)
    told.write_text(told.read_text().replace(first.sha256, "0" * 64))
    os.utime(told, ns=(path.stat().st_ctime_ns, path.stat().st_ctime_ns))
    assert inspect_file(path, looks, file_format="csv") == first


def test_a_memo_is_for_one_encoding(tmp_path):
    path, looks = tmp_path / "a.csv", tmp_path / "looks"
    path.write_bytes("q\n한글\n".encode("cp949"))
    assert inspect_file(path, looks, file_format="csv").encoding == "cp949"
    assert inspect_file(path, looks, file_format="csv", encoding="latin-1").encoding == "iso8859-1"
    assert inspect_file(path, looks, file_format="parquet").encoding == ""
    assert len(list(looks.iterdir())) == 3


@pytest.mark.parametrize(
    "torn", [b"", b"{", b"[]", b'{"version":3}', b'{"version":3,"stamp":1,"look":{}}']
)
def test_a_torn_memo_costs_one_more_reading(tmp_path, torn):
    path, looks = tmp_path / "a.csv", tmp_path / "looks"
    path.write_text("q\n")
    blob = GitBlob(id="a" * 40, asked_ns=LATER)
    first = inspect_file(path, looks, file_format="csv", blob=blob)
    for told in looks.iterdir():
        told.write_bytes(torn)
        os.utime(told, ns=(2**62, 2**62))
    assert inspect_file(path, looks, file_format="csv", blob=blob) == first


def test_a_fresh_clone_is_recognised_by_its_blobs_without_reading(tmp_path):
    looks = tmp_path / "looks"
    blob = GitBlob(id="3b18e512dba79e4c8300dd08aeb37f8e728b8dad", asked_ns=LATER)
    path, clone = tmp_path / "a.csv", tmp_path / "clone" / "a.csv"
    path.write_text("q\n한글\n")
    info = inspect_file(path, looks, file_format="csv", blob=blob)
    clone.parent.mkdir()
    # As long, and not to be read: what git says is believed.
    clone.write_bytes(b"\0" * path.stat().st_size)
    known = inspect_file(clone, looks, file_format="csv", blob=blob)
    assert (known.sha256, known.encoding) == (info.sha256, info.encoding)
    assert known.stamp != info.stamp
    with pytest.raises(DataError, match="NUL"):
        inspect_file(clone, looks, file_format="csv", blob=replace(blob, id="0" * 40))
    clone.write_bytes(b"\0")
    with pytest.raises(DataError, match="NUL"):
        inspect_file(clone, looks, file_format="csv", blob=blob)
    path.write_text("q\n1\n")
    with pytest.raises(DataError, match="NUL"):
        inspect_file(clone, looks, file_format="csv", blob=replace(blob, id="../../etc"))


def test_a_file_edited_after_git_was_asked_is_read(tmp_path):
    path, looks = tmp_path / "a.csv", tmp_path / "looks"
    path.write_text("question\n1\n")
    committed = GitBlob(id="a" * 40, asked_ns=LATER)
    old = inspect_file(path, looks, file_format="csv", blob=committed)
    asked = replace(committed, asked_ns=time.time_ns())
    path.write_text("question\n2\n")
    edited = inspect_file(path, looks, file_format="csv", blob=asked)
    assert edited.sha256 == sha256(b"question\n2\n").hexdigest()
    # Times can be set back, but not the one that says so.
    os.utime(path, ns=(0, 0))
    assert inspect_file(path, looks, file_format="csv", blob=asked).sha256 == edited.sha256
    # Nor is it remembered as what was committed.
    assert inspect_file(path, looks, file_format="csv", blob=committed).sha256 == old.sha256


def test_a_file_that_is_empty_says_nothing_whatever_its_format(tmp_path):
    path = tmp_path / "a.parquet"
    path.touch()
    with pytest.raises(DataError, match="the file is empty"):
        inspect_file(path, tmp_path / "looks", file_format="parquet")


@pytest.mark.parametrize("file_format", ["jsonl", "parquet"])
def test_a_file_that_git_lfs_did_not_fetch_is_said(tmp_path, file_format):
    path = tmp_path / "a"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n")
    with pytest.raises(DataError, match="pointer of Git LFS") as caught:
        inspect_file(path, tmp_path / "looks", file_format=file_format)
    assert caught.value.remedy == "git lfs pull"


def test_of_large_jsonl_the_beginning_will_do_for_whoever_parses_every_line(tmp_path):
    path, looks = tmp_path / "a.jsonl", tmp_path / "looks"
    path.write_bytes(b'{"a": "\xea\xb0\x80"}\n' * 100_000 + b"\xff\n")
    info = inspect_file(path, looks, file_format="jsonl", in_part=True)
    assert info.sha256 == sha256(path.read_bytes()).hexdigest()
    assert (info.encoding, info.first, info.decoded) == ("utf-8-sig", "{", False)
    assert inspect_file(path, looks, file_format="jsonl", in_part=True) == info
    with pytest.raises(DataError, match="byte 0xff is neither UTF-8") as caught:
        inspect_file(path, looks, file_format="jsonl")
    assert caught.value.line == 100_001


def test_what_was_decoded_in_part_is_decoded_when_all_is_wanted(tmp_path):
    path, looks = tmp_path / "a.jsonl", tmp_path / "looks"
    path.write_bytes(b'{"a": "b"}\n' * 100_000 + '{"a": "가나다라"}\n'.encode("cp949"))
    assert inspect_file(path, looks, file_format="jsonl", in_part=True).encoding == "utf-8-sig"
    whole = inspect_file(path, looks, file_format="jsonl")
    assert (whole.encoding, whole.decoded) == ("cp949", True)
    # And is not forgotten again.
    assert inspect_file(path, looks, file_format="jsonl", in_part=True) == whole


@pytest.mark.parametrize("start", [b"\n" * 2_000_000, "가".encode("cp949") * 1_000_000])
def test_what_does_not_begin_as_utf_8_is_decoded_to_its_end(tmp_path, start):
    path = tmp_path / "a.jsonl"
    path.write_bytes(start + b"{}\n")
    assert inspect_file(path, tmp_path / "looks", file_format="jsonl", in_part=True).decoded


def test_a_nul_byte_at_the_beginning_is_said(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\0" + b" " * 2_000_000)
    with pytest.raises(DataError, match="a NUL byte"):
        inspect_file(path, tmp_path / "looks", file_format="jsonl", in_part=True)
