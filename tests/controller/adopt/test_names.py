import pytest

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
