"""The examples of a run as tokens."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from backends.contract.errors import BackendError
from backends.contract.jobs import TrainRequest
from backends.contract.methods import METHODS
from backends.local_gpu.jobs.run_dir import RunDir
from backends.local_gpu.models.base_folders import base_folder
from backends.local_gpu.tokens.answer_tokens import Answers
from backends.local_gpu.tokens.chat_tokens import Chat
from backends.local_gpu.tokens.tokenizers import open_example_tokenizer
from backends.local_gpu.training.ending.stopping import require_held_out
from backends.local_gpu.training.token_files import kept_tokens
from backends.local_gpu.training.tokenized_dataset import Tokens, encode_file


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedExamples:
    """Both splits of a run, and how they were read."""

    train: Tokens
    held_out: Tokens
    chat: Chat | None
    """Template of the conversations; None for plain texts."""
    longest: int | None
    """Most tokens that the model reads, if it has a limit."""


def encode_examples(run: RunDir, request: TrainRequest) -> EncodedExamples:
    """Return the examples of a run, encoded now or by an earlier start.

    Raises:
        BackendError: Examples cannot be learned from, or there are none.
    """
    settings: Mapping[str, Any] = request.hyperparameters
    base = base_folder(request.base_model)
    longest = _longest(base)
    reader = open_example_tokenizer(
        base,
        settings.get("chat_template"),
        settings.get("max_length"),
        longest,
        thinking=settings.get("thinking") == "on",
        recipe=int(settings["recipe"]),
    )
    chat = reader if isinstance(reader, Chat) else None
    if chat is not None and METHODS[request.method].is_of_preferences:
        reader = Answers(chat=chat)
    batch = settings.get("max_tokens_per_batch")

    def encoded(path: Path, origins: Path | None) -> Tokens:
        encode = partial(encode_file, reader, path, origins, longest, batch)
        return kept_tokens(run.tokens / path.stem, path, encode)

    train_set = encoded(run.train, run.origins)
    held_out = encoded(run.held_out, None)
    require_held_out(settings, len(held_out))
    if len(train_set) == 0:
        raise BackendError("there is nothing to train on: the training set is empty")
    return EncodedExamples(train=train_set, held_out=held_out, chat=chat, longest=longest)


def _longest(base: Path) -> int | None:
    """Return the most tokens that a model reads; None if it has no limit, or cannot be opened."""
    try:
        config = AutoConfig.from_pretrained(base, local_files_only=True)
    except (OSError, ValueError, KeyError):
        # Opening the model tells what is wrong.
        return None
    found = getattr(config.get_text_config(), "max_position_embeddings", None)
    return found if isinstance(found, int) else None
