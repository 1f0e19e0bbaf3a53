"""Paths that a configuration brings from another machine, and files that are here already."""

import json

import pytest

AXOLOTL = (
    "base_model: acme/base\nmicro_batch_size: 1\ndatasets:\n  - path: ROWS\n    type: alpaca\n"
)
ROW = json.dumps({"instruction": "Open?", "input": "", "output": "From nine."}) + "\n"


@pytest.fixture
def adopt(shell, elsewhere, monkeypatch):
    """Return a function that adopts a configuration outside the repository."""
    monkeypatch.chdir(elsewhere)

    def run(text, *more):
        (elsewhere / "cafe.yaml").write_text(text)
        code, out = shell("adopt", "--from", "cafe.yaml", *more)
        return code, out.replace(str(elsewhere), "/elsewhere")

    return run


@pytest.mark.parametrize("digits", [309, 400, 4000])
@pytest.mark.parametrize(
    "key", ["seed", "num_epochs", "val_set_size", "learning_rate", "max_steps", "warmup_ratio"]
)
def test_a_number_that_no_machine_computes_with_is_refused_on_one_line(adopt, key, digits):
    code, out = adopt(AXOLOTL.replace("ROWS", "acme/rows") + f"{key}: {'9' * digits}\n")
    assert code == 1
    assert f"cafe.yaml:6: {key}: must be a number, not 9999" in out
    assert max(map(len, out.splitlines())) < 150


@pytest.mark.parametrize(
    "path",
    [
        "~nobody-here/rows.jsonl",  # a home that only the other machine has
        f"{'long/' * 900}rows.jsonl",
        f"./{'x' * 300}.jsonl",
    ],
)
@pytest.mark.parametrize(
    ("text", "key"),
    [
        (AXOLOTL, "cafe.yaml:4: datasets[0].path: there is no file"),
        (
            "base_model: ROWS\nmicro_batch_size: 1\ndatasets: [{path: acme/rows, type: alpaca}]\n",
            "cafe.yaml:1: base_model: there is no model",
        ),
        (
            "model_name_or_path: acme/base\nstage: sft\ndataset: hours\ndataset_dir: ROWS\n",
            "cafe.yaml:3: dataset: 'hours' cannot be found: dataset_info.json is missing in",
        ),
    ],
)
def test_a_path_that_this_machine_cannot_have_is_refused_at_its_key(adopt, text, key, path):
    code, out = adopt(text.replace("ROWS", path))
    assert code == 1
    assert key in out


@pytest.mark.parametrize(
    "place", ["data/train.jsonl", "./train.jsonl", "../rows", "./rows", "data/학습.json.gz"]
)
def test_a_file_that_is_not_here_never_becomes_a_dataset_of_the_hub(adopt, shell, place):
    code, out = adopt(AXOLOTL.replace("ROWS", place))
    assert code == 1
    assert f"cafe.yaml:4: datasets[0].path: there is no file '{place}'" in out
    assert not (shell.root / "finetunes/cafe.yaml").exists()


@pytest.mark.parametrize("place", ["acme/rows", "HuggingFaceH4/ultrachat_200k", "a-b/c.d-v1.5"])
def test_a_dataset_of_the_hub_is_named_as_it_is_written(adopt, shell, place):
    assert adopt(AXOLOTL.replace("ROWS", place))[0] == 0
    assert f"hub: {place}\n" in (shell.root / "finetunes/cafe.yaml").read_text()


def test_a_data_file_of_another_fine_tune_is_never_overwritten(adopt, shell, elsewhere):
    (elsewhere / "cafe.jsonl").write_text(ROW)
    # `ftctl adopt` gives the data of a hosted model `cafe` this very name.
    theirs = shell.write("finetunes/data/cafe.jsonl", "of another fine-tune\n")
    code, out = adopt(AXOLOTL.replace("ROWS", "cafe.jsonl"))
    assert code == 1
    assert "finetunes/data/cafe.jsonl is another file than /elsewhere/cafe.jsonl" in out
    assert "--name NAME" in out
    assert theirs.read_text() == "of another fine-tune\n"
    assert not (shell.root / "finetunes/cafe.yaml").exists()
    assert adopt(AXOLOTL.replace("ROWS", "cafe.jsonl"), "--name", "second")[0] == 0
    assert (shell.root / "finetunes/data/second-cafe.jsonl").read_text() == ROW
    assert [*(shell.root / ".ftctl/adopt").iterdir()] == []


