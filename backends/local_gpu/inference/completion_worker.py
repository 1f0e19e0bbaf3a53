"""Completing prompts with a base model and with what was trained from it.

`python -m backends.local_gpu.inference.completion_worker DIR PARENT`, started by the worker once a device is free. Reads
`request.json`, writes `answers.json`. The base is loaded once; adapters are put on it one after the
other, fully trained models are loaded by themselves.
"""

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from peft import PeftModel, get_peft_model, set_peft_model_state_dict
from transformers import GenerationConfig, PreTrainedModel, set_seed

from backends.atomic_files import write_atomic
from backends.contract.completions import COLDEST, Completion
from backends.contract.errors import BackendError, ModelMissing, PromptRefused
from backends.contract.jobs import BaseModel
from backends.local_gpu.inference.prompts import (
    conversation_of,
    text_of,
    wants_answer,
    with_reference,
)
from backends.local_gpu.jobs.child_process import exit_if_orphaned
from backends.local_gpu.json_files import json_bytes
from backends.local_gpu.models.adapters import WEIGHTS, read_adapter
from backends.local_gpu.models.model_folders import base_folder, device, load_model, precision
from backends.local_gpu.templates.messages import Conversation
from backends.local_gpu.tokens.chat_tokens import Chat, Encoded, load_chat
from backends.local_gpu.tokens.text_tokens import Documents, load_documents
from backends.local_gpu.training.batching import by_length, collate
from backends.local_gpu.training.loss import labelled_loss
from backends.local_gpu.training.tokenized_dataset import flatten

_BATCH_TOKENS: Final = 16_384
"""Tokens, answers included, that are completed at once; bounds the memory of the cache."""
_BATCH: Final = 64
"""Prompts that are completed at once."""
_BLOCK: Final = 1024
"""Tokens of a text read at once, where no training was told another number."""
_SILENCE: Final = Completion(text="", finish_reason="length")
_NOTHING_ASKED: Final = Completion(text="", finish_reason="stop")
_PROBE: Final = 16
"""Tokens of the comparison that tells an adapter from nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model that is ready to answer."""

    model: PreTrainedModel | PeftModel
    dtype: torch.dtype
    chat: Chat | None
    """None where nothing is asked."""
    documents: Documents | None
    """None where no plain text is measured."""


def main(folder: Path) -> int:
    """Answer a folder's request and write the answers, or what went wrong."""
    try:
        answers = answer(json.loads((folder / "request.json").read_bytes()))
    except BackendError as error:
        kind = type(error).__name__
        said = {"kind": kind, "message": error.message, "remedy": error.remedy}
        write_atomic(folder / "answers.json", json_bytes({"error": said}))
        return 1
    except torch.OutOfMemoryError as error:
        traceback.print_exc()
        said = {
            "kind": "BackendError",
            "message": f"out of memory while completing: {error}",
            "remedy": "Use a smaller base model, or lower max_tokens.",
        }
        write_atomic(folder / "answers.json", json_bytes({"error": said}))
        return 1
    plain = [[asdict(one) for one in of_model] for of_model in answers]
    write_atomic(folder / "answers.json", json_bytes({"answers": plain}))
    return 0


def answer(request: Mapping[str, Any]) -> list[list[Completion]]:
    """Answer every prompt with every model.

    Raises:
        BackendError: A model cannot be opened, or does nothing.
    """
    where = device()
    base = base_folder(BaseModel(**request["base_model"]))
    bases: dict[torch.dtype, PreTrainedModel] = {}
    answers = []
    for one in request["models"]:
        dtype = precision("auto" if one is None else one["dtype"], where)
        ready = partial(_model, request, base, one, dtype)
        if one is not None and not one["adapter"]:
            trained = load_model(Path(one["folder"]), dtype, where)
            answers.append(_answer(ready(trained), request))
            continue
        if dtype not in bases:
            # One base at a time: two precisions of it might not fit.
            bases = {dtype: load_model(base, dtype, where)}
        if one is None:
            answers.append(_answer(ready(bases[dtype]), request))
            continue
        adapted = _with_adapter(bases[dtype], one, base)
        answers.append(_answer(ready(adapted), request))
        bases = {dtype: adapted.unload()}
    return answers


def _model(
    request: Mapping[str, Any],
    base: Path,
    one: Mapping[str, Any] | None,
    dtype: torch.dtype,
    model: PreTrainedModel | PeftModel,
) -> Model:
    """Put a model together with what reads its prompts.

    The base is asked as the first trained model is: by its template, in blocks of its length.
    """
    chosen = one or next((other for other in request["models"] if other is not None), None) or {}
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    length = chosen.get("max_length") or _BLOCK
    asked = [wants_answer(prompt) for prompt in request["prompts"]]
    return Model(
        model=model,
        dtype=dtype,
        chat=_chat(base, chosen) if any(asked) else None,
        documents=None if all(asked) else load_documents(base, min(length, context or length)),
    )


