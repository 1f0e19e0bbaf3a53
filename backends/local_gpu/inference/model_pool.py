"""Models that an engine's process has loaded: the base model, and what was trained from it."""

import gc
from collections import OrderedDict
from pathlib import Path
from typing import Final, TypeAlias

import torch

from backends.contract.errors import ModelMissing
from backends.local_gpu.inference.loaded_model import LoadedModel
from backends.local_gpu.inference.trained_models import TrainedModel
from backends.local_gpu.models.model_folders import load_model, precision
from backends.local_gpu.tokens.chat_tokens import Chat, load_chat
from backends.local_gpu.tokens.text_tokens import Documents, load_documents

_BLOCK: Final = 1024
"""Tokens of a text that are read at once, where no training sets another number."""
_Key: TypeAlias = tuple[Path, int, torch.dtype]
"""Folder of a model, its time of change, and the precision."""


class ModelPool:
    """Loaded models. A base model is loaded once per precision; its adapters are put on it."""

    def __init__(self, base: Path, where: torch.device, room: int) -> None:
        """Load nothing yet.

        Args:
            base: Folder of the base model.
            where: Device of the models.
            room: Models that may be loaded at a time, adapters not counted.
        """
        self._base = base
        self._where = where
        self._room = room
        self._pinned: _Key | None = None
        self._loaded: OrderedDict[_Key, LoadedModel] = OrderedDict()
        self._chats: dict[tuple[str | None, bool], Chat] = {}

    def models(self) -> list[LoadedModel]:
        """Return every loaded model."""
        return list(self._loaded.values())

    def keep_base(self) -> None:
        """Load the base model now, and keep it loaded."""
        self._pinned = self._key(None)
        self.load(None)

    def chat(self, asked: TrainedModel | None) -> Chat:
        """Return what turns a model's conversations into tokens, as in training."""
        key = (None, False) if asked is None else (asked.chat_template, asked.thinking)
        if key not in self._chats:
            self._chats[key] = load_chat(self._base, key[0], thinking=key[1])
        return self._chats[key]

    def documents(self, asked: TrainedModel | None, context: int | None) -> Documents:
        """Return what turns a model's plain texts into tokens, as in training.

        Args:
            asked: The model; None is the base model.
            context: Longest text that the base model reads, if it has a limit.
        """
        length = (asked.max_length if asked is not None else None) or _BLOCK
        return load_documents(self._base, min(length, context or length))

    def load(self, asked: TrainedModel | None) -> LoadedModel | None:
        """Return a model that is loaded, loading it if it is not.

        An adapter's model is the base model, and still has to be given the adapter.

        Returns:
            None while all room is taken by models that are answering.

        Raises:
            BackendError: The model cannot be opened.
        """
        key = self._key(asked)
        if key not in self._loaded:
            if not self._make_room():
                return None
            folder, _, dtype = key
            self._loaded[key] = LoadedModel(load_model(folder, dtype, self._where), dtype, folder)
        self._loaded.move_to_end(key)
        return self._loaded[key]

    def _key(self, asked: TrainedModel | None) -> _Key:
        dtype = precision("auto" if asked is None else asked.dtype, self._where)
        if asked is None or asked.adapter:
            return self._base, 0, dtype
        folder = Path(asked.folder)
        if not folder.exists():
            raise ModelMissing(f"the folder of model {asked.id} is gone: {folder}")
        # A model that was deleted and trained again has the same folder.
        return folder, folder.stat().st_mtime_ns, dtype

    def _make_room(self) -> bool:
        idle = [
            key
            for key, loaded in self._loaded.items()
            if key != self._pinned and not loaded.batch.busy
        ]
        while len(self._loaded) >= self._room and idle:
            del self._loaded[idle.pop(0)]
            gc.collect()
            if self._where.type == "cuda":
                torch.cuda.empty_cache()
        return len(self._loaded) < self._room
