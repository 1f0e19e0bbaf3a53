"""Trackers that a repository declares, and which of them are servers. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from backends.contract.inspector import Json
from controller.spec.sections.trackers import MlflowTracker, Trackers

_FILES: Final = frozenset({"file", "sqlite"})
_DATABRICKS: Final = "databricks"
_WITHOUT_SERVER: Final = frozenset({"offline", "disabled", "dryrun"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One tracker."""

    tracker: str
    """Key in `tracking`, name of the extra, and name of the module in `controller.track.sinks`."""
    settings: Mapping[str, Json]
    """Its settings in `ftctl.yaml`."""
    is_server: bool
    """True if what is written leaves this machine."""


def targets_of(trackers: Trackers, environment: Mapping[str, str]) -> Iterator[Target]:
    """Yield the trackers that are declared.

    Args:
        trackers: The section `tracking` of `ftctl.yaml`.
        environment: Environment variables, which the trackers' libraries read.
    """
    is_server = {
        "mlflow": trackers.mlflow is not None and _is_remote(trackers.mlflow, environment),
        "wandb": environment.get("WANDB_MODE", "").lower() not in _WITHOUT_SERVER,
        "tensorboard": False,
        "trackio": False,
    }
    for tracker in type(trackers).model_fields:
        settings = getattr(trackers, tracker)
        if settings is not None:
            yield Target(
                tracker=tracker,
                settings=settings.model_dump(mode="json"),
                is_server=is_server[tracker],
            )


def _is_remote(settings: MlflowTracker, environment: Mapping[str, str]) -> bool:
    uri = settings.tracking_uri or environment.get("MLFLOW_TRACKING_URI", "")
    scheme, separator, _ = uri.partition(":")
    return uri == _DATABRICKS or (separator == ":" and scheme not in _FILES)
