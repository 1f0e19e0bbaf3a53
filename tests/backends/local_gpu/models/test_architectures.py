"""Models that cannot be trained are refused by their config.json, without loading transformers."""

import json
from importlib import import_module
from importlib.metadata import version

import pytest

from backends.contract.errors import BackendError
from backends.local_gpu.models.architectures import require_trainable

pytestmark = pytest.mark.torch


@pytest.fixture
def folder(tmp_path):
    """Return a function that writes a model's settings."""

    def write(**config):
        (tmp_path / "config.json").write_text(json.dumps(config))
        return tmp_path

    return write


def problem(folder):
    """Return why a model cannot be trained, and the remedy; None if it can be."""
    try:
        require_trainable(folder, "acme/model")
    except BackendError as error:
        return error.message, error.remedy
    return None


def test_an_architecture_is_trained_where_transformers_has_a_class_that_writes_text(folder):
    auto = import_module("transformers.models.auto.modeling_auto")
    known = import_module("transformers.models.auto.auto_mappings").CONFIG_MAPPING_NAMES
    writes = {
        *auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        *auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
        *auto.MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES,
    }
    fine = {kind for kind in known if problem(folder(model_type=kind)) is None}
    assert fine == {*known} & writes
    assert {"qwen3", "gemma3", "llama", "gpt_oss"} <= fine
    assert problem(folder(model_type="vit")) == (
        "acme/model is of the architecture vit, which writes no text",
        "Name a model that writes text.",
    )


@pytest.mark.parametrize(
    "config", [{}, {"model_type": None}, {"model_type": 3}, {"model_type": []}]
)
def test_settings_that_do_not_tell_are_left_to_the_job(folder, config):
    assert problem(folder(**config)) is None


def test_a_model_whose_settings_are_not_here_is_left_to_the_job(tmp_path):
    assert problem(tmp_path) is None
    (tmp_path / "config.json").write_text("{")
    assert problem(tmp_path) is None


def test_an_architecture_that_is_too_new_is_named_with_the_version_that_lacks_it(folder):
    message, remedy = problem(folder(model_type="qwen99"))
    assert message == (
        "acme/model is of the architecture qwen99, which transformers "
        f"{version('transformers')} does not know"
    )
    assert remedy == "Upgrade transformers, or name another model."


def test_a_model_with_code_of_its_own_is_refused_and_nothing_runs(folder):
    own = {"AutoModelForCausalLM": "modeling_acme.AcmeForCausalLM"}
    message, remedy = problem(folder(model_type="acme", auto_map=own))
    assert "needs code of its own repository (`auto_map` in config.json)" in message
    assert "the installed transformers has no architecture acme" in message
    assert remedy.startswith("Upgrade transformers if a newer one has the architecture")
    # What transformers has by now runs without that code.
    assert problem(folder(model_type="qwen3", auto_map=own)) is None


@pytest.mark.parametrize(
    ("quantised", "words"),
    [
        ({"quant_method": "gptq", "bits": 4}, "(gptq, 4 bits)"),
        ({"quant_method": "awq", "bits": "four"}, "(awq)"),
        ({"quant_method": "mxfp4"}, "(mxfp4)"),
        ({}, "(an unnamed method)"),
    ],
)
def test_a_model_that_is_stored_quantised_is_refused_before_anything_is_submitted(
    folder, quantised, words
):
    message, remedy = problem(folder(model_type="qwen3", quantization_config=quantised))
    assert message.startswith(f"the weights of acme/model are stored quantised {words}, and")
    assert "`quantization: nf4`" in remedy


def test_a_model_that_is_not_quantised_says_so_too(folder):
    assert problem(folder(model_type="qwen3", quantization_config=None)) is None
