"""Which files a source names."""

import gzip
import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.data.errors import DataError
from controller.data.sources.locate import detect_format, find_files
from controller.data.sources.source_file import LocatedFile
from controller.spec.data import Source


class Tree:
    """A repository's files, and what is outside."""

    def __init__(self, outside: Path) -> None:
        self.outside = outside
        self.root = outside / "repository"
        self.folder = self.root / "finetunes"
        self.state = self.root / ".ftctl"
        self.folder.mkdir(parents=True)

    def write(self, *names: str) -> None:
        for name in names:
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}")

    def find(self, written: str, **said) -> list[LocatedFile]:
        source = Source.model_validate({"path": written, **said})
        return find_files(source, folder=self.folder, root=self.root, state=self.state)

    def display_paths(self, written: str, **said) -> list[str]:
        return [
            found.display_path.removeprefix("finetunes/") for found in self.find(written, **said)
        ]

    def refused(self, written: str, **said) -> DataError:
        with pytest.raises(DataError) as caught:
            self.find(written, **said)
        return caught.value


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


@pytest.mark.parametrize(
    ("name", "file_format"),
    [
        ("a.jsonl", "jsonl"), ("a.ndjson", "jsonl"), ("a.jsonlines", "jsonl"), ("a.json", "json"), ("A.CSV", "csv"),
        ("a.tsv", "tsv"), ("a.parquet", "parquet"), ("a.xlsx", "excel"), ("a.xls", "excel"),
        ("a.ods", "excel"), ("a.html", "html"), ("a.htm", "html"), ("a.md", "markdown"),
        ("질문.txt", "text"), ("a.jsonl.gz", "jsonl"), ("a.csv.zst", "csv"), ("a.b.html.GZ", "html"),
    ],
)  # fmt: skip
def test_the_format_is_in_the_ending(name, file_format):
    assert detect_format(name) == file_format
    assert detect_format(f"s3://bucket/{name}") == file_format
    assert detect_format("dump", file_format) == file_format


@pytest.mark.parametrize("name", ["few", "a.doc", "a.gz", ".csv", "csv"])
def test_an_ending_that_says_nothing_is_refused(name):
    with pytest.raises(DataError, match="no known ending") as caught:
        detect_format(name)
    assert "format: jsonl" in caught.value.remedy


def test_what_is_packed_in_itself_is_not_packed_again():
    with pytest.raises(DataError, match="compressed twice"):
        detect_format("a.parquet.gz")


def test_a_glob_is_every_file_that_fits_in_the_order_of_their_names(tree):
    tree.write(
        "d/b.csv", "d/a.csv", "d/.hidden.csv", "d/c.txt", "d/in/a.csv", "d/in/er/z.csv", "x.csv"
    )
    (tree.folder / "d" / "folder.csv").mkdir()
    assert tree.display_paths("d/*.csv") == ["d/a.csv", "d/b.csv"]
    assert tree.display_paths("d/?.csv") == ["d/a.csv", "d/b.csv"]
    assert tree.display_paths("d/[!a].csv") == ["d/b.csv"]
    assert tree.display_paths("d/.*.csv") == ["d/.hidden.csv"]
    assert tree.display_paths("d/**/*.csv") == ["d/a.csv", "d/b.csv", "d/in/a.csv", "d/in/er/z.csv"]
    assert tree.display_paths("**/a.csv") == ["d/a.csv", "d/in/a.csv"]
    assert tree.display_paths("**/**/z.csv") == ["d/in/er/z.csv"]
    assert tree.display_paths("*/*/../b.csv") == ["d/b.csv"]
    assert tree.display_paths("d/in/**") == ["d/in/a.csv", "d/in/er/z.csv"]
    assert tree.display_paths("../finetunes/*.csv") == ["x.csv"]
    assert tree.display_paths("d/c.*", format="csv") == ["d/c.txt"]
    assert [found.format for found in tree.find("d/c.*")] == ["text"]


def test_a_name_with_brackets_is_itself_where_it_exists(tree):
    tree.write("a[1].csv", "a1.csv")
    assert tree.display_paths("a[1].csv") == ["a[1].csv"]
    assert tree.display_paths("a[2-9,1].csv") == ["a1.csv"]


def test_korean_names_fit_however_they_are_composed(tree):
    decomposed = "가나.csv"
    tree.write(f"d/{decomposed}")
    assert tree.display_paths("d/가*.csv") == [f"d/{decomposed}"]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_name_is_found_however_its_letters_are_composed(tree, form):
    other = {"NFC": "NFD", "NFD": "NFC"}[form]
    names = "상담/기록 é.csv", "상담/더/자료.jsonl.gz"
    on_disk = [unicodedata.normalize(other, name) for name in names]
    (tree.folder / on_disk[0]).parent.mkdir()
    (tree.folder / on_disk[1]).parent.mkdir()
    (tree.folder / on_disk[0]).write_text("q\n")
    (tree.folder / on_disk[1]).write_bytes(gzip.compress(b"{}"))
    for name, display_path in zip(names, on_disk, strict=True):
        assert tree.display_paths(unicodedata.normalize(form, name)) == [display_path]
    assert tree.display_paths(unicodedata.normalize(form, "상담/**/자*.gz")) == [on_disk[1]]