def _chat(base: Path, chosen: Mapping[str, Any]) -> Chat:
    """Open a chat that renders prompts as in training."""
    thinking = bool(chosen.get("thinking"))
    return load_chat(base, chosen.get("chat_template"), thinking=thinking)


def _with_adapter(model: PreTrainedModel, one: Mapping[str, Any], base: Path) -> PeftModel:
    """Put a trained adapter on the base and make sure that it is whole and does something.

    Raises:
        ModelMissing: Its weights are gone.
        BackendError: They do not fit, or change nothing.
    """
    weights = Path(one["folder"]) / WEIGHTS
    if not weights.exists():
        raise ModelMissing(f"the weights of {one['id']} are gone: {weights}", "Train it again.")
    before = _probe(model)
    try:
        config, values = read_adapter(weights.parent, base, model)
        adapted = get_peft_model(model, config)
        set_peft_model_state_dict(adapted, values)
        stored = set(values)
    except Exception as error:  # torn files and foreign ones fail in many ways
        raise BackendError(
            f"the adapter of {one['id']} cannot be loaded: {error}",
            f"Train it again with `ftctl retry NAME`: its folder is damaged ({one['folder']}).",
        ) from error
    expected = {
        name.replace(".default", "") for name, _ in adapted.named_parameters() if ".lora_" in name
    }
    if stored != expected:
        missing, unknown = sorted(expected - stored)[:3], sorted(stored - expected)[:3]
        raise BackendError(
            f"the adapter of {one['id']} does not fit the base model "
            f"(missing: {missing}, unknown: {unknown})",
            "Use the base model that it was trained from.",
        )
    if torch.equal(before, _probe(adapted)):
        raise BackendError(
            f"the adapter of {one['id']} changes nothing on the base model",
            "Train it again with `ftctl retry NAME`.",
        )
    adapted.eval()
    return adapted


def _probe(model: PreTrainedModel | PeftModel) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        ids = torch.arange(1, _PROBE + 1, device=model.device)[None]
        logits: torch.Tensor = model(input_ids=ids).logits
    return logits


def _answer(one: Model, request: Mapping[str, Any]) -> list[Completion]:
    """Answer every prompt with one model."""
    prompts, sampling = request["prompts"], request["sampling"]
    plain = one.model.get_base_model() if isinstance(one.model, PeftModel) else one.model
    plain.eval()
    said = [_SILENCE if wants_answer(prompt) else _NOTHING_ASKED for prompt in prompts]
    context = torch.autocast(plain.device.type, dtype=one.dtype, enabled=one.dtype != torch.float32)
    with torch.no_grad(), context:
        if sampling["max_tokens"] > 0 and one.chat is not None:
            asked = {place: prompt for place, prompt in enumerate(prompts) if wants_answer(prompt)}
            answered = _generate(plain, one.chat, asked, sampling)
            for place, completion in zip(asked, answered, strict=True):
                said[place] = completion
        losses = _reference_losses(plain, _references(one, prompts), len(prompts))
    return [
        replace(completion, reference_loss=loss, reference_tokens=tokens)
        for completion, (loss, tokens) in zip(said, losses, strict=True)
    ]


