"""Names of models: which model answers, and which are listed."""

import anyio
import pytest

from backends.contract.errors import BackendError
from controller.lockfile.early import PullRecord
from controller.lockfile.model import Entry, Lockfile, parse_lockfile
from controller.lockfile.pulls import write_pull
from controller.project.project import Project
from controller.server import canaries
from controller.server.api.errors import ApiError
from controller.server.jobs.job_record import JobRecord
from controller.server.jobs.job_store import JobStore
from controller.server.models import Catalog
from controller.spec.settings import ServeSettings
from tests.controller.server.chat_helpers import record
from tests.controller.server.serve_helpers import BASE, Trainer
from tests.workflows.repositories import git

OFFERED = [f"../models/{BASE}", "org/hub"]


@pytest.fixture
def jobs(tmp_path):
    return JobStore(tmp_path / "jobs")


@pytest.fixture
def catalog(tmp_path, jobs):
    (tmp_path / "finetunes").mkdir()
    project = Project(root=tmp_path, state=tmp_path / ".ftctl")
    return Catalog(project, Trainer(tmp_path / "backend"), ServeSettings(base_models=OFFERED), jobs)


def trained(jobs, number, model=BASE, backend_model=None, **changes):
    made = JobRecord(
        id=f"ftjob-{number:012d}",
        created_s=100.0 + number,
        finished_s=200.0 + number,
        model=model,
        training_file="f",
        validation_file=None,
        suffix="cafe",
        seed=1,
        metadata=None,
        method="supervised",
        asked={},
        settings={},
        backend_model=backend_model or f"model-{number}",
        **changes,
    )
    anyio.run(jobs.add, made)
    return made.model_name


def test_names_in_order_and_each_once(catalog, jobs, tmp_path):
    first, second = trained(jobs, 1), trained(jobs, 2)
    trained(jobs, 3, model_deleted=True)
    record(tmp_path, cafe=("local-gpu", "m"), far=("openai", "ft:gpt"), here=("openai", second))
    listed = catalog.index()
    assert [model["id"] for model in listed] == [BASE, "org/hub", second, first, "cafe", "here"]
    assert listed == [catalog.describe(model["id"]) for model in listed]
    created = {model["id"]: model["created"] for model in listed}
    assert (created[first], created["cafe"], created["here"]) == (201, 1795219200, 1795219200)


def test_what_answers_under_a_name(catalog, jobs, tmp_path):
    name = trained(jobs, 1)
    record(tmp_path, cafe=("local-gpu", "m"), here=("openai", name))
    found = {one: catalog.resolve(one) for one in (BASE, "org/hub", name, "cafe", "m", "here")}
    assert {one: (target.base.reference, target.model) for one, target in found.items()} == {
        BASE: (f"../models/{BASE}", None),
        "org/hub": ("org/hub", None),
        name: (f"../models/{BASE}", "model-1"),
        "cafe": ("../models/other", "m"),
        "m": ("../models/other", "m"),
        "here": (f"../models/{BASE}", "model-1"),
    }


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("nope", "model_not_found"),
        ("../models/small-ko", "model_not_found"),
        ("ft:small-ko:local:cafe:000000000009", "model_not_found"),
        ("far", "model_not_served"),
        ("ft:gpt", "model_not_found"),
        ("x" * 5_000, "model_not_found"),
    ],
)
def test_a_name_without_a_model_here(catalog, tmp_path, name, code):
    record(tmp_path, far=("openai", "ft:gpt"))
    with pytest.raises(ApiError) as caught:
        catalog.resolve(name)
    assert (caught.value.status, caught.value.code, caught.value.param) == (404, code, "model")
    assert len(caught.value.message) < 300
    with pytest.raises(ApiError):
        catalog.describe(name)


def test_a_base_model_that_is_not_offered_any_more_is_named(catalog, jobs):
    name = trained(jobs, 1, model="former")
    assert catalog.describe(name)["id"] == name
    with pytest.raises(BackendError, match="does not offer the base model former") as caught:
        catalog.resolve(name)
    assert "serve.base_models" in caught.value.remedy


