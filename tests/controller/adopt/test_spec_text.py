from pathlib import Path

import pytest

from controller.adopt.spec_text import HEAD, AdoptedSpec, load_adopted, spec_text
from controller.errors import InvalidInput
from controller.spec.load import read_spec

VALUES = {
    "backend": "openai",
    "base_model": "gpt-4o-mini-2024-07-18",
    "data": {"train": [{"path": "data/triage.jsonl"}], "held_out": {"fraction": 0.1}},
    "hyperparameters": {"n_epochs": 3, "learning_rate_multiplier": 1e-05},
    "seed": 7,
}
TRICKY = [
    "no",
    "1e-4",
    "0o7",
    "012",
    "null",
    "~",
    "",
    "2026-01-06",
    "a: b",
    "# a",
    "주문\n둘",
    "\x1b",
]


def test_a_text_is_read_back_as_it_was_given(tmp_path):
    notes = {
        HEAD: ["Adopted from openai.\nbackend: evil", "문의 분류. " * 30],
        "data": ["Declared."],
    }
    adopted = AdoptedSpec(name="triage", values=VALUES, notes=notes)
    path = tmp_path / "finetunes/triage.yaml"
    path.parent.mkdir()
    path.write_text(spec_text(adopted), encoding="utf-8")
    assert all(len(line) <= 100 for line in path.read_text().splitlines())
    assert "# Declared.\ndata:" in path.read_text()

    loaded, problems = read_spec(tmp_path, path, file=adopted.file)

    assert not problems
    assert loaded.spec == load_adopted(tmp_path, adopted).spec
    assert loaded.document.value == VALUES


@pytest.mark.parametrize("text", TRICKY)
def test_a_text_stays_a_text_in_yaml(tmp_path, text):
    adopted = AdoptedSpec(
        name="triage", values=VALUES | {"description": text, "labels": {"a": text}}
    )
    spec = load_adopted(tmp_path, adopted).spec
    assert (spec.description, spec.labels) == (text, {"a": text})


def test_a_refused_spec_is_named_with_its_line():
    adopted = AdoptedSpec(name="triage", values=VALUES | {"seed": -1})
    with pytest.raises(InvalidInput) as refused:
        load_adopted(Path("/nowhere"), adopted)
    (problem,) = refused.value.problems
    assert (problem.file, problem.field) == ("finetunes/triage.yaml", "seed")
    assert problem.line == 11


def test_a_note_on_a_key_that_is_not_written_is_a_defect():
    with pytest.raises(ValueError, match="prompt"):
        spec_text(AdoptedSpec(name="a", values=VALUES, notes={"prompt": ["x"]}))
