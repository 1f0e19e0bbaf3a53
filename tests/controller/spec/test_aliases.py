"""Aliases of a spec: names that people can read, each once; the schema and the loader agree."""

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from controller.spec.aliases import LONGEST
from controller.spec.load import read_specs
from controller.spec.model import Spec, spec_schema

GOOD = {
    "backend": "openai",
    "base_model": "gpt-4.1-mini",
    "data": {"train": [{"path": "faq.csv"}], "held_out": {"fraction": 0.1}},
}
SPEC = """\
backend: openai
base_model: gpt-4.1-mini
data: {train: [{path: faq.csv}], held_out: {fraction: 0.1}}
"""
SCHEMA = jsonschema.Draft202012Validator(spec_schema())


def accepted(aliases) -> bool:
    try:
        Spec.model_validate({**GOOD, "aliases": aliases})
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    ("aliases", "good"),
    [
        ([], True),
        (["ft:gpt-4o-mini-2024-07-18:acme:triage:AbC"], True),
        (["acme/triage", "Triage v2", "상담", "a" * LONGEST], True),
        (["ft:a", "ft:A"], True),
        ([""], False),
        (["a" * (LONGEST + 1)], False),
        (["a\nb"], False),
        (["a\x1bb"], False),
        ([" a"], False),
        (["a "], False),
        (["a", "b", "a"], False),
        ([7], False),
        ("ft:a", False),
    ],
)
def test_loader_and_schema_agree(aliases, good):
    assert accepted(aliases) is good
    assert SCHEMA.is_valid({**GOOD, "aliases": aliases}) is good


@pytest.mark.parametrize("invisible", ["\u200b", "\u202e", "\ufeff", "\u2028", "\x7f", "\u00a0"])
def test_a_name_with_an_invisible_character_is_refused(invisible):
    assert not accepted([f"ft:a{invisible}b"])


@given(st.lists(st.text(max_size=LONGEST + 1), max_size=3))
def test_whatever_the_loader_accepts_the_schema_does(aliases):
    if accepted(aliases):
        assert SCHEMA.is_valid({**GOOD, "aliases": aliases})
        assert all(alias.isprintable() and alias.strip() == alias for alias in aliases)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('aliases: [a, ""]', "faq.yaml:4: aliases[1]: must not be empty"),
        ("aliases: [a, b, a]", "faq.yaml:4: aliases[2]: 'a' is listed twice"),
        (
            'aliases: ["a\\tb"]',
            "faq.yaml:4: aliases[0]: 'a\\tb' has a control character or an invisible one",
        ),
        ('aliases: ["a "]', "faq.yaml:4: aliases[0]: 'a ' begins or ends with a space"),
        ("alias: [a]", "faq.yaml:4: alias: is not a known key\n    Did you mean `aliases`?"),
    ],
)
def test_a_problem_has_its_place(tmp_path, line, expected):
    (tmp_path / "finetunes").mkdir()
    (tmp_path / "finetunes" / "faq.yaml").write_text(f"{SPEC}{line}\n")
    _, problems = read_specs(tmp_path)
    assert expected in str(problems["faq"][0])