def _generate(
    model: PreTrainedModel,
    chat: Chat,
    asked: Mapping[int, Mapping[str, Any]],
    sampling: Mapping[str, Any],
) -> list[Completion]:
    """Return the answers, split into their parts.

    Args:
        model: The base model, without an adapter or with the right adapter active.
        chat: Chat that renders the prompts.
        asked: The prompts, by their positions in the request.
        sampling: Settings of the answers.

    Raises:
        PromptRefused: A prompt leaves no room for an answer.
    """
    # None: think as the model was trained.
    thinking = True if sampling["thinking"] else None
    conversations = [conversation_of(prompt) for prompt in asked.values()]
    prompts = [chat.prompt(conversation, thinking=thinking) for conversation in conversations]
    if not prompts:
        return []
    lengths = np.asarray([len(ids) for ids in prompts])
    longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    rooms = np.full(len(prompts), sampling["max_tokens"])
    if longest is not None:
        # An answer ends at the longest text that the model reads, as when it is served.
        rooms = np.minimum(rooms, longest - lengths)
        _require_room(list(asked), lengths, longest)
    # What the model's own file says about sampling must not slip into a greedy answer.
    model.generation_config = GenerationConfig()
    set_seed(sampling["seed"])
    completions = [_SILENCE] * len(prompts)
    for room in sorted(set(rooms.tolist()), reverse=True):
        (alike,) = np.nonzero(rooms == room)
        size = max(1, _BATCH_TOKENS // (int(lengths[alike].max()) + room))
        settings = _settings(chat, sampling, room)
        for batch in by_length(lengths[alike], min(_BATCH, size)):
            places = alike[batch]
            answers = _continued(model, [prompts[place] for place in places], settings)
            for place, ids in zip(places, answers, strict=True):
                completions[place] = _completion(chat, ids, conversations[place], thinking=thinking)
    return completions


def _require_room(places: Sequence[int], lengths: npt.NDArray[np.int64], longest: int) -> None:
    """Refuse prompts that leave no token for an answer.

    Raises:
        PromptRefused: With the first prompt that is too long, and the number of others.
    """
    (over,) = np.nonzero(lengths >= longest)
    if len(over) == 0:
        return
    more = f" (and {len(over) - 1} more)" if len(over) > 1 else ""
    first = f"prompt {places[over[0]] + 1} has {lengths[over[0]]} tokens{more}"
    raise PromptRefused(f"{first}; the base model reads {longest}", "Shorten the prompt.")


def _settings(chat: Chat, sampling: Mapping[str, Any], room: int) -> GenerationConfig:
    greedy = sampling["temperature"] < COLDEST
    return GenerationConfig(
        max_new_tokens=room,
        do_sample=not greedy,
        temperature=None if greedy else sampling["temperature"],
        top_k=None if greedy else 0,
        eos_token_id=sorted(chat.stops),
        pad_token_id=0,
    )


def _continued(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], settings: GenerationConfig
) -> list[list[int]]:
    """Return the tokens generated after each prompt of a batch."""
    width = max(map(len, prompts))
    input_ids = torch.zeros(len(prompts), width, dtype=torch.long)
    mask = torch.zeros_like(input_ids)
    for row, prompt in enumerate(prompts):
        # Pad on the left, so that every answer begins in the same column.
        input_ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    out: torch.Tensor = model.generate(
        input_ids=input_ids.to(model.device),
        attention_mask=mask.to(model.device),
        generation_config=settings,
    )
    answers: list[list[int]] = out[:, width:].tolist()
    return answers


def _completion(
    chat: Chat, ids: Sequence[int], conversation: Conversation, *, thinking: bool | None
) -> Completion:
    """Return an answer up to its first stop, split into its parts."""
    answer = chat.parse(ids, conversation, thinking=thinking)
    return Completion(
        text=answer.text,
        thinking=answer.thinking,
        tool_calls=tuple(answer.calls),
        finish_reason="stop" if chat.stops.intersection(ids) else "length",
    )


def _references(one: Model, prompts: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, Encoded]]:
    """Yield the references, encoded exactly as training does, each with its prompt's place."""
    readers = (
        (one.chat, with_reference, [place for place, p in enumerate(prompts) if wants_answer(p)]),
        (one.documents, text_of, [place for place, p in enumerate(prompts) if not wants_answer(p)]),
    )
    for reader, example_of, places in readers:
        wanted = [place for place in places if prompts[place]["reference"] is not None]
        if reader is None:
            continue
        encoded = reader.encode(example_of(prompts[place]) for place in wanted)
        for place, found in zip(wanted, encoded, strict=True):
            if isinstance(found, BackendError):
                message = f"the reference of prompt {place + 1}: {found.message}"
                raise BackendError(message, found.remedy)
            for block in reader.blocks(found):
                yield place, block


def _reference_losses(
    model: PreTrainedModel, references: Iterable[tuple[int, Encoded]], count: int
) -> list[tuple[float | None, int]]:
    """Return each reference's mean loss and its tokens."""
    encoded = list(references)
    totals, counts = [0.0] * count, [0] * count
    if encoded:
        tokens = flatten(block for _, block in encoded)
        loss = labelled_loss(model)
        room = max(1, _BATCH_TOKENS // int(tokens.lengths.max()))
        for places in by_length(tokens.lengths, min(_BATCH, room)):
            batch = {key: value.to(model.device) for key, value in collate(tokens, places).items()}
            for place, total in zip(places, loss.per_example(batch).tolist(), strict=True):
                prompt = encoded[place][0]
                totals[prompt] += total
                counts[prompt] += int(tokens[place][1].sum())
    return [
        (total / labels if labels else None, labels)
        for total, labels in zip(totals, counts, strict=True)
    ]


def _watch(parent: int, folder: Path) -> None:
    while True:
        exit_if_orphaned(parent, folder)
        time.sleep(1)


if __name__ == "__main__":
    asked = Path(sys.argv[1])
    threading.Thread(target=_watch, args=(int(sys.argv[2]), asked), daemon=True).start()
    status = main(asked)
    sys.stdout.flush()
    sys.stderr.flush()
    # As after training: nothing is left to do, and the device is wanted.
    os._exit(status)
