"""Make a small Korean base model on the spot: nothing is downloaded, one minute on two cores.

Reads the text in `small_base_corpus`, learns a tokenizer from it, trains a small Qwen3-shaped
model on it, and writes a folder in Hugging Face format. Real in every part and much too small to
be clever: it is there for trying ftctl out, and for its tests.

    python -m backends.local_gpu.models.small_base models/small-ko
"""

import argparse
import math
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

# Waiting threads that spin make a shared machine many times slower. Read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
from transformers.utils import logging

from backends.atomic_files import publish_dir
from backends.contract.errors import BackendError
from backends.local_gpu.models import small_base_corpus
from backends.local_gpu.models.small_base_corpus import Document

END_OF_TEXT: Final = "<|endoftext|>"
TURN_START: Final = "<|im_start|>"
TURN_END: Final = "<|im_end|>"

VOCABULARY: Final = 2048
"""Small, so that rare words fall into pieces that other words share."""
CONTEXT: Final = 1024
"""Longest text of the model in its settings; the position code has no weights."""
ROWS: Final = 8
ROW: Final = 128
"""A step reads ROWS rows of ROW tokens: 1,024. Many small steps teach more than few large ones."""
STEPS: Final = 600
"""One minute on two cores."""
PEAK_RATE: Final = 5e-3
"""Models this small bear, and need, a far higher rate than large ones."""
WARMUP: Final = 20
"""Steps of rising rate."""

_TEMPLATE: Final = Path(__file__).parent.parent / "templates" / "shipped" / "chatml.jinja"


def make_small_base(
    folder: Path,
    *,
    seed: int = 0,
    steps: int = STEPS,
    report: Callable[[str], None] = lambda _: None,
) -> int:
    """Train a small base model and write it into a new folder.

    The same seed gives the same bytes on one machine with one number of threads. The folder
    appears whole or not at all.

    Args:
        folder: Where the model goes; must not exist.
        seed: Decides the first weights, the sentences and their order.
        steps: Training steps; fewer make a worse model sooner.
        report: Receives progress, in words.

    Returns:
        The model's number of parameters.

    Raises:
        BackendError: The folder exists.
    """
    if folder.exists():
        raise BackendError(
            f"{folder} exists already; nothing was changed",
            f"Use it as it is, or remove it first: rm -r {folder}.",
        )
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1))
    torch.use_deterministic_algorithms(mode=True)
    torch.manual_seed(seed)
    documents = small_base_corpus.documents(seed)
    tokenizer = _train_tokenizer(documents)
    rows, targets = _pack(documents, tokenizer)
    report(f"corpus: {len(documents):,} documents, {rows.numel():,} tokens")
    model = Qwen3ForCausalLM(_config(tokenizer))
    _train(model, rows, targets, steps, report)
    _write(folder, model, tokenizer)
    return sum(weight.numel() for weight in model.parameters())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a command.

    Args:
        arguments: The command line without the program's name; sys.argv when absent.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(
        prog="python -m backends.local_gpu.models.small_base",
        description="Make a small Korean base model, without any download, in about a minute.",
    )
    parser.add_argument("folder", type=Path, help="new folder for the model")
    parser.add_argument("--seed", type=int, default=0, help="another number, another model")
    options = parser.parse_args(arguments)
    logging.disable_progress_bar()
    start = time.monotonic()
    try:
        parameters = make_small_base(options.folder, seed=options.seed, report=_say)
    except BackendError as error:
        sys.stderr.write(f"{error.message}\n  {error.remedy}\n")
        return 1
    _say(f"{options.folder}: {parameters:,} parameters, {time.monotonic() - start:.0f} s")
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _train_tokenizer(documents: Sequence[Document]) -> PreTrainedTokenizerFast:
    """Learn byte-level BPE: every text can be written, whatever its letters."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[
            AddedToken(text, special=True) for text in (END_OF_TEXT, TURN_START, TURN_END)
        ],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(_texts(documents), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=TURN_END,
        pad_token=END_OF_TEXT,
        chat_template=_TEMPLATE.read_text(encoding="utf-8"),
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )


def _texts(documents: Sequence[Document]) -> list[str]:
    """Return every document's words; a role is so frequent that it becomes one token."""
    return [
        text
        for document in documents
        for text in (
            [document]
            if isinstance(document, str)
            else [text for turn in document for text in (turn["role"], turn["content"])]
        )
    ]


