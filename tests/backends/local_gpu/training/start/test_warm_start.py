"""Training that starts from the model of another fine-tune: merged, continued, or whole."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from backends.contract.completions import Prompt, Sampling, in_order
from backends.contract.errors import BackendError, HyperparametersInvalid
from backends.contract.jobs import JobState

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("warm")]
QUESTION = [Prompt(messages=[{"role": "user", "content": "Where is the nearest cafe?"}])]


@pytest.fixture
def parent(backend, make_request, wait):
    """Train a model, and return its ID."""

    def train(**settings) -> str:
        job = wait(backend.submit(make_request(learning_rate=0.02, **settings)))
        assert job.state is JobState.SUCCEEDED, job.error
        return job.result.model_id

    return train


@pytest.fixture
def start(backend, make_request, wait):
    """Train a model from a base model that another one is."""

    def train(base, name: str, digit: str, **settings):
        request = replace(
            make_request(**settings),
            name=name,
            fingerprint="ft1:" + digit * 64,
            base_model=base,
        )
        return wait(backend.submit(request))

    return train


def answers(backend, base, *models):
    sampling = Sampling(max_tokens=8, temperature=0.0)
    return [
        one[0].text
        for one in in_order(backend.complete(base, models, QUESTION, sampling), len(models), 1)
    ]


def test_a_merged_adapter_is_the_base_of_a_new_one(backend, parent, start, tmp_path):
    first = parent()
    base = backend.resolve_base_model(first, None, tmp_path)
    job = start(base, "tea", "b")
    assert job.state is JobState.SUCCEEDED, job.error
    (merged,) = (path for path in Path((tmp_path / "state") / "merged").iterdir() if path.is_dir())
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {
        file.name for file in merged.iterdir()
    }
    alone = answers(backend, base, None)
    both = answers(backend, base, None, job.result.model_id)
    assert both[0] == alone[0], "the merged model answers as the adapter on its base"
    grandchild = start(backend.resolve_base_model(job.result.model_id, None, tmp_path), "mint", "c")
    assert grandchild.state is JobState.SUCCEEDED, grandchild.error


def test_a_merged_model_that_is_gone_is_merged_again(backend, parent, start, tmp_path):
    base = backend.resolve_base_model(parent(), None, tmp_path)
    job = start(base, "tea", "b")
    before = answers(backend, base, job.result.model_id)
    for folder in ((tmp_path / "state") / "merged").iterdir():
        if folder.is_dir():
            for file in folder.iterdir():
                file.unlink()
            folder.rmdir()
    assert answers(backend, base, job.result.model_id) == before


def test_a_continued_adapter_starts_where_the_other_ended(
    backend, parent, start, base_folder, tmp_path
):
    first = parent()
    own = backend.resolve_base_model(str(base_folder), None, tmp_path)
    trained = backend.resolve_base_model(first, None, tmp_path)
    base = replace(own, adapter=first, adapter_identity=trained.identity)
    # So low a rate changes nothing that is seen: the adapter is the other one's.
    job = start(base, "tea", "b", learning_rate=1e-9)
    assert job.state is JobState.SUCCEEDED, job.error
    run = (tmp_path / "state") / "runs" / ("b" * 16 + "-1") / "model"
    metrics = json.loads((run / "metrics.json").read_text())
    earlier = (tmp_path / "state") / "runs" / first.rpartition(":")[2] / "model" / "metrics.json"
    assert metrics["held_out_loss"] == pytest.approx(
        json.loads(earlier.read_text())["held_out_loss"], abs=1e-4
    )
    assert answers(backend, own, first) == answers(backend, own, job.result.model_id)


def test_a_whole_model_is_a_base_and_has_no_adapter(backend, parent, start, base_folder, tmp_path):
    first = parent(finetuning_type="full")
    base = backend.resolve_base_model(first, None, tmp_path)
    job = start(base, "tea", "b")
    assert job.state is JobState.SUCCEEDED, job.error
    assert answers(backend, base, None, job.result.model_id)
    own = backend.resolve_base_model(str(base_folder), None, tmp_path)
    settings = backend.parse_hyperparameters("supervised", {})
    with pytest.raises(BackendError, match="has no adapter to continue"):
        backend.inspector(replace(own, adapter=first), "supervised", settings)


def test_an_adapter_of_another_form_is_not_continued(backend, parent, base_folder, tmp_path):
    first = parent(r=4)
    base = replace(backend.resolve_base_model(str(base_folder), None, tmp_path), adapter=first)
    settings = backend.parse_hyperparameters("supervised", {"r": 8, "lora_alpha": 8})
    with pytest.raises(HyperparametersInvalid) as caught:
        backend.inspector(base, "supervised", settings)
    assert "r" in {problem.field for problem in caught.value.problems}
    assert any("`adapter: merge`" in problem.remedy for problem in caught.value.problems)
