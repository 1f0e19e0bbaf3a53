"""What else a base model is beside its language part, and what its parts are called elsewhere.

A model that also sees may be trained by a class that holds its language part alone. Whoever serves
it opens the whole, in which the same layers have longer names; what is written of a training bears
those.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForMultimodalLM, PreTrainedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Where a language part lies: in the model that is open here, and in the whole."""

    here: str
    """As in `model`."""
    whole: str
    """As in `model.language_model`; the same where the whole model is open."""

    def elsewhere(self, name: str) -> str:
        """Return what the whole model calls something of the model that is open here."""
        return _moved(name, self.here, self.whole)

    def back(self, name: str) -> str:
        """Return the reverse; names of the model that is open here stay what they are."""
        if self.here == self.whole or not _within(name, self.whole):
            return name
        return _moved(name, self.whole, self.here)


def language_part(folder: Path, model: PreTrainedModel) -> Part:
    """Return where the language part of a model lies.

    Args:
        folder: What it was opened from.
        model: As it is open here, without adapters.
    """
    here = decoder_name(model)
    whole = whole_model(folder, model)
    return Part(here=here, whole=here if whole is None else decoder_name(whole))


def whole_model(folder: Path, model: PreTrainedModel) -> PreTrainedModel | None:
    """Return the whole that a model is the language part of, without weights; None where it is all.

    Args:
        folder: What it was opened from.
        model: As it is open here.
    """
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    if type(config) is type(model.config):
        return None
    with torch.device("meta"):
        return AutoModelForMultimodalLM.from_config(config)


def decoder_name(model: PreTrainedModel) -> str:
    """Return the name of a model's language part; empty where it is the model itself."""
    decoder = model.get_decoder()
    return next((name for name, module in model.named_modules() if module is decoder), "")


def beside_language(model: PreTrainedModel) -> list[str]:
    """Return the linear layers that belong to no language part: those of what sees or hears."""
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