def test_files_that_were_copied_before_another_was_refused_are_removed(adopt, shell, elsewhere):
    for name in ("a.jsonl", "b.jsonl"):
        (elsewhere / name).write_text(ROW)
    shell.write("finetunes/data/cafe-b.jsonl", "of another fine-tune\n")
    more = "  - path: b.jsonl\n    type: alpaca\n"
    code, _ = adopt(AXOLOTL.replace("ROWS", "a.jsonl") + more)
    assert code == 1
    assert [one.name for one in (shell.root / "finetunes/data").iterdir()] == ["cafe-b.jsonl"]


def test_a_refused_spec_leaves_no_data_behind(adopt, shell, elsewhere):
    (elsewhere / "rows.jsonl").write_text(ROW)
    note = "# From cafe.yaml, a configuration of Axolotl.\n"
    spec = shell.write("finetunes/cafe.yaml", note + "# and changed by a person since\n")
    code, out = adopt(AXOLOTL.replace("ROWS", "rows.jsonl"))
    assert code == 1
    assert "is the spec of another model; it was not changed" in out
    assert spec.read_text().endswith("since\n")
    assert not [*(shell.root / "finetunes/data").iterdir()]


def test_a_copy_that_an_earlier_run_made_is_kept_and_not_made_again(adopt, shell, elsewhere):
    (elsewhere / "rows.jsonl").write_text(ROW)
    assert (
        "copied finetunes/data/cafe-rows.jsonl" in adopt(AXOLOTL.replace("ROWS", "rows.jsonl"))[1]
    )
    copy = shell.root / "finetunes/data/cafe-rows.jsonl"
    before = copy.stat()
    code, out = adopt(AXOLOTL.replace("ROWS", "rows.jsonl"))
    assert code == 0
    assert "copied finetunes" not in out
    assert copy.stat() == before


def test_a_folder_of_data_that_leads_out_of_the_repository_gets_no_copy(
    adopt, shell, elsewhere, tmp_path
):
    (elsewhere / "rows.jsonl").write_text(ROW)
    (tmp_path / "shared").mkdir()
    (shell.root / "finetunes/data").symlink_to(tmp_path / "shared")
    code, out = adopt(AXOLOTL.replace("ROWS", "rows.jsonl"))
    assert code == 1
    assert "Remove the link." in out
    assert [*(tmp_path / "shared").iterdir()] == []


def test_a_text_that_no_spec_can_hold_is_not_blamed_on_the_first_key(shell, elsewhere, monkeypatch):
    text = json.dumps(
        {
            "base_model": "acme/base",
            "micro_batch_size": 1,
            "default_system_message": "\ud800",
            "datasets": [{"path": "acme/rows", "type": "alpaca"}],
        }
    )
    (elsewhere / "odd.json").write_text(text)
    monkeypatch.chdir(elsewhere)
    code, out = shell("adopt", "--from", "odd.json")
    assert code == 1
    assert "odd.json: is not YAML" in out
    assert "base_model" not in out


@pytest.mark.parametrize(
    "folder",
    ["experiments", "실험/2026-11 카페 문의 답변", "two  blanks", "a" * 200, "deep/" * 30 + "end"],
)
def test_a_configuration_in_any_folder_is_adopted_once(shell, folder):
    """The comment by which a later run knows its spec again has as many lines as its path needs."""
    shell.write(f"{folder}/cafe.yaml", AXOLOTL.replace("ROWS", "acme/rows"))
    for words in ("wrote finetunes/cafe.yaml", "finetunes/cafe.yaml says the same already"):
        code, out = shell("adopt", "--from", f"{folder}/cafe.yaml")
        assert code == 0
        assert words in out
    assert [one.name for one in (shell.root / "finetunes").iterdir()] == ["cafe.yaml"]


def test_another_configuration_of_one_name_is_another_fine_tune(shell):
    for folder in ("first", "second"):
        shell.write(f"{folder}/cafe.yaml", AXOLOTL.replace("ROWS", "acme/rows"))
        assert shell("adopt", "--from", f"{folder}/cafe.yaml")[0] == 0
    names = sorted(one.name for one in (shell.root / "finetunes").iterdir())
    assert names == ["cafe-2.yaml", "cafe.yaml"]
