import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.adopt.names import hosted_name, is_name, propose_name, slug

TRIAGE = "ft:gpt-4o-mini-2024-07-18:acme:triage:AbC"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Triage v2", "triage-v2"),
        ("--a__b--", "a-b"),
        ("Résumé", "resume"),
        ("문의 분류", ""),
        ("문의 faq", "faq"),
        ("A" * 80, "a" * 63),
    ],
)
def test_a_text_becomes_the_nearest_valid_name(text, name):
    assert slug(text) == name
    assert not name or is_name(name)


def test_a_hosted_model_is_named_after_its_suffix():
    assert hosted_name(TRIAGE, "Triage", set()) == "triage"
    assert hosted_name(TRIAGE, None, set()) == "triage"


def test_a_model_without_suffix_is_named_after_its_base_model_and_id():
    assert hosted_name("ft:gpt-4o-mini-2024-07-18:acme::AbC", None, set()) == (
        "gpt-4o-mini-2024-07-18-abc"
    )
    assert hosted_name("gpt-4.1.ft-0a1b", None, set()) == "gpt-4-1-ft-0a1b"


def test_two_models_of_one_name_get_distinct_names():
    assert hosted_name(TRIAGE, None, {"triage"}) == "triage-abc"
    assert hosted_name(TRIAGE, None, {"triage", "triage-abc"}) == "triage-abc-2"
    assert propose_name(["문의"], {"model"}) == "model-2"


@pytest.mark.parametrize("taken", [set(), {"a" * 63}, {"a" * 63, "a" * 59 + "-abc"}])
def test_a_distinct_name_is_never_too_long(taken):
    name = hosted_name(TRIAGE, "A" * 80, taken)
    assert is_name(name)
    assert name not in taken


@pytest.mark.parametrize("length", [1, 39, 40, 41, 60, 61, 62, 63, 64, 5000])
def test_many_models_whose_ids_begin_alike_get_distinct_names(length):
    taken = set()
    for number in range(12):
        name = hosted_name(f"ft:base:acme:triage:{'x' * length}{number}", None, taken)
        assert is_name(name)
        assert name not in taken
        assert name.startswith("triage")
        taken.add(name)


@pytest.mark.parametrize(
    ("model", "suffix", "base", "name"),
    [
        (TRIAGE, "Router", None, "router"),
        (TRIAGE, "문의", None, "gpt-4o-mini-2024-07-18-abc"),
        ("ft:gpt-4o:acme::AbC", None, "gpt-4o-2024-08-06", "gpt-4o-2024-08-06-abc"),
        ("accounts/acme/models/kr-v1.2", None, None, "accounts-acme-models-kr-v1-2"),
        ("accounts/acme/models/kr-v1.2", "kr", None, "kr"),
        ("문의", None, None, "model"),
    ],
)
def test_the_best_text_names_a_model(model, suffix, base, name):
    assert hosted_name(model, suffix, set(), base) == name


def test_of_a_model_id_without_parts_the_end_tells_models_apart():
    model = "accounts/acme/models/kr-12345678"
    assert hosted_name(model, "kr", {"kr"}) == "kr-12345678"


TEXTS = st.text(st.sampled_from("aB1-:./ 문é\u0301"), max_size=70)


@given(st.lists(st.tuples(TEXTS, st.none() | TEXTS, st.none() | TEXTS), max_size=12))
def test_any_models_get_distinct_valid_names(models):
    taken = set()
    for model, suffix, base in models:
        name = hosted_name(model, suffix, taken, base)
        assert is_name(name)
        assert name not in taken
        taken.add(name)
