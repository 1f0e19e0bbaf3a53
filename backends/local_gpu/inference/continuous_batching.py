"""Decoding many answers at once: answers join and leave a running batch between two steps.

Rows are padded on the left, so all of them end in the same column and a step adds one column. What
joins is read by itself first; its cache is then laid beside the running one, the narrower of both
padded. A row's positions count its own tokens only, so it does not notice how far it was moved:
greedy answers are those of `generate`, whoever else is in the batch.
"""

import random
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature
from typing import Any, Final
from weakref import WeakSet

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import ParamWrapper
from transformers import DynamicCache, PreTrainedModel

from backends.contract.completions import COLDEST
from backends.local_gpu.inference.streaming_text import StreamingText, joined
from backends.local_gpu.templates.answers import Answer

BASE: Final = "__base__"
"""What peft calls a row without an adapter."""

_ROWS: Final = 64
"""Answers that are decoded at once."""
_TOKENS: Final = 32_768
"""Columns times rows that the cache may grow to; 4 GiB of cache for a model of 8 billion."""
_AHEAD: Final = 256
"""Tokens that an answer is given room for when it joins; it may turn out longer or shorter."""
_PREFILL: Final = 8_192
"""Columns times rows that are read at once; bounds how long running answers stand still."""
_JOINABLE: Final = frozenset({"full_attention", "sliding_attention"})
"""Kinds of layers whose cache has one column per token and may therefore be padded."""


