"""The files of the kinds: short, complete, and consistent with each other."""

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from backends.contract.backend import Endpoint
from backends.contract.errors import BackendError, HyperparametersInvalid
from backends.contract.inspector import Feature
from backends.contract.jobs import BaseModel
from backends.openai.api.endpoints import base_url, settings
from backends.openai.backend import OpenAIBackend
from backends.openai.hyperparameters import parse
from backends.openai.profiles.profile import PROFILES, profile_of, read_profile
from backends.registry import ENDPOINT_KINDS

FILES = sorted(Path(__file__).parents[4].glob("backends/openai/profiles/*.yaml"))
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"


def test_the_registry_knows_every_kind():
    assert {"azure", "compatible", "crusoe", "fireworks", "nebius", "openai"} == {*ENDPOINT_KINDS}
    assert list(ENDPOINT_KINDS) == list(PROFILES) == [path.stem for path in FILES]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_profile_is_short_data(path):
    assert len(path.read_text("utf-8").splitlines()) <= 60
    assert read_profile(path) == PROFILES[path.stem]


def test_a_word_means_the_same_state_everywhere():
    meant = {}
    for profile in PROFILES.values():
        for state, words in profile.states:
            for word in words:
                assert meant.setdefault(word, state) == state
                assert word == word.lower()


def test_an_unknown_key_in_a_profile_is_an_error(tmp_path):
    data = yaml.safe_load(FILES[0].read_text("utf-8"))
    for wrong in (data | {"metdata": False}, data | {"limits": data["limits"] | {"sufix": 9}}):
        path = tmp_path / "own.yaml"
        path.write_text(yaml.safe_dump(wrong), "utf-8")
        with pytest.raises(ValidationError, match=r"metdata|sufix"):
            read_profile(path)


def test_an_unknown_kind_is_named_with_the_known_ones():
    with pytest.raises(BackendError, match="no kind of endpoint is called 'nebus'") as caught:
        profile_of("nebus")
    assert caught.value.remedy == "Did you mean `nebius`?"


def test_the_address_is_the_service_s_own_where_none_is_written():
    environment = {"OPENAI_BASE_URL": "http://elsewhere/v1"}
    for kind, url in {
        "nebius": "https://api.tokenfactory.nebius.com/v1/",
        "crusoe": "https://api.intelligence.crusoecloud.com/v1",
        "fireworks": "https://api.fireworks.ai/inference/v1",
        "openai": "http://elsewhere/v1",
        "azure": "http://elsewhere/v1",
    }.items():
        assert base_url(Endpoint(name="x", kind=kind), environment) == url
        own = Endpoint(name="x", kind=kind, base_url="http://own/v1")
        assert base_url(own, environment) == "http://own/v1"


def test_the_key_of_openai_is_not_sent_to_another_service():
    environment = {"OPENAI_API_KEY": "sk-1", "NEBIUS_API_KEY": "other"}
    with pytest.raises(BackendError, match="OPENAI_API_KEY holds a key of OpenAI's") as caught:
        settings(Endpoint(name="eu", kind="nebius"), environment)
    assert "Write `api_key_env: NEBIUS_API_KEY`" in caught.value.remedy
    assert "sk-1" not in f"{caught.value.message}{caught.value.remedy}"
    own = Endpoint(name="eu", kind="nebius", api_key_env="NEBIUS_API_KEY")
    assert settings(own, environment).api_key == "other"


def test_defaults_of_a_service_are_written_out():
    assert parse("supervised", {"learning_rate": 2e-5, "lora": True}, "nebius") == {
        "n_epochs": 3,
        "batch_size": 8,
        "learning_rate": 2e-5,
        "warmup_ratio": 0.0,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "packing": True,
        "context_length": 8192,
        "lora": True,
        "lora_r": 8,
        "lora_alpha": 8,
        "lora_dropout": 0.0,
    }
    assert parse("supervised", {}, "crusoe") == {
        "n_epochs": "auto",
        "batch_size": "auto",
        "learning_rate": "auto",
        "learning_rate_multiplier": "auto",
        "lr_scheduler": "cosine",
        "lora_variant": "lora",
        "overlong_row_behavior": "error",
    }


@pytest.mark.parametrize(
    ("kind", "method", "raw", "message", "remedy"),
    [
        ("nebius", "supervised", {"n_epochs": 21}, "must be at most 20, not 21", ""),
        (
            "nebius",
            "supervised",
            {"n_epochs": "auto"},
            "must be a whole number, not the text 'auto'",
            "",
        ),
        ("nebius", "supervised", {"lora": "yes"}, "must be true or false", "Write true or false."),
        (
            "nebius",
            "supervised",
            {"learning_rate_multiplier": 2},
            "is not a hyperparameter here",
            "Write `learning_rate`: this server takes the rate itself.",
        ),
        (
            "nebius",
            "supervised",
            {"packin": True},
            "is not a hyperparameter here",
            "Did you mean `packing`?",
        ),
        (
            "nebius",
            "dpo",
            {},
            "a server of `kind: nebius` does not train 'dpo'",
            "Use one of: supervised.",
        ),
        (
            "crusoe",
            "supervised",
            {"batch_size": 8},
            "must be auto or at least 16, not 8",
            "",
        ),
        (
            "crusoe",
            "supervised",
            {"lr_scheduler": "cosin"},
            "must be one of cosine, constant",
            "Did you mean `cosine`?",
        ),
        (
            "crusoe",
            "reinforcement",
            {},
            "does not train 'reinforcement'",
            "Use one of: supervised.",
        ),
    ],
)
def test_a_setting_that_the_kind_lacks_is_refused(kind, method, raw, message, remedy):
    with pytest.raises(HyperparametersInvalid) as caught:
        parse(method, raw, kind)
    (problem,) = caught.value.problems
    assert message in problem.message
    assert problem.remedy == remedy


def test_the_plan_tells_what_is_not_documented(tmp_path):
    base = BaseModel(reference=LLAMA, revision=None, identity=f"model:{LLAMA}")
    for kind, profile in PROFILES.items():
        backend = OpenAIBackend(tmp_path, Endpoint(name="x", kind=kind), environment={})
        features: set[Feature] = set()
        said = backend.inspector(base, "supervised", {}).warnings(features)
        assert said == ([] if profile.note is None else [profile.note])
    assert PROFILES["crusoe"].note == (
        "not documented by servers of `kind: crusoe`: whether the service keeps `metadata`, so "
        "jobs are recognised by file, model, settings and suffix; whether `seed` has an effect; "
        "the longest suffix; the price of a job"
    )
    assert [kind for kind, one in PROFILES.items() if one.note] == ["crusoe", "fireworks", "nebius"]


def test_capabilities_are_those_of_the_kind(tmp_path):
    for kind, profile in PROFILES.items():
        can = OpenAIBackend(tmp_path, Endpoint(name="x", kind=kind), environment={}).capabilities()
        assert can.methods == profile.methods
        assert can.tracking == ({"wandb"} if profile.tracking else set())


@pytest.mark.parametrize("kind", sorted(PROFILES))
def test_only_openai_is_known_to_train_from_trained_models(tmp_path, kind):
    can = OpenAIBackend(tmp_path, Endpoint(name="x", kind=kind), environment={}).capabilities()
    assert can.starts_from == ({"model"} if kind == "openai" else set())
