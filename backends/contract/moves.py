"""Models that move between machines, as the files that another machine needs. Part of the contract.

Nothing here imports anything but the standard library.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from backends.contract.jobs import BaseModel


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """Files of a trained model: its weights, and what its backend recorded of its training."""

    folder: Path
    """Folder that the names are relative to."""
    names: Sequence[str]
    """Names of the files, with `/` between folders, in order."""


class Movable(Protocol):
    """The part of a backend that lets its models be used on another machine.

    A backend may lack these methods.
    """

    def model_files(self, model_id: str) -> ModelFiles | None:
        """Return the files of a model. They hold no training data.

        Returns:
            None where a service keeps the model.

        Raises:
            ModelMissing: The model is not on this machine.
        """

    def place_model(self, model_id: str, base_model: BaseModel, folder: Path) -> None:
        """Take over a model whose files another machine returned from `model_files`.

        May be repeated: a model that is here stays as it is.

        Args:
            model_id: The model.
            base_model: The base model that it was trained from, as it is found on this machine.
            folder: Folder with the files, on the file system of the state folder. The files are
                moved out of it.

        Raises:
            BackendError: The files are not those of this model, or it is being trained here.
        """

    def weights_folder(self, model_id: str) -> Path | None:
        """Return the folder of a model's weights on this machine. A backend may lack this method.

        Returns:
            None where a service keeps the weights.

        Raises:
            ModelMissing: The model is gone.
        """
