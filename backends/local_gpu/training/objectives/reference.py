"""Log-probabilities under the base model, computed once before a training of preferences.

The reference of an answer never changes, so one pass over all rows replaces a second pass in every
step of every epoch, and full tuning needs no second model. A file beside the checkpoints keeps what
is known, so a resumed training computes no row twice.
"""

import io
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from peft import PeftModel

from backends.atomic_files import write_atomic
from backends.local_gpu.training.batching import by_length, collate
from backends.local_gpu.training.loss import LabelledLoss
from backends.local_gpu.training.parallel.parallel import Parallel
from backends.local_gpu.training.tokenized_dataset import Tokens

FILE: Final = "reference.npz"
"""File beside the checkpoints, with an array for each set of rows."""
_SAVE_S: Final = 60.0
"""Seconds after which what is known is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A base model whose log-probabilities are wanted."""

    model: torch.nn.Module
    """The model before its training; an adapter on it is switched off."""
    loss: LabelledLoss
    precision: Callable[[], AbstractContextManager[None]]
    """Returns the context in which training computes."""
    size: int
    """Rows that go through the model at once."""
    folder: Path
    """Folder of the checkpoints."""
    note: Callable[[str], None]
    """Receives messages for people."""
    parallel: Parallel = field(default_factory=Parallel)

    def of(self, rows: Mapping[str, Tokens]) -> dict[str, npt.NDArray[np.float64]]:
        """Return the log-probability of the labelled tokens of each row, in nats.

        Args:
            rows: Rows by a name for the file.
        """
        known, world = self._kept(rows), self.parallel.world
        # Nothing is written before all processes have read.
        world.wait()
        missing = sum(int(np.isnan(one).sum()) for one in known.values())
        if not missing:
            return known
        began = saved = time.monotonic()
        with self._frozen():
            for name, tokens in rows.items():
                left = np.flatnonzero(np.isnan(known[name]))
                if not len(left):
                    continue
                for batch, counts in world.own(by_length(tokens.lengths[left], self.size)):
                    places = left[batch].tolist()
                    values = self._measured(tokens, places)
                    if counts:
                        known[name][places] = values
                    if time.monotonic() - saved > _SAVE_S:
                        self._keep(known)
                        saved = time.monotonic()
                # What other processes have measured is not known here yet.
                here = torch.from_numpy(np.nan_to_num(known[name][left]))
                known[name][left] = world.sum(here).numpy()
        self._keep(known)
        took = time.monotonic() - began
        self.note(f"measured {missing:,} answers with the base model in {took:.1f} s")
        return known

    def _measured(self, tokens: Tokens, places: list[int]) -> npt.NDArray[np.float64]:
        device = next(self.model.parameters()).device
        batch = {key: value.to(device) for key, value in collate(tokens, places).items()}
        losses = self.parallel.run(partial(self.loss.per_example, batch))
        found: npt.NDArray[np.float64] = -losses.double().cpu().numpy()
        return found

    @contextmanager
    def _frozen(self) -> Iterator[None]:
        training = self.model.training
        self.model.eval()
        off = self.model.disable_adapter() if isinstance(self.model, PeftModel) else nullcontext()
        with off, torch.no_grad(), self.precision():
            yield
        self.model.train(training)

    def _kept(self, rows: Mapping[str, Tokens]) -> dict[str, npt.NDArray[np.float64]]:
        """Return what is in the file; NaN for what is not known."""
        unknown = {name: np.full(len(tokens), np.nan) for name, tokens in rows.items()}
        try:
            with np.load(self.folder / FILE, allow_pickle=False) as kept:
                found = {name: kept[name] for name in rows}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return unknown
        same = all(found[name].shape == one.shape for name, one in unknown.items())
        return found if same else unknown

    def _keep(self, known: Mapping[str, npt.NDArray[np.float64]]) -> None:
        if not self.parallel.world.is_first:
            return
        data = io.BytesIO()
        np.savez(data, allow_pickle=False, **known)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomic(self.folder / FILE, data.getvalue())
