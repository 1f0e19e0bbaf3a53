"""A loaded model with the adapters on it and the answers it is making."""

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from peft import PeftModel, get_peft_model, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import ModulesToSaveWrapper
from transformers import PreTrainedModel

from backends.contract.errors import BackendError, ModelMissing
from backends.local_gpu.inference.active_answer import BASE
from backends.local_gpu.inference.continuous_batching import Batch
from backends.local_gpu.inference.trained_models import TrainedModel
from backends.local_gpu.models.adapters import WEIGHTS, ZERO_HALVES, read_adapter

_ADAPTERS: Final = 8
"""Adapters that stay on a model; more stay only while in use."""


class LoadedModel:
    """A loaded model with the adapters on it and the answers it is making."""

    def __init__(self, model: PreTrainedModel, dtype: torch.dtype, folder: Path) -> None:
        self.batch = Batch(model, dtype)
        self._folder = folder
        self._adapters: OrderedDict[str, None] = OrderedDict()

    @property
    def plain(self) -> PreTrainedModel:
        """The model as transformers made it, with the active adapter within its layers."""
        model = self.batch.model
        return model.get_base_model() if isinstance(model, PeftModel) else model

    @property
    def context(self) -> int | None:
        """Longest text that the model reads, if it has a limit."""
        config = self.plain.config.get_text_config()
        length = getattr(config, "max_position_embeddings", None)
        return length if isinstance(length, int) else None

    def attach(self, asked: TrainedModel | None) -> str:
        """Return the name of a trained adapter, putting it on the model if it is not there.

        The name is `BASE` for the base model, and for a fully trained model.

        Raises:
            ModelMissing: The adapter's weights are gone.
            BackendError: The weights do not fit, or do nothing.
        """
        if asked is None or not asked.adapter:
            return BASE
        folder = Path(asked.folder)
        weights = folder / WEIGHTS
        if not weights.exists():
            raise ModelMissing(f"the weights of {asked.id} are gone: {weights}", "Train it again.")
        # A model that was deleted and trained again has the same ID. peft allows no dots in a name.
        file = weights.stat()
        name = f"{folder.parent.name}-{file.st_ino:x}-{file.st_mtime_ns:x}"
        if name not in self._adapters:
            self._make_room(_ADAPTERS)
            try:
                self._load(asked, folder, name)
            except _OtherExperts:
                # An adapter that is not in use may be in the way.
                self._make_room(1)
                self._load(asked, folder, name)
        self._adapters[name] = None
        self._adapters.move_to_end(name)
        return name

    def _make_room(self, most: int) -> None:
        for name in list(self._adapters):
            if len(self._adapters) < most:
                return
            if name not in self.batch.adapters:
                self._remove(name)
                del self._adapters[name]

    def _load(self, asked: TrainedModel, folder: Path, name: str) -> None:
        try:
            config, stored = read_adapter(folder, self._folder, self.plain)
            model = self.batch.model
            if isinstance(model, PeftModel):
                model.add_adapter(name, config)
            else:
                model = get_peft_model(model, config, adapter_name=name)
            self.batch.adapt(model)
            _check(model, stored, name, asked.id)
            set_peft_model_state_dict(model, stored, adapter_name=name)
        except BackendError:
            self._remove(name)
            raise
        except Exception as error:  # damaged files and files of other tools fail in many ways
            self._remove(name)
            if isinstance(error, ValueError) and "must target the same" in str(error):
                raise _OtherExperts(
                    f"the adapter of {asked.id} changes other parameters of the experts than "
                    "adapters that are answering now",
                    "Ask again in a moment.",
                ) from error
            raise BackendError(
                f"the adapter of {asked.id} cannot be loaded: {error}",
                f"Train it again with `ftctl retry NAME`: its folder {folder} is damaged.",
            ) from error

    def _remove(self, name: str) -> None:
        """Take an adapter off, even if it is on some of its layers only."""
        model = self.batch.model
        if isinstance(model, PeftModel):
            if name in model.peft_config:
                model.delete_adapter(name)
            else:
                _take_off(model, name)
            self.batch.adapt(model if model.peft_config else model.unload())
        else:
            _unwrap(model)


class _OtherExperts(BackendError):
    """Another adapter on the model changes other fused parameters, which peft does not support."""


def _take_off(model: PeftModel, name: str) -> None:
    for layer in model.modules():
        if isinstance(layer, BaseTunerLayer):
            layer.delete_adapter(name)


def _unwrap(model: PreTrainedModel) -> None:
    """Put back the layers that peft wrapped before it failed."""
    wrapped = [
        (path, layer) for path, layer in model.named_modules() if isinstance(layer, LoraLayer)
    ]
    for path, layer in wrapped:
        parent, _, child = path.rpartition(".")
        if isinstance(model.get_submodule(parent), LoraLayer):
            continue  # a wrapper within a wrapper, which goes with it
        setattr(model.get_submodule(parent), child, layer.get_base_layer())
    whole = [
        (path, layer)
        for path, layer in model.named_modules()
        if isinstance(layer, ModulesToSaveWrapper)
    ]
    for path, layer in whole:
        parent, _, child = path.rpartition(".")
        setattr(model.get_submodule(parent), child, layer.original_module)


def _check(model: PeftModel, stored: Mapping[str, torch.Tensor], name: str, model_id: str) -> None:
    """Require that an adapter is complete and has an effect.

    Raises:
        BackendError: The adapter does not fit, or changes nothing.
    """
    expected = {
        parameter.replace(f".{name}", "")
        for parameter, _ in model.named_parameters()
        if ".lora_" in parameter and f".{name}" in parameter
    }
    for path, layer in model.named_modules():
        if isinstance(layer, ModulesToSaveWrapper) and name in layer.modules_to_save:
            expected |= {f"{path}.{key}" for key in layer.modules_to_save[name].state_dict()}
    if stored.keys() != expected:
        missing = sorted(expected - stored.keys())[:3]
        unknown = sorted(stored.keys() - expected)[:3]
        raise BackendError(
            f"the adapter of {model_id} does not fit the base model "
            f"(missing: {missing}, unknown: {unknown})",
            "Use the base model that it was trained from.",
        )
    halves = (value for key, value in stored.items() if any(half in key for half in ZERO_HALVES))
    if not any(half.any() for half in halves):
        raise BackendError(
            f"the adapter of {model_id} changes nothing on the base model",
            "Train it again with `ftctl retry NAME`.",
        )