def _pack(
    documents: Sequence[Document], tokenizer: PreTrainedTokenizerFast
) -> tuple[torch.Tensor, torch.Tensor]:
    """Write all documents one after the other and cut the stream into rows.

    Returns:
        The rows, and the same rows with -100 for texts of users, which are not learned: their
        questions are drawn at random, and guessing them would be most of the work.
    """
    rendered = [
        document
        if isinstance(document, str)
        else tokenizer.apply_chat_template(document, tokenize=False)
        for document in documents
    ]
    stream = tokenizer(END_OF_TEXT.join(rendered) + END_OF_TEXT, verbose=False)["input_ids"]
    start, end, user = (
        tokenizer.convert_tokens_to_ids(token) for token in (TURN_START, TURN_END, "user")
    )
    learned, asked = [], False
    for token, following in zip(stream, [*stream[1:], end], strict=True):
        asked = asked or (token == start and following == user)
        learned.append(-100 if asked else token)
        asked = asked and token != end
    count = len(stream) // ROW
    rows, targets = (
        torch.tensor(tokens[: count * ROW]).view(count, ROW)  # (count, ROW)
        for tokens in (stream, learned)
    )
    return rows, targets


def _positions(rows: torch.Tensor, boundary: int) -> torch.Tensor:
    """Count from 0 in every document, which also keeps documents from seeing each other."""
    place = torch.arange(ROW).expand_as(rows)  # (count, ROW)
    ends = torch.where(rows == boundary, place + 1, 0).roll(1, dims=1)
    ends[:, 0] = 0
    return place - ends.cummax(dim=1).values


def _config(tokenizer: PreTrainedTokenizerFast) -> Qwen3Config:
    return Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=6,
        head_dim=32,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        # Near 1/sqrt(hidden_size); the usual 0.02 is for large models and learns slowly here.
        initializer_range=0.06,
        bos_token_id=None,
        eos_token_id=tokenizer.convert_tokens_to_ids(TURN_END),
        pad_token_id=tokenizer.convert_tokens_to_ids(END_OF_TEXT),
    )


def _train(
    model: Qwen3ForCausalLM,
    rows: torch.Tensor,
    targets: torch.Tensor,
    steps: int,
    report: Callable[[str], None],
) -> None:
    """Predict each next token of every row: AdamW, warm-up, then a cosine down to zero."""
    model.train()
    # Norms and biases have one dimension; shrinking them only hurts.
    matrices = [weight for weight in model.parameters() if weight.dim() > 1]
    vectors = [weight for weight in model.parameters() if weight.dim() == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
        lr=PEAK_RATE,
        betas=(0.9, 0.95),
    )
    boundary = int(model.config.pad_token_id)
    order = torch.cat([torch.randperm(len(rows)) for _ in range(steps * ROWS // len(rows) + 1)])
    start = time.monotonic()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = PEAK_RATE * _rate(step, steps)
        chosen = order[step * ROWS : (step + 1) * ROWS]  # (ROWS,)
        batch = rows[chosen]  # (ROWS, ROW)
        loss = model(
            input_ids=batch,
            position_ids=_positions(batch, boundary),
            labels=targets[chosen],
            use_cache=False,
        ).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        done = step + 1
        if done % max(steps // 20, 1) == 0:
            left = (time.monotonic() - start) / done * (steps - done)
            report(f"{100 * done // steps:3d} %  loss {loss.item():.2f}  {left:.0f} s left")


def _rate(step: int, steps: int) -> float:
    """Return the share of the peak rate at a step."""
    if step < WARMUP:
        return (step + 1) / WARMUP
    return 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / max(steps - WARMUP, 1)))


def _write(folder: Path, model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    """Write a folder beside the final one, then give it its name."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        model.generation_config = GenerationConfig(
            eos_token_id=model.config.eos_token_id, pad_token_id=model.config.pad_token_id
        )
        model.eval().save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        # Temporary folders and safetensors are private at first; a model is as open as others.
        unfinished.chmod(0o755)
        for path in unfinished.iterdir():
            path.chmod(0o644)
        publish_dir(unfinished, folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


if __name__ == "__main__":
    sys.exit(main())
