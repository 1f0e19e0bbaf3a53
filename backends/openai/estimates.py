"""Estimated cost of a job at the service."""

import hashlib
import json
from contextlib import suppress
from pathlib import Path

from backends.atomic_files import write_atomic
from backends.contract.jobs import Estimate, TrainRequest
from backends.contract.methods import REINFORCEMENT
from backends.openai.examples.inspector import open_tokens
from backends.openai.prices import PriceTable, epoch_range, training_cost


def estimate_job(
    request: TrainRequest,
    examples: int,
    tokens: int | None,
    *,
    prices: PriceTable | None,
    cache: Path,
) -> Estimate:
    """Return steps and price of a job; only OpenAI's own prices are known.

    Args:
        request: The job.
        examples: Number of training examples.
        tokens: Tokens of one epoch; None to count them.
        prices: Prices of the server; None if it is on this machine, where a job is free.
        cache: Folder for counted tokens.
    """
    epochs = epoch_range(request.hyperparameters.get("n_epochs"), examples)
    batch = request.hyperparameters.get("batch_size")
    steps = None
    if isinstance(batch, int) and epochs[0] == epochs[1]:
        steps = -(-examples // batch) * epochs[0]
    if prices is None:
        return Estimate(usd=(0.0, 0.0), steps=steps)
    price = prices.price(request.base_model.reference)
    if price is None or request.method == REINFORCEMENT.name:
        return Estimate(steps=steps)
    if tokens is None:
        tokens = _count(request, price.max_example_tokens, cache)
    usd = training_cost(price, tokens, epochs)
    return Estimate(usd=usd, steps=steps, basis=f"prices of {prices.as_of}")


def _count(request: TrainRequest, most: int, cache: Path) -> int:
    """Count the training file's tokens, once for each file and model."""
    stat = request.train.stat()
    model = request.base_model.reference
    source = [str(request.train.absolute()), stat.st_size, stat.st_mtime_ns, most, model]
    path = cache / f"{hashlib.sha256(json.dumps(source).encode()).hexdigest()[:32]}.json"
    with suppress(OSError, ValueError, RecursionError):
        known = json.loads(path.read_bytes())
        # A damaged file must not make a job cheaper than it is.
        if type(known) is int and known >= 0:
            return known
    tokens: int = open_tokens().count_file(request.train, model, most)
    write_atomic(path, f"{tokens}\n".encode())
    return tokens
