"""Make many answers at once: answers join and leave a running batch between two steps.

Rows are padded on the left, so all of them end in the same column and a step adds one column. A new
answer is read by itself first; its cache is then put beside the running one, the narrower of both
padded. A row's positions count its own tokens only, so moving a row changes nothing for it: greedy
answers are those of transformers' `generate`, whatever else is in the batch.

A model whose layers keep a state instead of columns cannot be padded later. Its answers start
together, and others join once all of them have ended. A model without a cache makes one answer at a
time.
"""

import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final
from weakref import WeakSet

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import ParamWrapper
from peft.utils import ModulesToSaveWrapper
from transformers import DynamicCache, PreTrainedModel

from backends.contract.completions import COLDEST
from backends.local_gpu.inference.active_answer import BASE, ActiveAnswer, Blame, Piece
from backends.local_gpu.inference.cached_forward import CachedForward

_ANSWERS: Final = 64
"""Answers that are made at once."""
_TOKENS: Final = 32_768
"""Columns times rows that the cache may grow to; 4 GiB of cache for a model of 8 billion."""
_PREFILL: Final = 8_192
"""Columns times rows that are read at once; bounds how long running answers wait."""
_ALONE: Final = (ParamWrapper, ModulesToSaveWrapper)
"""Layers of adapters that cannot serve beside other adapters in one step."""


