"""Files by which other engines start a placed job: SkyPilot, Kubeflow Trainer, Docker Compose. Pure.

Each runs the same worker over the same store as ftctl's own launchers, so that the next `reconcile`
finds what it does. An engine that starts a job again lets it continue from its newest checkpoint.
"""

import shlex
from collections.abc import Callable, Mapping
from typing import Any, Final

import yaml

from backends.contract.jobs import PlacedCommand
from controller.errors import FtctlError

_RESTARTS: Final = 3
_GRACE_S: Final = 120
"""Seconds in which a worker saves its checkpoint after SIGTERM."""
_IMAGE: Final = "Write `runtime: {image: NAME}` for the machine: an image that has ftctl."


def skypilot(job: PlacedCommand) -> str:
    """Return a managed job of SkyPilot: `sky jobs launch FILE`.

    Raises:
        FtctlError: The kind of GPU is not known.
    """
    resources: dict[str, Any] = {
        "job_recovery": {"strategy": "FAILOVER", "max_restarts_on_errors": _RESTARTS}
    }
    if job.gpus:
        if job.accelerator is None:
            remedy = "Write its name for the machine: `accelerator: H100`."
            raise FtctlError("SkyPilot wants to know the kind of GPU", remedy)
        resources["accelerators"] = f"{job.accelerator}:{job.gpus}"
    if job.memory_bytes is not None:
        resources["memory"] = f"{-(-job.memory_bytes // 10**9)}+"
    if job.image is not None:
        resources["image_id"] = f"docker:{job.image}"
    rank = ' --node "$SKYPILOT_NODE_RANK"' if job.nodes > 1 else ""
    task = {
        "name": job.name,
        "num_nodes": job.nodes,
        "resources": resources,
        "envs": dict(job.environment),
        "run": f"exec {shlex.join(job.command)}{rank}",
    }
    return _written(job, "sky jobs launch FILE", task)


def trainjob(job: PlacedCommand) -> str:
    """Return a TrainJob of Kubeflow Trainer: `kubectl create -f FILE`.

    Raises:
        FtctlError: The machine has no image.
    """
    limits: dict[str, Any] = {"nvidia.com/gpu": job.gpus} if job.gpus else {}
    if job.memory_bytes is not None:
        limits["memory"] = str(job.memory_bytes)
    rank = ' --node "$JOB_COMPLETION_INDEX"' if job.nodes > 1 else ""
    trainer = {
        "image": _image(job),
        "numNodes": job.nodes,
        "command": ["sh", "-c", f"exec {shlex.join(job.command)}{rank}"],
        "env": [{"name": key, "value": value} for key, value in job.environment.items()],
        **({"resourcesPerNode": {"limits": limits}} if limits else {}),
    }
    task = {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"name": job.name},
        "spec": {"runtimeRef": {"name": "torch-distributed"}, "trainer": trainer},
    }
    return _written(job, "kubectl create -f FILE", task)


def compose(job: PlacedCommand) -> str:
    """Return a file of Docker Compose: `docker compose -f FILE up`.

    Raises:
        FtctlError: The machine has no image, or the job wants several nodes.
    """
    if job.nodes > 1:
        message = f"Docker Compose runs a job on one node, and it wants {job.nodes}"
        raise FtctlError(message, "Write `hardware: {nodes: 1}`, or choose another `--job`.")
    # Compose itself replaces what follows a single `$`.
    plain = [one.replace("$", "$$") for one in job.command]
    service: dict[str, Any] = {
        "image": _image(job),
        "container_name": job.name,
        "command": plain,
        "environment": {key: value.replace("$", "$$") for key, value in job.environment.items()},
        "restart": f"on-failure:{_RESTARTS}",
        "stop_grace_period": f"{_GRACE_S}s",
    }
    if "://" not in job.runs:
        service["volumes"] = [f"{job.runs}:{job.runs}".replace("$", "$$")]
    if job.memory_bytes is not None:
        service["mem_limit"] = job.memory_bytes
    if job.gpus:
        device = {"driver": "nvidia", "count": job.gpus, "capabilities": ["gpu"]}
        service["deploy"] = {"resources": {"reservations": {"devices": [device]}}}
    return _written(job, "docker compose -f FILE up", {"services": {"train": service}})


KINDS: Final[Mapping[str, Callable[[PlacedCommand], str]]] = {
    "skypilot": skypilot,
    "trainjob": trainjob,
    "compose": compose,
}


def _image(job: PlacedCommand) -> str:
    if job.image is None:
        raise FtctlError("a container needs an image, and the machine names none", _IMAGE)
    return job.image


def _written(job: PlacedCommand, start: str, content: Mapping[str, Any]) -> str:
    needs = (
        f"# The job needs credentials for {job.runs}.\n"
        if "://" in job.runs
        else f"# The job needs {job.runs} under the same path.\n"
    )
    text = yaml.safe_dump(dict(content), sort_keys=False, width=1000, allow_unicode=True)
    return f"# Start it with: {start}\n{needs}{text}"