def test_the_name_as_written_wins_over_one_that_looks_the_same(tree):
    composed, decomposed = (unicodedata.normalize(form, "가.csv") for form in ("NFC", "NFD"))
    tree.write(composed, decomposed)
    assert tree.display_paths(composed) == [composed]
    assert tree.display_paths(decomposed) == [decomposed]


def test_a_decomposed_link_does_not_lead_out(tree):
    (tree.folder / unicodedata.normalize("NFD", "밖")).symlink_to(tree.outside)
    (tree.outside / unicodedata.normalize("NFD", "비밀.csv")).write_text("q\n")
    assert "leaves the repository" in tree.refused("밖/비밀.csv").message


def test_a_glob_that_fits_nothing_names_what_is_there(tree):
    tree.write("d/a.csv", "d/b.txt.gz", "d/c.doc")
    error = tree.refused("d/*.jsonl")
    assert error.message == "'d/*.jsonl' fits no file"
    assert error.remedy == "Use one of: a.csv, b.txt.gz."
    assert tree.refused("e/*.jsonl").remedy == "Check the path: there is no folder 'e' either."
    assert tree.refused("d/**/x*").remedy == "Use one of: a.csv, b.txt.gz."


def test_a_glob_names_the_file_that_it_cannot_read(tree):
    tree.write("d/a.csv", "d/c.doc")
    error = tree.refused("d/*")
    assert error.message == "'finetunes/d/c.doc' has no known ending"


def test_a_missing_file_names_its_neighbours(tree):
    tree.write("few.csv", "many.jsonl.gz")
    error = tree.refused("fwe.csv")
    assert error.message == "there is no file 'finetunes/fwe.csv'"
    assert error.remedy == "Did you mean `few.csv`? Use one of: few.csv, many.jsonl.gz."
    assert tree.refused("few.csv/x.csv").message == "there is no file 'finetunes/few.csv/x.csv'"


@pytest.mark.parametrize(
    "written",
    ["../../secret.csv", "../../*.csv", "link.csv", "*.csv", "away/secret.csv", "away/*.csv", "away/**/*.csv",
     "a*y/*.csv", "away/more/../secret.csv", "*/../../../*.csv"],
)  # fmt: skip
def test_no_path_leaves_the_repository(tree, written):
    (tree.outside / "secret.csv").write_text("q\n")
    (tree.folder / "link.csv").symlink_to(tree.outside / "secret.csv")
    (tree.folder / "away").symlink_to(tree.outside)
    error = tree.refused(written)
    assert "leaves the repository" in error.message
    assert repr(written) in error.message


def test_a_glob_does_not_look_into_folders_outside(tree):
    (tree.folder / "away").symlink_to(tree.outside)
    (tree.outside / "locked").mkdir(mode=0)
    tree.write("a.csv")
    # `**` follows no links, so that none is refused either.
    assert tree.display_paths("**/*.csv") == ["a.csv"]


def test_links_inside_the_repository_are_followed(tree):
    tree.write("real/a.csv")
    (tree.folder / "link").symlink_to(tree.folder / "real")
    (tree.folder / "b.csv").symlink_to("real/a.csv")
    assert tree.display_paths("link/*.csv") == ["link/a.csv"]
    (found,) = tree.find("b.csv")
    assert (found.display_path, found.path) == ("finetunes/b.csv", tree.folder / "real" / "a.csv")


def test_a_repository_behind_a_link_is_one(tree, tmp_path):
    tree.write("a.csv")
    other = tmp_path / "other"
    other.symlink_to(tree.root)
    source = Source(path="*.csv")
    state = other / ".ftctl"
    (found,) = find_files(source, folder=other / "finetunes", root=other, state=state)
    assert found.display_path == "finetunes/a.csv"


def test_links_in_a_circle_are_said(tree):
    (tree.folder / "a.csv").symlink_to("b.csv")
    (tree.folder / "b.csv").symlink_to("a.csv")
    assert "a.csv" in tree.refused("a.csv").message


@pytest.mark.parametrize("written", ["/etc/passwd", "a\n.csv", "/etc/*"])
def test_a_path_is_relative_and_printable(tree, written):
    assert "is not a relative path" in tree.refused(written).message


@pytest.mark.parametrize(
    ("written", "label"),
    [
        ("../.env", "../.env"), ("../.env.local.csv", "../.env.local.csv"), ("../.ENV", "../.ENV"),
        ("../.git/config.csv", "../.git/config.csv"), ("../.git/*", "../.git"), ("../.g*/*", "../.git"),
        ("../.ftctl/data/a.csv", "../.ftctl/data/a.csv"), ("../state/runs/*.jsonl", "../state"),
        ("link.csv", "link.csv"), ("*.csv", "link.csv"), ("git/config.csv", "git/config.csv"),
        ("g*/config.csv", "git"), ("../.e*", "../.env"), ("../.GIT/nothing", "../.GIT/nothing"),
    ],
)  # fmt: skip
def test_what_a_repository_keeps_beside_its_data_is_no_source(tree, written, label):
    tree.state = tree.root / "state"
    tree.write("../.git/config.csv", "../state/runs/a.jsonl", "../.env")
    (tree.folder / "link.csv").symlink_to("../.env")
    (tree.folder / "git").symlink_to("../.git")
    display_path = os.path.normpath(f"finetunes/{label}")
    error = tree.refused(written, format="csv")
    assert error.message == f"{display_path!r} is not data"
    assert ".env" in error.remedy


