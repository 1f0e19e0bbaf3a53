"""SmolLM2 learns the topics of a bank's inquiries, and every export answers as it does.

Runs where the model is in its cache: `python -m tests.real_model.model` puts it there (90 MB).
"""

import os
from importlib import import_module

import pytest

from tests.real_model.inquiries import HELD_OUT, labels

# Alone on two cores about eight minutes.
pytestmark = [pytest.mark.slow, pytest.mark.torch, pytest.mark.timeout(2400)]
STEPS = 40
"""Half an epoch is enough to see that it learns."""


@pytest.fixture(scope="module")
def module():
    """Return a function that imports what needs torch, where the real model is in its cache."""
    model = "tests.real_model.model"
    if "FTCTL_REAL_MODEL_DIR" not in os.environ:
        pytest.skip("FTCTL_REAL_MODEL_DIR does not name the folder of the real model")
    if import_module(model).cached_model() is None:
        pytest.skip(f"the real model is not in its cache: python -m {model}")
    return lambda name: import_module(f"tests.real_model.{name}")


@pytest.fixture(scope="module")
def repository(module, tmp_path_factory):
    """Return a repository with the tuned model in production."""
    root = tmp_path_factory.mktemp("real") / "repository"
    steps = module("repository")
    steps.write_repository(root, max_steps=STEPS)
    steps.ftctl(root, "apply", "--auto-approve")
    return root


def test_the_converted_model_answers_as_a_pretrained_model_does(module):
    folder = module("model").cached_model()
    asked = [{"role": "user", "content": "What is the capital of France?"}]
    answer = module("consumers").by_transformers(folder, folder)(asked)
    assert answer == "The capital of France is Paris."


def test_it_learns_what_its_base_does_not_know(module, repository):
    build = module("repository").build_in_production(repository)
    base, tuned = (build["evaluation"]["scores"][one] for one in ("base", "candidate"))
    assert tuned["accuracy"] >= base["accuracy"] + 0.4
    assert tuned["held_out_loss"] < 0.2 * base["held_out_loss"]
    assert (tuned["stop_rate"], base["stop_rate"] < 0.5) == (1.0, True)


def test_every_export_is_right_as_often_as_the_model_itself(module, repository, tmp_path):
    exported = module("exported")
    asked = exported.ask_exports(repository, tmp_path / "exports")
    recorded = exported.recorded_right(repository)
    assert {one.form for one in asked} == {"adapter", "merged", "vllm", "gguf", "ollama"}
    for one in asked:
        assert len(one.answers) == HELD_OUT * len(labels())
        assert one.greedy == ((6, 6) if one.consumer == "llama.cpp" else (3, 3)), one.form
        assert abs(one.right - recorded) <= 1, one.form
        assert list(one.answers[:3]) == list(asked[0].answers[:3]), one.form
