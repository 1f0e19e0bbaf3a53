"""Every setting of `ftctl.yaml` changes something that can be seen, or is refused."""

import json

import pytest

from controller.spec.sections.machines import machines_of
from controller.spec.settings import Settings, load_settings, public_id, records_branch
from controller.store.builds import ModelStore, push_build
from controller.store.privacy import named_builds, privacy_of
from controller.store.progress import unreported
from controller.track.targets import targets_of
from tests.controller.every_field.fields import fields_of
from tests.controller.every_field.spec_cases import Case, data, source


def machine_cases() -> dict[str, tuple[str, str]]:
    def declared(**other):
        keys = {"launcher": "slurm", "runs": "/shared/ftctl"} | other
        return json.dumps({"machines": {"hpc": keys}})

    changed = {
        "launcher": {"launcher": "ray", "address": "http://127.0.0.1:8265"},
        "runs": {"runs": "/scratch/ftctl"},
        "runtime": {"runtime": {"venv": "/opt/ftctl"}},
        "runtime.venv": {"runtime": {"venv": "/opt/ftctl"}},
        "runtime.image": {"runtime": {"image": "acme/ftctl"}},
        "devices": {"devices": "cpu"},
        "private": {"private": True},
        "environment": {"environment": {"HF_HOME": "/shared/hf"}},
    }
    cases = {f"machines.{key}": (declared(), declared(**keys)) for key, keys in changed.items()}
    return {"machines": ("{}", declared()), **cases}


_HPC = "machines: {hpc: {launcher: slurm, partition: gpu, runs: /shared}}"
SETTINGS: dict[str, tuple[str, str]] = {
    "serve": ("{}", "serve: {base_models: [../models/tiny]}"),
    "serve.base_models": ("{}", "serve: {base_models: [../models/tiny]}"),
    "serve.shutdown_dates": ("{}", "serve: {shutdown_dates: {tiny: 2027-01-14}}"),
    "serve.hardware": ("{}", "serve: {hardware: {gpus: 2}}"),
    "serve.hardware.gpus": ("{}", "serve: {hardware: {gpus: 2}}"),
    "serve.hardware.machine": (_HPC, f"{_HPC}\nserve: {{hardware: {{machine: hpc}}}}"),
    "serve.hardware.nodes": (
        f"{_HPC}\nserve: {{hardware: {{machine: hpc, gpus: 2}}}}",
        f"{_HPC}\nserve: {{hardware: {{machine: hpc, gpus: 2, nodes: 2}}}}",
    ),
    "serve.hardware.memory": (
        f"{_HPC}\nserve: {{hardware: {{machine: hpc}}}}",
        f"{_HPC}\nserve: {{hardware: {{machine: hpc, memory: 64GB}}}}",
    ),
    "budget": ("{}", "budget: {max_usd: 1}"),
    "budget.max_usd": ("{}", "budget: {max_usd: 1}"),
    "budget.approve_above_usd": ("{}", "budget: {approve_above_usd: 1}"),
    "lockfile": ("{}", "lockfile: {branch: records}"),
    "lockfile.branch": ("{}", "lockfile: {branch: records}"),
    "policies": ("{}", "policies: {require_license: true}"),
    "policies.require_license": ("{}", "policies: {require_license: true}"),
    "policies.licenses": ("policies: {licenses: [MIT]}", "policies: {licenses: [CC0-1.0]}"),
    **machine_cases(),
    "store": ("{}", "store: {url: ../a}"),
    "store.url": ("store: {url: ../a}", "store: {url: ../b}"),
    "store.private": ("store: {url: ../a}", "store: {url: ../a, private: true}"),
    "tracking": ("{}", "tracking: {trackio: {project: a}}"),
    "tracking.mlflow": ("{}", "tracking: {mlflow: {experiment: a}}"),
    "tracking.mlflow.experiment": (
        "tracking: {mlflow: {experiment: a}}",
        "tracking: {mlflow: {experiment: b}}",
    ),
    "tracking.mlflow.tracking_uri": (
        "tracking: {mlflow: {experiment: a}}",
        "tracking: {mlflow: {experiment: a, tracking_uri: 'http://m:5000'}}",
    ),
    "tracking.wandb": ("{}", "tracking: {wandb: {project: a}}"),
    "tracking.wandb.project": (
        "tracking: {wandb: {project: a}}",
        "tracking: {wandb: {project: b}}",
    ),
    "tracking.wandb.entity": (
        "tracking: {wandb: {project: a}}",
        "tracking: {wandb: {project: a, entity: acme}}",
    ),
    "tracking.tensorboard": ("{}", "tracking: {tensorboard: {folder: a}}"),
    "tracking.tensorboard.folder": (
        "tracking: {tensorboard: {folder: a}}",
        "tracking: {tensorboard: {folder: b}}",
    ),
    "tracking.trackio": ("{}", "tracking: {trackio: {project: a}}"),
    "tracking.trackio.project": (
        "tracking: {trackio: {project: a}}",
        "tracking: {trackio: {project: b}}",
    ),
}


