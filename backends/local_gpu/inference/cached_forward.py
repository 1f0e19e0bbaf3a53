"""One forward pass that continues from a cache, for every family and version of transformers.

What the cache is called differs between versions and families, and a name that a model does not take
would be dropped without a word: each step would then read its newest token alone. So the name is
taken from the model's own signature, and the first pass of a loaded model is compared with passes
that read everything again. A model whose cache cannot be trusted is read whole at every step.
"""

import logging
from inspect import signature
from typing import Final

import torch
import transformers
from peft import PeftModel
from transformers import DynamicCache, PreTrainedModel

LOGGER = logging.getLogger(__name__)
_NAMES: Final = ("cache", "past_key_values", "cache_params")
"""Names of the cache in models' signatures: `cache` since transformers 5.24, and the two before it,
of which the second belongs to models that keep states."""
_COLUMNS: Final = frozenset({"full_attention", "sliding_attention"})
"""Kinds of layers whose cache has one column per token and may therefore be padded."""
_STATES: Final = frozenset({"linear_attention"})
"""Kinds of layers that keep a state alone, which has no columns that a mask could hide."""
_CACHELESS: Final = frozenset({"recurrent_gemma", "rwkv", "xlstm"})
"""Model types that keep their state outside transformers' caches: each step reads all again."""
_TRIED: Final = ((3, 1), (4, 1, 5, 9, 2, 6))
"""Prompts of the comparison: of two lengths, so that there is padding too."""
_RIGHT: Final = 0.5
"""Largest distance of a step from reading everything, as a part of the distance that a model has which
reads the newest token alone: rounding stays far below, a lost cache is at one."""
_ROUNDING: Final = 1e-5
"""The same for a model that hardly regards earlier tokens, as a part of its largest logit."""


def cache_name(model: PreTrainedModel) -> str | None:
    """Return the name by which a model takes its cache; None if it takes none that we know."""
    takes = signature(model.forward).parameters
    return next((name for name in _NAMES if name in takes), None)


class CachedForward:
    """The arguments of a model's forward pass, and the kind of its cache."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._takes = frozenset(signature(model.forward).parameters)
        self._config = model.config.get_text_config()
        kinds = frozenset(getattr(self._config, "layer_types", None) or ())
        self._name = cache_name(model)
        self._is_state = bool(kinds) and kinds <= _STATES
        self.has_columns = kinds <= _COLUMNS
        """True if rows may be padded after they were read."""
        self.has_cache = self._name is not None and self._config.model_type not in _CACHELESS
        """False if each step has to read all tokens again."""

    def new_cache(self) -> DynamicCache:
        """Return an empty cache."""
        # With sliding windows, the cache would drop columns that are different in every row. The
        # mask hides them anyway.
        return DynamicCache() if self.has_columns else DynamicCache(config=self._config)

    def logits(
        self,
        model: PreTrainedModel | PeftModel,
        cache: DynamicCache | None,
        ids: torch.Tensor,
        mask: torch.Tensor,
    ) -> torch.Tensor:
        """Read tokens, and return the logits after the last column.

        Args:
            model: The model, with or without adapters.
            cache: What was read before, and is continued; None to read without one.
            ids: The tokens, padded on the left. # (rows, columns)
            mask: One for each token of a row, earlier ones included. # (rows, all columns)

        Returns:
            The logits. # (rows, vocabulary)
        """
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -ids.shape[1] :]  # (rows, columns)
        inputs = {
            "input_ids": ids,
            "attention_mask": mask,
            "position_ids": positions,
            "logits_to_keep": 1,
            "use_cache": self.has_cache and cache is not None,
        }
        if self._name is not None and inputs["use_cache"]:
            inputs[self._name] = cache
        if self._is_state and ids.shape[1] < mask.shape[1]:
            del inputs["attention_mask"]
        known = {name: value for name, value in inputs.items() if name in self._takes}
        logits: torch.Tensor = model(**known).logits
        return logits[:, -1].float()

    def verify(self, model: PreTrainedModel) -> None:
        """Compare steps from the cache with reading everything; give the cache up if they differ.

        Args:
            model: The model without adapters, in evaluation mode and in its context of precision.
        """
        fault = self._fault(model) if self.has_cache else None
        if fault is None:
            return
        self.has_cache = False
        LOGGER.warning(
            "the cache of %s is not used with transformers %s: %s. So each step reads all tokens "
            "again, which is slow but right. Another version of transformers may be faster.",
            self._config.model_type,
            transformers.__version__,
            fault,
        )

    def _fault(self, model: PreTrainedModel) -> str | None:
        """Return what is wrong with the cache; None if nothing is."""
        words = self._config.vocab_size
        rows = [[1 + token % (words - 1) for token in row] for row in _TRIED]
        try:
            stepped = self._stepped(model, rows)
        except (torch.OutOfMemoryError, torch.AcceleratorError):
            raise
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError) as error:
            return f"{type(error).__name__}: {error}"
        for place, row in enumerate(rows):
            whole, alone = self._whole(model, row), self._whole(model, row[-1:])
            apart, ignored = (stepped[place] - whole).norm(), (alone - whole).norm()
            # Negated: what is not a number is not right either.
            if not apart <= _RIGHT * ignored + _ROUNDING * whole.abs().max():
                return "a step from it differs from reading all tokens again"
        return None

    def _stepped(self, model: PreTrainedModel, rows: list[list[int]]) -> torch.Tensor:
        """Read all but the last token of padded rows, then the last one from the cache."""
        width = max(map(len, rows))
        gaps = [width - len(row) for row in rows]
        padded = torch.tensor([[0] * gap + row for gap, row in zip(gaps, rows, strict=True)])
        mask = torch.tensor([[0] * gap + [1] * (width - gap) for gap in gaps])
        padded, mask = padded.to(model.device), mask.to(model.device)
        cache = self.new_cache()
        self.logits(model, cache, padded[:, :-1], mask[:, :-1])
        return self.logits(model, cache, padded[:, -1:], mask)

    def _whole(self, model: PreTrainedModel, row: list[int]) -> torch.Tensor:
        ids = torch.tensor([row], device=model.device)
        return self.logits(model, None, ids, torch.ones_like(ids))[0]