def test_names_that_only_look_like_those_are_data(tree):
    tree.state = tree.root
    tree.write("../.gitlab/a.csv", "../.github/a.csv", "env.csv", "../state/a.csv")
    assert len(tree.find("../.git*/a.csv")) == 2
    assert tree.find("env.csv")
    assert tree.find("../state/a.csv")


@pytest.mark.parametrize(
    ("name", "display_path"),
    [
        (b"a\nb.csv", r"'finetunes/d/a\nb.csv'"),
        (b"a\x1b[2Jb.csv", r"'finetunes/d/a\x1b[2Jb.csv'"),
        (b"\xb0\xa1.csv", r"'finetunes/d/\udcb0\udca1.csv'"),
        ("a\u2028b.csv".encode(), r"'finetunes/d/a\u2028b.csv'"),
    ],
)
def test_a_name_that_cannot_be_printed_is_to_be_changed(tree, name, display_path):
    tree.write("d/b.csv")
    (tree.folder / "d" / os.fsdecode(name)).write_text("q\n")
    for written in ("d/*.csv", "**/*.csv"):
        error = tree.refused(written)
        assert error.message == f"the name {display_path} has characters that cannot be printed"
        assert error.remedy.startswith("Rename it")
    assert tree.display_paths("d/b*.csv") == ["d/b.csv"]


@pytest.mark.parametrize("written", ["a" * 300, "a" * 300 + "*", "a/" * 3000 + "a.csv"])
def test_a_path_that_is_too_long_is_said(tree, written):
    error = tree.refused(written)
    assert "cannot be read: File name too long" in error.message
    assert len(error.message) < 200
    assert str(tree.root) not in error.message


def test_many_stars_take_no_longer_than_one(tree):
    deep = "/".join("abcdefghijklmnop")
    tree.write(f"{deep}/x.csv")
    for parts in ("**/" * 40, "**/*/" * 10, "**/" * 1000):
        assert tree.display_paths(f"{parts}x.csv") == [f"{deep}/x.csv"]


def test_folders_pipes_and_devices_are_no_files(tree):
    (tree.folder / "folder.csv").mkdir()
    error = tree.refused("folder.csv")
    assert (error.message, error.remedy) == (
        "'finetunes/folder.csv' is not a file",
        "Name the files in it: folder.csv/*.jsonl",
    )
    os.mkfifo(tree.folder / "pipe.csv")
    assert tree.refused("pipe.csv").message == "'finetunes/pipe.csv' is not a file"


@pytest.mark.parametrize("marks", [["dataset_info.json", "state.json"], ["dataset_dict.json"]])
def test_a_saved_dataset_is_recognised(tree, marks):
    tree.write(*(f"saved/{mark}" for mark in marks), "saved/data-00000-of-00001.arrow")
    (found,) = tree.find("saved")
    assert (found.format, found.display_path) == ("arrow", "finetunes/saved")
    assert tree.display_paths("sav*") == ["saved"]
    assert tree.refused("saved/data-00000-of-00001.arrow", format="arrow").message == (
        "'finetunes/saved/data-00000-of-00001.arrow' is not a saved dataset"
    )


def test_gzip_that_is_none_is_said(tree):
    tree.write("a.jsonl.gz", "b.jsonl.zst")
    assert tree.refused("a.jsonl.gz").message == "'finetunes/a.jsonl.gz' is not a gzip file"
    assert tree.refused("*.zst").message == "'finetunes/b.jsonl.zst' is not a zstd file"
    (tree.folder / "a.jsonl.gz").write_bytes(gzip.compress(b"{}"))
    assert tree.display_paths("a.jsonl.gz") == ["a.jsonl.gz"]


@given(st.lists(st.text("ab*", min_size=1, max_size=3), min_size=1, max_size=3))
def test_globs_fit_what_the_standard_library_says(tmp_path_factory, parts):
    root = tmp_path_factory.getbasetemp() / "globs"
    if not root.exists():
        for name in ("a.csv", "ab.csv", "a/b.csv", "a/a/ab.csv", "ab/a/b.csv", "b/b/b/b.csv"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text("q\n")
    # `**` inside a name is but a `*`, which pathlib refuses.
    parts = [part if part == "**" else part.replace("**", "*").replace("**", "*") for part in parts]
    written = "/".join(parts) + "/*.csv"
    expected = sorted(path.relative_to(root).as_posix() for path in root.glob(written))
    try:
        source = Source(path=written)
        found = [
            one.display_path for one in find_files(source, folder=root, root=root, state=root / "s")
        ]
    except DataError:
        found = []
    assert found == expected
