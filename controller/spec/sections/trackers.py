"""The section `tracking` of `ftctl.yaml`: trackers that ftctl writes each evaluated build to."""

from urllib.parse import urlsplit

from pydantic import field_validator

from backends.pydantic_errors import InvalidValue
from controller.spec.base import NonEmpty, Strict


class MlflowTracker(Strict):
    """MLflow.

    `MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`, or `MLFLOW_TRACKING_TOKEN`, hold what
    the server asks for.
    """

    tracking_uri: NonEmpty | None = None
    """Server or store: `http://mlflow.internal:5000`, `sqlite:///mlflow.db`. When absent,
    `MLFLOW_TRACKING_URI`. A path is relative to `ftctl.yaml`."""
    experiment: NonEmpty
    """Name of the experiment; it is created if it does not exist."""

    @field_validator("tracking_uri")
    @classmethod
    def _names_no_secret(cls, uri: str | None) -> str | None:
        try:
            place = urlsplit(uri or "").netloc
        except ValueError:
            remedy = "Write an address such as http://mlflow.internal:5000."
            raise InvalidValue("is not an address", remedy) from None
        if "@" in place:
            remedy = (
                "Remove user and password from it, and export MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD; or export the whole as MLFLOW_TRACKING_URI."
            )
            raise InvalidValue("holds a user or a password", remedy)
        return uri


class WandbTracker(Strict):
    """Weights & Biases. `WANDB_API_KEY` holds the key; `WANDB_MODE=offline` writes files only."""

    project: NonEmpty
    """Project of the runs."""
    entity: NonEmpty | None = None
    """Team or user; the key's default when absent."""


class TensorboardTracker(Strict):
    """TensorBoard's event files, on this machine."""

    folder: NonEmpty
    """Folder of the runs, relative to `ftctl.yaml`."""


class TrackioTracker(Strict):
    """trackio on this machine, in `TRACKIO_DIR`; `trackio sync` copies runs to a Space."""

    project: NonEmpty
    """Project of the runs."""


class Trackers(Strict):
    """Trackers that ftctl writes each evaluated build to.

    `tracking.wandb` of a spec is something else: where the service that trains reports its losses.
    """

    mlflow: MlflowTracker | None = None
    """MLflow."""
    wandb: WandbTracker | None = None
    """Weights & Biases."""
    tensorboard: TensorboardTracker | None = None
    """TensorBoard."""
    trackio: TrackioTracker | None = None
    """trackio."""