@pytest.mark.parametrize("finished", ["", "yesterday", "2026-13-01"])
def test_a_time_that_a_person_broke_does_not_hide_the_model(catalog, tmp_path, finished):
    record(tmp_path, cafe=("local-gpu", "m"))
    path = tmp_path / "finetunes" / "ftctl.lock"
    text = path.read_text()
    path.write_text(text.replace('"finished": "2026-11-21T00:00:00Z"', f'"finished": "{finished}"'))
    assert catalog.describe("cafe")["created"] == catalog.describe(BASE)["created"]


def test_the_lockfile_is_read_again_after_a_change_alone(catalog, tmp_path):
    assert catalog.lockfile() is catalog.lockfile()
    record(tmp_path, cafe=("local-gpu", "m"))
    before = catalog.lockfile()
    assert set(before.finetunes) == {"cafe"}
    assert catalog.lockfile() is before
    record(tmp_path, cafe=("local-gpu", "m"), tea=("local-gpu", "n"))
    assert set(catalog.lockfile().finetunes) == {"cafe", "tea"}


@pytest.mark.parametrize(
    ("others", "builds", "wanted"),
    [
        ([], {}, False),
        ([{"backend_model": "other"}], {}, False),
        ([{"backend_model": "model-1"}], {}, True),
        ([{"backend_model": "model-1", "model_deleted": True}], {}, False),
        ([], {"cafe": ("local-gpu", "model-1")}, True),
        ([], {"cafe": ("local-gpu", "other")}, False),
    ],
)
def test_weights_that_another_name_shares_are_kept(catalog, jobs, tmp_path, others, builds, wanted):
    trained(jobs, 1)
    for number, changes in enumerate(others, start=2):
        trained(jobs, number, **changes)
    record(tmp_path, **builds)
    assert catalog.is_wanted("model-1", f"ftjob-{1:012d}") is wanted


def test_the_end_of_a_base_model_is_that_of_its_models_and_a_model_may_have_its_own(tmp_path, jobs):
    ends = {BASE: "2027-01-14", "cafe": "2026-12-24", "nobody": "2027-01-01"}
    (tmp_path / "finetunes").mkdir()
    project = Project(root=tmp_path, state=tmp_path / ".ftctl")
    settings = ServeSettings(base_models=OFFERED, shutdown_dates=ends)
    catalog = Catalog(project, Trainer(tmp_path / "backend"), settings, jobs)
    name = trained(jobs, 1)
    record(tmp_path, cafe=("local-gpu", "m"))
    dates = {model["id"]: model["shutdown_date"] for model in catalog.index()}
    assert dates == {BASE: "2027-01-14", "org/hub": None, name: "2027-01-14", "cafe": "2026-12-24"}
    assert catalog.unknown_ends() == ["nobody"]


def test_a_model_of_a_pull_request_answers_until_its_end(catalog, tmp_path, monkeypatch):
    """It is listed, stands for its build, and is gone with the reference."""
    record(tmp_path, cafe=("local-gpu", "m"))
    lockfile = parse_lockfile((tmp_path / "finetunes/ftctl.lock").read_bytes(), "")
    (build,) = lockfile.finetunes["cafe"].builds.values()
    early = build.model_copy(update={"model_id": "early", "fingerprint": f"ft1:{'e' * 64}"})
    entry = Entry(candidate=early.fingerprint, builds={early.fingerprint: early})
    git(tmp_path, "init", "--quiet")
    monkeypatch.setattr(canaries, "LOOK_S", 0.0)
    assert "cafe@pr-12" not in [model["id"] for model in catalog.index()]
    with pytest.raises(ApiError, match="does not exist"):
        catalog.resolve("cafe@pr-12")

    made = PullRecord(pull=12, lockfile=Lockfile(finetunes={"cafe": entry}))
    assert write_pull(tmp_path, made)
    assert not write_pull(tmp_path, made)
    assert [model["id"] for model in catalog.index()][-1] == "cafe@pr-12"
    assert catalog.describe("cafe@pr-12")["model_id"] == "early"
    target = catalog.resolve("cafe@pr-12")
    assert (target.model, target.public_id) == ("early", "early")
    assert catalog.resolve("cafe").model == "m"
    assert catalog.resolve("early").model == "early"
    assert catalog.is_wanted("early", besides="ftjob-1")

    write_pull(tmp_path, PullRecord(pull=12, lockfile=Lockfile()))
    with pytest.raises(ApiError, match="does not exist"):
        catalog.resolve("cafe@pr-12")
    assert "cafe@pr-12" not in [model["id"] for model in catalog.index()]