class Batch:
    """A model and the answers that it is making."""

    def __init__(self, model: PreTrainedModel, dtype: torch.dtype) -> None:
        self.model: PreTrainedModel | PeftModel = model.eval()
        self.waiting: deque[ActiveAnswer] = deque()
        self.running: list[ActiveAnswer] = []
        self._active: str | None = None
        """Adapter that the whole model is switched to; None while rows name theirs."""
        self._failed: list[tuple[int, Exception]] = []
        self._fused = False
        """True if an adapter changes fused experts or whole layers, which serve one at a time."""
        self._names: list[str] | None = None
        """Each row's adapter; None while all have the active one."""
        self._hooked: WeakSet[torch.nn.Module] = WeakSet()
        self._dtype = dtype
        self._device = model.device
        self._forward = CachedForward(model)
        with torch.inference_mode(), self.computing():
            self._forward.verify(model)
        self._cache = self._forward.new_cache()
        self._mask = torch.zeros(0, 0, dtype=torch.long, device=self._device)  # (rows, columns)

    @property
    def busy(self) -> bool:
        """True if an answer is left to make."""
        return bool(self.running or self.waiting)

    @property
    def adapters(self) -> set[str]:
        """The adapters of the answers that are left to make."""
        return {answer.adapter for answer in (*self.running, *self.waiting)}

    def adapt(self, model: PreTrainedModel | PeftModel) -> None:
        """Continue with the same model after an adapter was put on it or taken off."""
        self.model = model.eval()
        self._active = None
        if isinstance(model, PeftModel):
            model.base_model.enable_adapter_layers()
        self._fused = any(isinstance(layer, _ALONE) for layer in model.modules())
        for layer in model.modules():
            if isinstance(layer, LoraLayer) and layer not in self._hooked:
                layer.register_forward_pre_hook(self._name_rows, with_kwargs=True)
                self._hooked.add(layer)

    def switch(self, adapter: str) -> None:
        """Switch the whole model to one adapter, or to `BASE`; answers may name others later."""
        self._names = None
        if not isinstance(self.model, PeftModel) or adapter == self._active:
            return
        if adapter == BASE:
            self.model.base_model.disable_adapter_layers()
        else:
            self.model.base_model.enable_adapter_layers()
            self.model.set_adapter(adapter)
        self._active = adapter

    def computing(self) -> torch.autocast:
        """Return the context in which the model computes in its precision."""
        precise = self._dtype == torch.float32
        return torch.autocast(self._device.type, dtype=self._dtype, enabled=not precise)

    def step(self) -> list[Piece]:
        """Add a token to every answer, then let waiting answers join and make their first token.

        After a failed step, its answers continue one by one, so that only a failing answer ends.
        """
        try:
            return self._step()
        except (torch.OutOfMemoryError, torch.AcceleratorError):
            raise
        except Exception as error:
            answers = [answer for answer in self.running if not answer.done]
            if not answers:
                raise
            self.clear()
            if len(answers) == 1:
                self._failed.append((answers[0].id, error))
                return []
            for answer in reversed(answers):
                answer.alone = True
                self.waiting.appendleft(answer)
            return []

    def take_failed(self) -> list[tuple[int, Exception]]:
        """Return the answers that failed since the last call, and their errors."""
        failed, self._failed = self._failed, []
        return failed

    def cancel(self, number: int) -> None:
        """Give up an answer."""
        self.waiting = deque(answer for answer in self.waiting if answer.id != number)
        for answer in self.running:
            answer.done = answer.done or answer.id == number
        with torch.inference_mode():
            self._leave()

    def clear(self) -> list[int]:
        """Give up every answer that was begun, and return their IDs."""
        given_up = [answer.id for answer in self.running]
        self.running = []
        self._cache = self._forward.new_cache()
        return given_up

    def _step(self) -> list[Piece]:
        with torch.inference_mode(), self.computing():
            self._shrink()
            self._separate()
            pieces = self._take(self.running, self._continue()) if self.running else []
            self._leave()
            joining = self._admit()
            if joining:
                pieces += self._take(joining, self._join(joining))
                self._leave()
        return pieces

    def _admit(self) -> list[ActiveAnswer]:
        """Take answers that may join now out of the queue, in the order of their arrival."""
        joining: list[ActiveAnswer] = []
        while self.waiting and self._fits(joining, self.waiting[0]):
            joining.append(self.waiting.popleft())
        for answer in joining:
            answer.begun_s = answer.begun_s or time.monotonic()
        return joining

    def _shrink(self) -> None:
        """Send the newest answers back to the queue while the cache would grow too large."""
        while len(self.running) > 1 and len(self.running) * (self._mask.shape[1] + 1) > _TOKENS:
            self._send_back(self.running[-1])

    def _separate(self) -> None:
        """Send answers of other adapters back to the queue if an adapter serves by itself."""
        if self._fused and self.running:
            first = self.running[0].adapter
            for answer in reversed([one for one in self.running if one.adapter != first]):
                self._send_back(answer)

    def _send_back(self, answer: ActiveAnswer) -> None:
        answer.done = True
        self._leave()
        answer.done = False
        self.waiting.appendleft(answer)

    def _fits(self, joining: Sequence[ActiveAnswer], answer: ActiveAnswer) -> bool:
        every = [*self.running, *joining, answer]
        if len(every) == 1:
            return True
        if any(one.alone for one in every):
            return False
        if self._fused and len({one.adapter for one in every}) > 1:
            return False
        read = (len(joining) + 1) * max(len(one.read) for one in (*joining, answer))
        return (
            self._forward.has_cache
            and (self._forward.has_columns or not self.running)
            and len(every) <= _ANSWERS
            and len(every) * max(one.room for one in every) <= _TOKENS
            and (not joining or read <= _PREFILL)
        )

    def _continue(self) -> torch.Tensor:
        """Read every answer's newest token and return the logits: (rows, vocabulary)."""
        if not self._forward.has_cache:
            return self._read(self.running, self._cache)[0]
        newest = [[answer.made[-1]] for answer in self.running]
        ids = torch.tensor(newest, device=self._device)  # (rows, 1)
        self._mask = torch.cat([self._mask, torch.ones_like(ids)], dim=1)
        return self._logits(self.running, self._cache, ids, self._mask)

    def _join(self, joining: Sequence[ActiveAnswer]) -> torch.Tensor:
        """Read new answers, and put their rows below the running ones."""
        before, self.running = self.running, [*self.running, *joining]
        cache = self._forward.new_cache()
        logits, mask = self._read(joining, cache)
        if not before:
            self._cache, self._mask = cache, mask
            return logits
        gap = self._mask.shape[1] - mask.shape[1]
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

    def _read(
        self, answers: Sequence[ActiveAnswer], cache: DynamicCache
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Read answers from their beginning.

        Returns:
            Logits after each answer, (rows, vocabulary), and a mask of their tokens, (rows,
            columns).
        """
        reads = [answer.read for answer in answers]
        width = max(len(read) for read in reads)
        ids = torch.zeros(len(answers), width, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for place, read in enumerate(reads):
            ids[place, width - len(read) :] = torch.tensor(read)
            mask[place, width - len(read) :] = 1
        ids, mask = ids.to(self._device), mask.to(self._device)
        return self._logits(answers, cache, ids, mask), mask

    def _leave(self) -> None:
        """Take finished answers out, and the columns that no row needs any more."""
        kept = [place for place, answer in enumerate(self.running) if not answer.done]
        if len(kept) == len(self.running):
            return
        self.running = [self.running[place] for place in kept]
        if not kept:
            self._cache = self._forward.new_cache()
            return
        self._mask = self._mask[kept]
        if not self._forward.has_columns:
            rows = torch.tensor(kept, device=self._device)
            for layer in self._cache.layers:
                layer.reorder_cache(rows)
            return
        empty = int(self._mask.any(dim=0).int().argmax())
        self._mask = self._mask[:, empty:]
        for layer in self._cache.layers:
            if layer.is_initialized:
                layer.keys = layer.keys[kept, :, empty:]
                layer.values = layer.values[kept, :, empty:]

    def _logits(
        self,
        answers: Sequence[ActiveAnswer],
        cache: DynamicCache,
        ids: torch.Tensor,
        mask: torch.Tensor,
    ) -> torch.Tensor:
        """Return the logits after the last column: (rows, vocabulary)."""
        stay = answers is not self.running and not self._fused
        self._assign([answer.adapter for answer in answers], stay=stay)
        return self._forward.logits(self.model, cache, ids, mask)

    def _assign(self, names: Sequence[str], *, stay: bool) -> None:
        """Have every row answered by its adapter.

        Naming the rows costs up to twice the time of a small model's step, and switching the whole
        model costs several steps. So running answers switch it, and joining answers are named.
        """
        if not isinstance(self.model, PeftModel):
            return
        alone = names[0] if len(set(names)) == 1 else None
        if alone is not None and (alone == self._active or not stay):
            self.switch(alone)
            return
        self._names = list(names)
        if self._active == BASE:
            self.model.base_model.enable_adapter_layers()
            self._active = None

    def _name_rows(
        self, layer: torch.nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Name the rows' adapters for a layer, as peft's forward does at a far higher cost."""
        del layer
        return inputs, named if self._names is None else named | {"adapter_names": self._names}

    def _take(self, answers: Sequence[ActiveAnswer], logits: torch.Tensor) -> list[Piece]:
        """Choose every answer's next token."""
        chosen = logits.argmax(dim=-1)  # (rows,)
        warm = [place for place, one in enumerate(answers) if one.temperature >= COLDEST]
        if warm:
            temperatures = [[answers[place].temperature] for place in warm]
            draws = [[answers[place].chance.random()] for place in warm]
            heat = torch.tensor(temperatures, dtype=torch.float64, device=logits.device)
            steps = (logits[warm].double() / heat).softmax(dim=-1).cumsum(dim=-1)
            drawn = torch.tensor(draws, dtype=torch.float64, device=logits.device) * steps[:, -1:]
            places = torch.searchsorted(steps, drawn, right=True)  # (warm, 1)
            chosen[warm] = places[:, 0].clamp(max=logits.shape[1] - 1)
        pieces = []
        for answer, token in zip(answers, chosen.tolist(), strict=True):
            with Blame(answer, self._failed):
                pieces.append(answer.take(token))
        return pieces
