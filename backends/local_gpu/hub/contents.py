"""Refusals of repositories that hold nothing to train, by the names of their files. Pure."""

from collections.abc import Collection
from typing import Final

from backends.contract.errors import BaseModelMissing

_PICKLES: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


def require_contents(
    hub_id: str, names: Collection[str], weights: Collection[str], original: str | None
) -> None:
    """Require a model in safetensors, with its settings and its tokenizer.

    Args:
        hub_id: ORGANISATION/NAME.
        names: Names of all files of the repository.
        weights: Names of the weights that transformers opens.
        original: The model from which this one was made, as its card tells.

    Raises:
        BaseModelMissing: It has something else, and what.
    """
    instead = f"Write `base_model: {original}`." if original else "Name the model it was made from."
    if "adapter_config.json" in names and "config.json" not in names:
        raise BaseModelMissing(f"{hub_id} is an adapter, not a whole model", instead)
    if not weights:
        raise _no_weights(hub_id, names, instead)
    if "config.json" not in names:
        raise BaseModelMissing(
            f"{hub_id} has no config.json, so it is not a model of transformers", instead
        )
    if "tokenizer.json" not in names:
        raise BaseModelMissing(
            f"{hub_id} has no tokenizer.json",
            "Download it and save its tokenizer there once with transformers, "
            "AutoTokenizer.from_pretrained(…).save_pretrained(…), and name the folder.",
        )


def _no_weights(hub_id: str, names: Collection[str], instead: str) -> BaseModelMissing:
    if any(name.endswith(".gguf") for name in names):
        return BaseModelMissing(
            f"{hub_id} has only GGUF files, which are for asking a model, not for training",
            instead,
        )
    if any(name.endswith(_PICKLES) for name in names):
        return BaseModelMissing(
            f"{hub_id} has its weights only as pickles, which can run code and are never loaded",
            "Name a revision with safetensors, or convert the weights to safetensors first: "
            "https://huggingface.co/spaces/safetensors/convert",
        )
    if any(name.endswith(".safetensors") for name in names):
        return BaseModelMissing(
            f"{hub_id} has no model.safetensors that transformers opens", instead
        )
    return BaseModelMissing(f"{hub_id} has no weights", "Check the name.")