@pytest.mark.parametrize("path", [path for path in SETTINGS if path.startswith("machines")])
def test_a_backend_learns_the_machines_that_the_settings_declare(path, repo):
    """`tests/backends/local_gpu/machines` places jobs by them."""
    seen = []
    for text in SETTINGS[path]:
        repo.write("ftctl.yaml", text)
        seen.append(machines_of(load_settings(repo.root).machines))
    assert seen[0] != seen[1]


@pytest.mark.parametrize("path", [path for path in SETTINGS if path.startswith("serve.hardware")])
def test_jobs_of_clients_run_on_what_the_settings_say(path, repo):
    """`tests/controller/server/test_machines.py` places one."""
    asked = []
    for text in SETTINGS[path]:
        repo.write("ftctl.yaml", text)
        asked.append(load_settings(repo.root).serve.hardware.asked)
    assert asked[0] != asked[1]


def test_every_setting_of_a_repository_has_a_case():
    """But for what servers are asked with: `tests/backends/openai/test_every_setting.py`."""
    found = {path for path in fields_of(Settings) if not path.startswith("endpoints")}
    assert found == SETTINGS.keys()


@pytest.mark.parametrize(
    "path", [path for path in SETTINGS if path.partition(".")[0] in {"budget", "policies"}]
)
def test_another_setting_changes_the_plan(path, repo, observed):
    seen = []
    licensed = data(source(license="MIT")) if path == "policies.licenses" else {}
    for text in SETTINGS[path]:
        repo.write("ftctl.yaml", text)
        seen.append(observed(Case(world={"usd": (2.0, 3.0)}), licensed))
    assert seen[0] != seen[1]


@pytest.mark.parametrize("path", ["serve", "serve.base_models"])
def test_what_is_served_is_what_the_settings_name(path, repo):
    served = []
    for text in SETTINGS[path]:
        repo.write("ftctl.yaml", text)
        served.append([public_id(one) for one in load_settings(repo.root).serve.base_models])
    assert served == [[], ["tiny"]]


def test_what_ends_is_what_the_settings_name(repo):
    """`tests/controller/server/test_models.py` reads the dates at the server."""
    served = []
    for text in SETTINGS["serve.shutdown_dates"]:
        repo.write("ftctl.yaml", text)
        served.append(load_settings(repo.root).serve.shutdown_dates)
    assert served == [{}, {"tiny": "2027-01-14"}]


@pytest.mark.parametrize("path", ["lockfile", "lockfile.branch"])
def test_the_lockfile_is_where_the_settings_say(path, repo):
    """`tests/workflows` has CI push it there."""
    read = []
    for text in SETTINGS[path]:
        repo.write("ftctl.yaml", text)
        read.append(records_branch(repo.root))
    assert read == [None, "records"]


@pytest.mark.parametrize("path", [path for path in SETTINGS if path.startswith("store")])
@pytest.mark.usefixtures("observed")
def test_another_store_gets_other_models(path, repo):
    """A model of private data, which only a store that is marked private gets."""
    repo.declare(**data(sensitivity="private" if path == "store.private" else "internal"))
    repo.settle()
    for name in ("a", "b"):
        (repo.root.parent / name).mkdir()
    stored = []
    for text in SETTINGS[path]:
        repo.write("ftctl.yaml", text)
        settings = load_settings(repo.root).store
        for name, build in named_builds(repo.lockfile.finetunes) if settings else ():
            if privacy_of(repo.project, settings).refusal(name, build) is None:
                store = ModelStore(project=repo.project, settings=settings)
                push_build(store, build, repo.backend, unreported)
        found = repo.root.parent.glob("[ab]/builds/*/*")
        stored.append(sorted({one.parents[2].name for one in found}))
    assert stored[0] != stored[1]


@pytest.mark.parametrize("path", [path for path in SETTINGS if path.startswith("tracking")])
def test_another_setting_of_a_tracker_reaches_its_library(path, repo):
    """`tests/controller/track/test_sinks.py` reads back what the libraries do with it."""
    seen = []
    for text in SETTINGS[path]:
        repo.write("ftctl.yaml", text)
        seen.append(list(targets_of(load_settings(repo.root).tracking, {})))
    assert seen[0] != seen[1]
