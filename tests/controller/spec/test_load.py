"""A folder of specs → checked specs, or every problem in words that people use."""

import json
from pathlib import Path

import pytest

from controller.errors import InvalidInput
from controller.spec.load import spec_names
from controller.spec.model import Spec, spec_schema
from tests.specs import load_specs

GOOD = """\
backend: local-gpu
base_model: acme/base
data:
  train:
    - path: data/faq.csv
  held_out: {fraction: 0.1}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "finetunes").mkdir()
    return tmp_path / "finetunes"


def message(folder: Path, text: str, name: str = "faq.yaml") -> str:
    (folder / name).write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInput) as caught:
        load_specs(folder.parent)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sed: 3\n", "faq.yaml:7: sed: is not a known key\n    Did you mean `seed`?"),
        ("colour: red\n", "faq.yaml:7: colour: is not a known key\n    Use one of: aliases, backend, base_model"),
        ('seed: "3"\n', "seed: must be a whole number, not the text '3'\n    Write the number with"),
        ("seed: 3.5\n", "seed: must be a whole number, not 3.5"),
        ("seed: -1\n", "seed: must be at least 0, not -1"),
        ("seed:\n", "seed: must be a whole number, not empty"),
        ("seed: [1]\n", "seed: must be a whole number, not a list"),
        ("owner: 3\n", 'owner: must be text, not 3\n    Quote it: "3"'),
        ("labels: {team: 1}\n", "faq.yaml:7: labels.team: must be text, not 1"),
        ("labels: x\n", "labels: must be a mapping of keys to values, not the text 'x'"),
        ("gate: accuracy\n", "gate: must be a list, not the text 'accuracy'"),
        ("gate: ['']\n", "gate[0]: must not be empty"),
        ("method: supervized\n", "Did you mean `supervised`?"),
        ("lifecycle: {protect: yes}\n", "lifecycle.protect: must be true or false, not the text 'yes'"),
        ("lifecycle: {protect: yes}\n", "Write true or false."),
        ("lifecycle: {protected: true}\n", "lifecycle.protected: is not a known key\n    Did you mean `protect`?"),
        ("evaluation: {metrics: [exact_mach]}\n", "Did you mean `exact_match`?"),
        ("evaluation: {metrics: [{regex_match: {patern: x}}]}\n", "evaluation.metrics[0].regex_match.patern: is not a known key"),
        ("evaluation: {metrics: [{regex_match: {pattern: '('}}]}\n", "not a regular expression: "),
        ("evaluation: {compare_to: [staging]}\n", "must be one of base, production, base_few_shot, not the text 'staging'"),
        ("budget: {max_usd: .inf}\n", "budget.max_usd: must be a finite number"),
        ("budget: {max_usd: -1}\n", "budget.max_usd: must be at least 0, not -1"),
        ("hyperparameters: [r]\n", "hyperparameters: must be a mapping of keys to values, not a list"),
        ("backend: x\n", "faq.yaml:7: backend: is given twice, first in line 1"),
        ("<<: {owner: me}\n", "faq.yaml:7: <<: merges keys in YAML 1.1; YAML 1.2 has no merging\n    Write the keys out."),
        ("labels: {<<: {a: b}}\n", "faq.yaml:7: labels.<<: merges keys in YAML 1.1"),
        ("'<<': 1\n", "faq.yaml:7: <<: is not a known key\n    Use one of: aliases"),
        ("<fraction>: 1\n", "faq.yaml:7: <fraction>: is not a known key"),
        ("lifecycle: {<x>: 1}\n", "faq.yaml:7: lifecycle.<x>: is not a known key"),
        ("evaluation: {max_tokens: 1180591620717411303424}\n", "must be at most 9007199254740992, not 11805916"),
    ],
)  # fmt: skip
def test_a_problem_is_said_with_its_place_and_remedy(folder: Path, text: str, expected: str):
    assert expected in message(folder, GOOD + text)


LONG = "x" * 5_000


@pytest.mark.parametrize(
    "text",
    [
        f"backend: [{LONG}]\n", f"{LONG[:900]}: 1\n", f"? {LONG}\n: 1\n", f"seed: {LONG}\n", f"seed: 1{'0' * 4_000}\n",
        f"owner: 1{'0' * 4_000}\n", f"method: {LONG}\n",
        f"seed: !{LONG[:900]} 1\n", f"? 1{'0' * 3_000}\n: 1\n", f"evaluation: {{metrics: [{{regex_match: {{pattern: '({LONG}'}}}}]}}\n",
    ],
)  # fmt: skip
def test_what_is_long_is_not_repeated_whole(folder: Path, text: str):
    said = message(folder, GOOD + text)
    assert max(map(len, said.splitlines())) < 600


def test_a_file_of_nothing_but_problems_names_the_first_hundred(folder: Path):
    said = message(folder, GOOD + "".join(f"key{n}: 1\n" for n in range(20_000)))
    assert said.count("is not a known key") == 100
    assert "faq.yaml: has 19,900 more problems\n    Fix the others first." in said


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("backend: local-gpu\n", "", "faq.yaml:1: backend: is missing\n    Add `backend: …`"),
        ("backend: local-gpu", "backend: ''", "faq.yaml:1: backend: must not be empty"),
        ("held_out: {fraction: 0.1}", "held_out: {fraction: 1}", "fraction: must be less than 1, not 1"),
        ("  held_out: {fraction: 0.1}", "", "data.held_out: is missing\n    Add `held_out: {fraction: 0.1}`"),
        ("held_out: {fraction: 0.1}", "held_out: 0.1", "data.held_out: must be a mapping of keys"),
        ("held_out: {fraction: 0.1}", "held_out: [{pth: x}]", "data.held_out[0].pth: is not a known key"),
        ("held_out: {fraction: 0.1}", "held_out: {fraction: 0.1}\n  prepare: {dedup: off}", "data.prepare.dedup: is not a known key\n    Did you mean `deduplicate`?"),
        ("- path: data/faq.csv", "- pth: data/faq.csv", "faq.yaml:5: data.train[0].pth: is not a known key\n    Did you mean `path`?"),
        ("- path: data/faq.csv", "- data/faq.csv", "faq.yaml:5: data.train[0]: must be a mapping"),
        *(
            ("- path: data/faq.csv", f"- path: data/faq.csv\n      {written}", f"faq.yaml:6: data.train[0].{said}")
            for written, said in [
                ("<<: {limit: 3}", "<<: merges keys"),
                ("limit: 1" + "0" * 25, "limit: must be at most 9007199254740992, not 1000"),
                ("chunk: 1180591620717411303424", "chunk: must be one of document, paragraph, line or at most 9007199254740992, not 1180591620717411303424"),
                ("chunk: 50", "chunk: must be one of document, paragraph, line or at least 100, not 50"),
                ("chunk: word", "chunk: must be one of document, paragraph, line or a whole number, not the text 'word'"),
                ("sample: {examples: 1" + "0" * 25 + "}", "sample.examples: must be at most"),
                ("where: ['a" + " " * 32_000 + "x']", "where: 'a"),
                *((f"encoding: {name}", f"encoding: '{name}' is not the encoding of a text file") for name in ("punycode", "idna", "undefined", "unicode-escape", "raw-unicode-escape")),
            ]
        ),
        ("  train:\n    - path: data/faq.csv\n", "  train: []\n", "data.train: must not be empty"),
        ("  train:\n    - path: data/faq.csv\n", "", "faq.yaml:3: data.train: is missing"),
    ],
)  # fmt: skip
def test_a_problem_in_a_section_has_its_line(folder: Path, old: str, new: str, expected: str):
    assert old in GOOD
    assert expected in message(folder, GOOD.replace(old, new))


def test_all_problems_of_all_files_are_shown_in_order(folder: Path):
    (folder / "b.yaml").write_text(GOOD + "seed: x\nsed: 1\n")
    (folder / "a.yaml").write_text("- a list\n")
    (folder / "Bad Name.yaml").write_text(GOOD)
    (folder / "c.yml").write_text(GOOD)
    with pytest.raises(InvalidInput) as caught:
        load_specs(folder.parent)
    assert [(p.file, p.line) for p in caught.value.problems] == [
        ("finetunes/Bad Name.yaml", None),
        ("finetunes/a.yaml", 1),
        ("finetunes/b.yaml", 7),
        ("finetunes/b.yaml", 8),
        ("finetunes/c.yml", None),
    ]


def test_what_is_no_spec_is_left_alone(folder: Path):
    for name in ("_shared.yaml", ".hidden.yaml", "notes.md", "ftctl.lock"):
        (folder / name).write_text("not: [a spec")
    (folder / "data").mkdir()
    (folder / "b.yaml").write_text(GOOD)
    (folder / "a-1.yaml").write_text(GOOD)
    assert list(load_specs(folder.parent)) == ["a-1", "b"] == spec_names(folder.parent)


def test_a_folder_named_like_a_spec_is_a_problem_and_no_crash(folder: Path):
    (folder / "faq.yaml").mkdir()
    with pytest.raises(InvalidInput, match="is a folder, not a file"):
        load_specs(folder.parent)


def test_a_missing_folder_is_a_problem(tmp_path: Path):
    with pytest.raises(InvalidInput, match="ftctl init"):
        load_specs(tmp_path)


def test_long_and_hostile_values_are_shown_short_and_escaped(folder: Path):
    text = message(folder, GOOD + f'seed: "\\e[31m{"x" * 500}"\n')
    assert "\x1b" not in text
    assert len(text) < 300


def test_a_hostile_key_is_escaped(folder: Path):
    assert "\x1b" not in message(folder, GOOD + '"\\e[2Jfoo": 1\n')


def test_a_hostile_file_name_is_escaped(folder: Path):
    assert "\x1b" not in message(folder, GOOD, name="\x1b[2J.yaml")


def test_equal_values_written_differently_are_equal_specs(folder: Path):
    (folder / "a.yaml").write_text(GOOD)
    (folder / "b.yaml").write_text(json.dumps({**load_specs(folder.parent)["a"].document.value}))
    specs = load_specs(folder.parent)
    assert specs["a"].spec == specs["b"].spec


def test_the_schema_knows_every_key_and_its_help():
    schema = spec_schema()
    assert schema["properties"].keys() == Spec.model_fields.keys()
    undescribed = [
        f"{name}.{key}"
        for name, model in {"Spec": schema, **schema["$defs"]}.items()
        for key, field in model.get("properties", {}).items()
        # A section whose help is its model's own refers to it.
        if "description" not in field and "$ref" not in field
    ]
    assert undescribed == []
