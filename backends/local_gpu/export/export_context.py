"""Subject of one export: the trained model, its base, its chat, and the questions to ask."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import torch

from backends.contract.jobs import TrainRequest
from backends.local_gpu.export.greedy_answers import EXACT_TOLERANCE, TOLERANCE
from backends.local_gpu.export.probes import Probe, probes_of
from backends.local_gpu.jobs.run_dir import RunDir, read_request
from backends.local_gpu.json_files import read_json
from backends.local_gpu.models.base_folders import base_folder
from backends.local_gpu.models.base_models import longest_context
from backends.local_gpu.models.model_folders import stored_dtypes
from backends.local_gpu.tokens.chat_tokens import Chat, load_chat

_SHARE: Final = 0.6
"""Share of the free memory that a model in float32 may take."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """One export: the trained model, the folder to fill, and what is read for both."""

    run: RunDir
    name: str
    format: str
    folder: Path
    work: Path
    """Folder for logs."""
    where: torch.device
    say: Callable[[str], None]

    @cached_property
    def request(self) -> TrainRequest:
        """The training of the model."""
        return read_request(self.run)

    @cached_property
    def base(self) -> Path:
        """Folder of the base model."""
        return base_folder(self.request.base_model)

    @cached_property
    def chat(self) -> Chat | None:
        """The chat of the model; None for a model of plain texts."""
        settings = self.request.hyperparameters
        if "chat_template" not in settings:
            return None
        template = settings["chat_template"]
        return load_chat(
            self.base,
            None if template is None else str(template),
            thinking=settings.get("thinking") == "on",
        )

    @cached_property
    def stops(self) -> frozenset[int]:
        """Tokens that end an answer."""
        if self.chat is not None:
            return self.chat.stops
        named = (read_json(self.run.model / "generation_config.json") or {}).get("eos_token_id")
        listed = named if isinstance(named, list) else [named]
        return frozenset(one for one in listed if one is not None)

    @cached_property
    def probes(self) -> tuple[list[Probe], str]:
        """Questions, and their origin in words."""
        longest = longest_context(self.request.base_model)
        return probes_of(self.run.held_out, self.chat, self.base, longest)

    @cached_property
    def questions(self) -> list[Sequence[int]]:
        """Tokens of the questions."""
        return [probe.ids for probe in self.probes[0]]

    @cached_property
    def stored(self) -> torch.dtype:
        """Most common type of the base model's weights."""
        return stored_dtypes(self.base)[0]

    @cached_property
    def dtype(self) -> torch.dtype:
        """Precision in which answers are compared: float32 where the memory suffices."""
        size = sum(path.stat().st_size for path in self.base.glob("*.safetensors"))
        if self.where.type == "cuda":
            free, _ = torch.cuda.mem_get_info()
        else:
            free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return torch.float32 if 4 * size / self.stored.itemsize < _SHARE * free else self.stored

    @property
    def tolerance(self) -> float:
        """Nats between two tokens that count as a tie."""
        exact = self.stored == self.dtype == torch.float32
        return EXACT_TOLERANCE if exact else TOLERANCE
