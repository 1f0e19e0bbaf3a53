"""MLflow: a run of an experiment, found again by its tag `ftctl.key`."""

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import mlflow
from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient

from backends.installation import package_command
from controller.errors import FtctlError
from controller.track.record import RunRecord

_KEY: Final = "ftctl.key"
_AT_ONCE: Final = 500
"""Metrics in one request; the server takes 1,000."""
_PATIENCE: Final = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
"""MLflow's own variables: by its defaults it asks a server that is down for several minutes."""


def write(settings: Mapping[str, Any], records: Sequence[RunRecord], _: Path) -> dict[str, str]:
    """Create each run, or complete the run of an earlier call.

    Raises:
        FtctlError: Neither settings nor environment name a server, or a store in a database needs
            more packages.
    """
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)
    uri = settings["tracking_uri"] or os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        raise FtctlError(
            "no server is named",
            "Write `tracking_uri:` below `tracking.mlflow`, or export MLFLOW_TRACKING_URI.",
        )
    mlflow.set_tracking_uri(uri)
    client = MlflowClient()
    try:
        experiment = _experiment(client, settings["experiment"])
    except ModuleNotFoundError as error:
        message = f"this store needs the package {error.name}, which a server does not"
        raise FtctlError(message, package_command("mlflow")) from None
    return {record.key: _write_run(client, experiment, record, uri) for record in records}


def _experiment(client: MlflowClient, name: str) -> str:
    found = client.get_experiment_by_name(name)
    identity: str = client.create_experiment(name) if found is None else found.experiment_id
    return identity


def _write_run(client: MlflowClient, experiment: str, record: RunRecord, uri: str) -> str:
    found = client.search_runs([experiment], f"tags.`{_KEY}` = '{record.key}'", max_results=1)
    finished = _milliseconds(record.finished)
    run = (
        found[0]
        if found
        else client.create_run(
            experiment, start_time=finished, tags={_KEY: record.key}, run_name=record.name
        )
    )
    identity: str = run.info.run_id
    known = run.data.metrics
    evaluated = _milliseconds(record.evaluated)
    metrics = [
        Metric(name, number, finished, step)
        for step, numbers in record.curve
        for name, number in numbers.items()
        if name not in known
    ]
    metrics += [
        Metric(name, number, evaluated, 0)
        for name, number in record.scores.items()
        if known.get(name) != number
    ]
    tags = [RunTag(name, text) for name, text in record.tags.items()]
    params = [Param(name, str(value)) for name, value in record.parameters.items()]
    client.log_batch(identity, params=params, tags=tags)
    for start in range(0, len(metrics), _AT_ONCE):
        client.log_batch(identity, metrics=metrics[start : start + _AT_ONCE])
    client.set_terminated(identity, "FINISHED", end_time=evaluated)
    link = f"{uri.rstrip('/')}/#/experiments/{experiment}/runs/{identity}"
    return link if uri.startswith("http") else f"{uri} run {identity}"


def _milliseconds(when: str) -> int:
    return int(datetime.fromisoformat(when).timestamp() * 1000)