@dataclass(slots=True, kw_only=True)
class Row:
    """One answer that is being made."""

    id: int
    prompt: Sequence[int]
    adapter: str
    """Name of the adapter that is to answer, or `BASE`."""
    ends: frozenset[int]
    """Tokens at which it ends."""
    text: StreamingText
    max_tokens: int
    temperature: float
    chance: random.Random
    """The request's own, so that a draw does not depend on who else is answered."""
    made: list[int] = field(default_factory=list)
    """Tokens so far, one that ended the answer included; the newest is not yet read."""
    done: bool = False
    alone: bool = False
    """True if the answer is decoded in a batch by itself, as it was in a step that failed."""

    @property
    def read(self) -> list[int]:
        """What the model is to read before it can go on."""
        return [*self.prompt, *self.made]

    @property
    def room(self) -> int:
        """Columns that it needs for now."""
        return len(self.prompt) + min(len(self.made) + _AHEAD, self.max_tokens)

    def take(self, token: int) -> "Piece":
        """Go on by one token."""
        self.made.append(token)
        ended = token in self.ends
        said = Answer() if ended else self.text.add(token)
        if ended or self.text.stopped or len(self.made) >= self.max_tokens:
            self.done = True
            said = joined(said, self.text.end())
        reason = "stop" if ended or self.text.stopped else "length"
        return Piece(
            id=self.id,
            text=said.text,
            thinking=said.thinking,
            tool_calls=said.calls,
            finish_reason=reason if self.done else None,
            prompt_tokens=len(self.prompt),
            completion_tokens=len(self.made),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What one step added to one answer."""

    id: int
    text: str
    thinking: str
    tool_calls: Sequence[Mapping[str, Any]]
    finish_reason: str | None
    prompt_tokens: int
    completion_tokens: int


class _Blaming:
    """Ends the answer that raises an error within the block, and leaves the others running."""

    def __init__(self, row: Row, failed: list[tuple[int, Exception]]) -> None:
        self._row = row
        self._failed = failed

    def __enter__(self) -> None:
        """Enter the block."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, Exception):
            return False
        self._row.done = True
        self._failed.append((self._row.id, error))
        return True


class Batch:
    """A model and the answers that it is making."""

    def __init__(self, model: PreTrainedModel, dtype: torch.dtype) -> None:
        self.model: PreTrainedModel | PeftModel = model.eval()
        self.waiting: deque[Row] = deque()
        self.rows: list[Row] = []
        self._active: str | None = None
        """What the whole model is switched to; None while rows are named."""
        self._failed: list[tuple[int, Exception]] = []
        self._fused = False
        """True if an adapter changes fused experts, which serve one adapter at a time."""
        self._names: list[str] | None = None
        """Each row's adapter; None while all have the active one."""
        self._hooked: WeakSet[torch.nn.Module] = WeakSet()
        self._dtype = dtype
        self._device = model.device
        self._takes = frozenset(signature(model.forward).parameters)
        self._config = model.config.get_text_config()
        kinds = frozenset(getattr(self._config, "layer_types", None) or ())
        # Other kinds keep a state instead of columns; such models answer one at a time.
        self._joinable = kinds <= _JOINABLE
        self._cache = self._new_cache()
        self._mask = torch.zeros(0, 0, dtype=torch.long, device=self._device)  # (rows, columns)

    @property
    def busy(self) -> bool:
        """Whether anything is left to do."""
        return bool(self.rows or self.waiting)

    @property
    def adapters(self) -> set[str]:
        """The adapters that are needed by what is left to do."""
        return {row.adapter for row in (*self.rows, *self.waiting)}

    def adapt(self, model: PreTrainedModel | PeftModel) -> None:
        """Go on with the same model after an adapter was put on it or taken off."""
        self.model = model.eval()
        self._active = None
        if isinstance(model, PeftModel):
            model.base_model.enable_adapter_layers()
        self._fused = any(isinstance(layer, ParamWrapper) for layer in model.modules())
        for layer in model.modules():
            if isinstance(layer, LoraLayer) and layer not in self._hooked:
                layer.register_forward_pre_hook(self._name_rows, with_kwargs=True)
                self._hooked.add(layer)

    def turn(self) -> list[Piece]:
        """Add a token to every answer, then let waiting answers join and make their first token.

        After a failed step, its answers continue one by one, so that only a failing answer ends.
        """
        try:
            return self._turn()
        except (torch.OutOfMemoryError, torch.AcceleratorError):
            raise
        except Exception as error:
            rows = [row for row in self.rows if not row.done]
            if not rows:
                raise
            self.clear()
            if len(rows) == 1:
                self._failed.append((rows[0].id, error))
                return []
            for row in reversed(rows):
                row.alone = True
                self.waiting.appendleft(row)
            return []

    def take_failed(self) -> list[tuple[int, Exception]]:
        """Return the answers that failed since the last call, and their errors."""
        failed, self._failed = self._failed, []
        return failed

    def _turn(self) -> list[Piece]:
        precise = self._dtype == torch.float32
        autocast = torch.autocast(self._device.type, dtype=self._dtype, enabled=not precise)
        with torch.inference_mode(), autocast:
            self._shrink()
            self._part()
            pieces = self._take(self.rows, self._step()) if self.rows else []
            self._leave()
            joining = self._admit()
            if joining:
                pieces += self._take(joining, self._join(joining))
                self._leave()
        return pieces

    def drop(self, number: int) -> None:
        """Give up an answer."""
        self.waiting = deque(row for row in self.waiting if row.id != number)
        for row in self.rows:
            row.done = row.done or row.id == number
        with torch.inference_mode():
            self._leave()

    def clear(self) -> list[int]:
        """Give up every answer that was begun, and return their IDs."""
        given_up = [row.id for row in self.rows]
        self.rows = []
        self._cache = self._new_cache()
        return given_up

    def _new_cache(self) -> DynamicCache:
        # Told of sliding windows, it would throw columns away, other ones in every row. The mask
        # hides them anyway.
        return DynamicCache() if self._joinable else DynamicCache(config=self._config)

    def _admit(self) -> list[Row]:
        """Take out of the queue what may join now, first come first served."""
        joining: list[Row] = []
        while self.waiting and self._fits(joining, self.waiting[0]):
            joining.append(self.waiting.popleft())
        return joining

    def _shrink(self) -> None:
        """Send the newest rows back to the queue while the cache would grow too large."""
        while len(self.rows) > 1 and len(self.rows) * (self._mask.shape[1] + 1) > _TOKENS:
            self._send_back(self.rows[-1])

    def _part(self) -> None:
        """Send rows of other adapters back to the queue once an adapter must serve by itself."""
        if self._fused and self.rows:
            first = self.rows[0].adapter
            for row in reversed([row for row in self.rows if row.adapter != first]):
                self._send_back(row)

    def _send_back(self, row: Row) -> None:
        row.done = True
        self._leave()
        row.done = False
        self.waiting.appendleft(row)

    def _fits(self, joining: Sequence[Row], row: Row) -> bool:
        every = [*self.rows, *joining, row]
        if len(every) == 1:
            return True
        if any(one.alone for one in every):
            return False
        if self._fused and len({one.adapter for one in every}) > 1:
            return False
        read = (len(joining) + 1) * max(len(one.read) for one in (*joining, row))
        return (
            self._joinable
            and len(every) <= _ROWS
            and len(every) * max(one.room for one in every) <= _TOKENS
            and (not joining or read <= _PREFILL)
        )

    def _step(self) -> torch.Tensor:
        """Read every row's newest token and return what may follow it: (rows, vocabulary)."""
        ids = torch.tensor([[row.made[-1]] for row in self.rows], device=self._device)  # (rows, 1)
        self._mask = torch.cat([self._mask, torch.ones_like(ids)], dim=1)
        positions = self._mask.sum(dim=1, keepdim=True) - 1  # (rows, 1)
        return self._logits(self.rows, self._cache, ids, self._mask, positions)

    def _join(self, joining: Sequence[Row]) -> torch.Tensor:
        """Read new rows, and put them below the running ones."""
        running, self.rows = self.rows, [*self.rows, *joining]
        reads = [row.read for row in joining]
        width = max(len(read) for read in reads)
        ids = torch.zeros(len(joining), width, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for place, read in enumerate(reads):
            ids[place, width - len(read) :] = torch.tensor(read)
            mask[place, width - len(read) :] = 1
        ids, mask = ids.to(self._device), mask.to(self._device)
        cache = self._new_cache()
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)  # (joining, width)
        logits = self._logits(joining, cache, ids, mask, positions)
        if not running:
            self._cache, self._mask = cache, mask
            return logits
        gap = self._mask.shape[1] - width
        ours, theirs = max(-gap, 0), max(gap, 0)
        pad = torch.nn.functional.pad
        self._mask = torch.cat([pad(self._mask, (ours, 0)), pad(mask, (theirs, 0))])
        for old, new in zip(self._cache.layers, cache.layers, strict=True):
            if old.is_initialized:  # (rows, heads, columns, size)
                for name in ("keys", "values"):
                    upper = pad(getattr(old, name), (0, 0, ours, 0))
                    lower = pad(getattr(new, name), (0, 0, theirs, 0))
                    setattr(old, name, torch.cat([upper, lower]))
        return logits

    def _leave(self) -> None:
        """Take finished rows out, and the columns that no row needs any more."""
        kept = [place for place, row in enumerate(self.rows) if not row.done]
        if len(kept) == len(self.rows):
            return
        self.rows = [self.rows[place] for place in kept]
        if not kept:
            self._cache = self._new_cache()
            return
        mask = self._mask[kept]
        empty = int(mask.any(dim=0).int().argmax())
        self._mask = mask[:, empty:]
        for layer in self._cache.layers:
            if layer.is_initialized:
                layer.keys = layer.keys[kept, :, empty:]
                layer.values = layer.values[kept, :, empty:]

    def _logits(
        self,
        rows: Sequence[Row],
        cache: DynamicCache,
        ids: torch.Tensor,
        mask: torch.Tensor,
        positions: torch.Tensor,
    ) -> torch.Tensor:
        """Return what may follow the last column: (rows, vocabulary)."""
        inputs = {
            "input_ids": ids,
            "attention_mask": mask,
            "position_ids": positions,
            "past_key_values": cache,
            "use_cache": True,
            "logits_to_keep": 1,
        }
        known = {name: value for name, value in inputs.items() if name in self._takes}
        self._assign([row.adapter for row in rows], stay=rows is not self.rows and not self._fused)
        logits: torch.Tensor = self.model(**known).logits
        return logits[:, -1].float()

    def _assign(self, names: Sequence[str], *, stay: bool) -> None:
        """Have every row answered by its adapter.

        Naming the rows costs up to twice the time of a small model's step, and switching the whole
        model costs several such steps; so it is switched only for what goes on, not for what joins.
        """
        if not isinstance(self.model, PeftModel):
            return
        alone = names[0] if len(set(names)) == 1 else None
        if alone not in {None, self._active} and not stay:
            if alone == BASE:
                self.model.base_model.disable_adapter_layers()
            else:
                self.model.base_model.enable_adapter_layers()
                self.model.set_adapter(alone)
            self._active = alone
        self._names = None if alone is not None and alone == self._active else list(names)
        if self._names is not None and self._active == BASE:
            self.model.base_model.enable_adapter_layers()
            self._active = None

    def _name_rows(
        self, layer: torch.nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Tell a layer what `adapter_names` of peft's forward would, which costs far more."""
        del layer
        return inputs, named if self._names is None else named | {"adapter_names": self._names}

    def _take(self, rows: Sequence[Row], logits: torch.Tensor) -> list[Piece]:
        """Choose every row's next token."""
        chosen = logits.argmax(dim=-1)  # (rows,)
        warm = [place for place, row in enumerate(rows) if row.temperature >= COLDEST]
        if warm:
            temperatures = [[rows[place].temperature] for place in warm]
            draws = [[rows[place].chance.random()] for place in warm]
            heat = torch.tensor(temperatures, dtype=torch.float64, device=logits.device)
            steps = (logits[warm].double() / heat).softmax(dim=-1).cumsum(dim=-1)
            drawn = torch.tensor(draws, dtype=torch.float64, device=logits.device) * steps[:, -1:]
            places = torch.searchsorted(steps, drawn, right=True)  # (warm, 1)
            chosen[warm] = places[:, 0].clamp(max=logits.shape[1] - 1)
        pieces = []
        for row, token in zip(rows, chosen.tolist(), strict=True):
            with _Blaming(row, self._failed):
                pieces.append(row.take(token))
        return pieces
