"""Parts of a base model beside its language part, and layer names in the whole model.

A model with vision may be trained by a class that contains only its language part. Servers load
the whole model, in which the same layers have longer names. Trained weights are written under the
longer names.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForMultimodalLM, PreTrainedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Names of a language part: in the loaded model, and in the whole model."""

    here: str
    """Name in the loaded model, such as `model`."""
    whole: str
    """Name in the whole model, such as `model.language_model`; equal if the whole is loaded."""

    def elsewhere(self, name: str) -> str:
        """Return the whole model's name for a layer of the loaded model."""
        return _moved(name, self.here, self.whole)

    def back(self, name: str) -> str:
        """Return the loaded model's name for a layer, given that name or the whole model's."""
        if self.here == self.whole or not _within(name, self.whole):
            return name
        return _moved(name, self.whole, self.here)


def language_part(folder: Path, model: PreTrainedModel) -> Part:
    """Return the names of a model's language part.

    Args:
        folder: Folder that the model was loaded from.
        model: The loaded model, without adapters.
    """
    here = decoder_name(model)
    whole = whole_model(folder, model)
    return Part(here=here, whole=here if whole is None else decoder_name(whole))


def whole_model(folder: Path, model: PreTrainedModel) -> PreTrainedModel | None:
    """Return the whole model without weights; None if the loaded model is already the whole.

    Args:
        folder: Folder that the model was loaded from.
        model: The loaded model.
    """
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    if type(config) is type(model.config):
        return None
    with torch.device("meta"):
        return AutoModelForMultimodalLM.from_config(config)


def decoder_name(model: PreTrainedModel) -> str:
    """Return the name of a model's language part; empty if the model is the language part."""
    decoder = model.get_decoder()
    return next((name for name, module in model.named_modules() if module is decoder), "")


def shares_weights(model: PreTrainedModel) -> bool:
    """Return True if a model uses the same weights for its input and its output layer."""
    head = model.get_output_embeddings()
    return head is not None and head.weight is model.get_input_embeddings().weight


def beside_language(model: PreTrainedModel) -> list[str]:
    """Return the linear layers outside the language part, such as vision and audio layers."""
    inside, head = decoder_name(model), model.get_output_embeddings()
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head and not _within(name, inside)
    ]


def _within(name: str, part: str) -> bool:
    return not part or name == part or name.startswith(f"{part}.")


def _moved(name: str, old: str, new: str) -> str:
    return new + name.removeprefix(old) if _within(name, old) else name
