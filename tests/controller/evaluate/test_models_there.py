"""Whether the model of a build is still there: trained here, adopted from a service, or prompted."""

from dataclasses import replace

import pytest

from backends.contract.errors import BackendError, ModelMissing
from backends.contract.jobs import Job, JobResult, JobState
from backends.contract.shutdowns import ShutdownNotice
from backends.testing import ScriptedBackend
from controller.evaluate.compare import EvaluationContext, require_model
from controller.prompted.examples import shot_finder


@pytest.fixture
def context(tmp_path) -> EvaluationContext:
    backend = ScriptedBackend(tmp_path / "service")
    return EvaluationContext(
        root=tmp_path,
        open_backend=lambda _place: backend,
        train=tmp_path / "train.jsonl",
        has_answers=lambda _: False,
        find_shots=shot_finder(tmp_path / ".ftctl"),
    )


def test_a_model_whose_weights_are_gone_is_named_with_the_remedy(repo):
    repo.declare()
    repo.settle()
    entry = repo.lockfile.finetunes["faq"]
    build = entry.builds[entry.production]
    repo.backend.set_script(build.job, "failed")
    with pytest.raises(ModelMissing, match=f"no model {build.model_id}") as caught:
        require_model(build, lambda _place: repo.backend)
    assert caught.value.remedy


def test_a_model_that_its_backend_has_lost_is_named_with_the_remedy(repo, monkeypatch):
    # As at a service, which keeps the weights.
    monkeypatch.setattr(repo.backend, "weights_folder", lambda _model: None)
    repo.declare()
    repo.settle()
    entry = repo.lockfile.finetunes["faq"]
    build = entry.builds[entry.production]
    require_model(build, lambda _place: repo.backend)
    for lose in (
        lambda: repo.backend.set_script(build.job, "failed"),
        lambda: repo.backend.set_script(build.job, "vanished"),
    ):
        lose()
        with pytest.raises(BackendError, match="is not at scripted any more") as caught:
            require_model(build, lambda _place: repo.backend)
        assert "nothing is retrained silently" in caught.value.remedy


class Service(ScriptedBackend):
    """A backend with endpoints, as a service has them: it knows nothing of how prompts are written."""

    def capabilities(self):
        return replace(super().capabilities(), endpoints=True)


def prompted(make, few_shot: int, **changes):
    """Return a build for which nothing was trained."""
    build = make.build(make.desired(seed=3), model_id="prompt:1", **changes)
    prompt = {"system": "친절하게", "few_shot": few_shot}
    inputs = {**build.inputs, "method": "prompt", "prompt": prompt}
    return build.model_copy(update={"inputs": inputs})


class Hosting(Service):
    """A service with a job of an adopted model."""

    gone = False
    hosted = "ft:faq:1"

    def weights_folder(self, model_id):
        del model_id

    def announced_shutdowns(self, models):
        return {model: ShutdownNotice(source="a page", gone=self.gone) for model in models}

    def observe(self, job_ids):
        result = self.hosted and JobResult(model_id=self.hosted)
        state = JobState.SUCCEEDED
        job = Job(id="job-1", fingerprint="", attempt=1, state=state, created_s=1.0, result=result)
        return {"job-1": job} if "job-1" in job_ids else {}


def require_adopted(make, backend, job="job-1"):
    build = make.build(make.desired(), facts={"adopted": True}, job=job)
    require_model(build, lambda _place: backend)


def test_an_adopted_model_is_there_if_its_job_has_it_or_is_not_known(make, tmp_path):
    backend = Hosting(tmp_path / "hosting")
    require_adopted(make, backend)
    require_adopted(make, backend, job="")


@pytest.mark.parametrize(
    ("job", "changes"),
    [
        ("job-1", {"hosted": "ft:faq:2"}),
        ("job-1", {"hosted": None}),
        ("job-1", {"gone": True}),
        ("", {"gone": True}),
        ("job-9", {}),
    ],
)
def test_an_adopted_model_that_its_service_has_no_more_is_named(make, tmp_path, job, changes):
    backend = Hosting(tmp_path / "hosting")
    for name, value in changes.items():
        setattr(backend, name, value)
    with pytest.raises(BackendError, match=r"the model of build \S+ is not at scripted any more"):
        require_adopted(make, backend, job)


def test_a_build_without_training_is_there_while_its_base_model_answers(make, context):
    build = prompted(make, 0)
    require_model(build, context.open_backend)
    context.open_backend("scripted").silent_bases = ("acme/base",)
    with pytest.raises(BackendError, match="is not at scripted any more"):
        require_model(build, context.open_backend)
