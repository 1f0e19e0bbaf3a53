"""Fields that nothing would read as the rest of the spec stands are refused by name."""

import pytest

from controller.resolve.validate import check_unread
from controller.spec.load import LoadedSpec
from controller.spec.model import Spec
from controller.spec.yaml import Document

DATA = {"train": [{"path": "a.csv"}], "held_out": {"fraction": 0.25}}


def problems(**changes) -> dict[str, str]:
    value = {"backend": "scripted", "base_model": "acme/base", "data": DATA, **changes}
    loaded = LoadedSpec(
        name="faq",
        file="finetunes/faq.yaml",
        folder=None,
        spec=Spec.model_validate(value),
        document=Document(value=value, text=b""),
    )
    return {found.field: found.message for found in check_unread(loaded)}


@pytest.mark.parametrize(
    ("key", "value", "needed"),
    [
        ("similarity", 0.7, {"deduplicate": "near"}),
        ("pii_regions", ["KR", "FR"], {"pii": "warn"}),
        ("over_length", "drop", {"max_tokens": 64}),
    ],
)
def test_what_prepare_would_not_read_is_refused(key, value, needed):
    found = problems(data={**DATA, "prepare": {key: value}})
    assert found == {f"data.prepare.{key}": f"does nothing without `{next(iter(needed))}`"}
    assert problems(data={**DATA, "prepare": {key: value, **needed}}) == {}


def test_writing_out_a_default_is_no_mistake():
    prepare = {"similarity": 0.8, "pii_regions": ["KR"], "over_length": "error"}
    assert problems(data={**DATA, "prepare": prepare}, evaluation={"max_tokens": 256}) == {}


def test_held_out_weights_revisions_of_folders_and_prompts_of_texts_are_refused():
    weighted = {**DATA, "held_out": [{"path": "b.csv", "weight": 2}]}
    assert list(problems(data=weighted)) == ["data.held_out[0].weight"]
    assert list(problems(base_model="../models/x", revision="main")) == ["revision"]
    texts = {"method": "continued-pretraining", "data": {**DATA, "system": "Be brief."}}
    assert list(problems(**texts)) == ["data.system"]
    assert list(problems(**texts | {"data": DATA, "evaluation": {"max_tokens": 8}})) == [
        "evaluation.max_tokens"
    ]
