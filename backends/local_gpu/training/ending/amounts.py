"""Tokens that a training has read, also where it ended within an epoch."""

from itertools import chain, islice

from backends.local_gpu.training.trainer import LabelledTrainer


def amounts(trainer: LabelledTrainer) -> tuple[int, int]:
    """Return the tokens that the steps so far have read, and how many of them are in the loss."""
    train, batches = trainer.objective.train, trainer.batches
    epochs, rest = divmod(trainer.state.global_step, trainer.steps_per_epoch)
    tokens, labels = train.rows.count * epochs, train.rows.labels * epochs
    if rest:
        batches.epoch = epochs
        begun = islice(batches, rest * batches.accumulation)
        more, learned = train.part(list(chain.from_iterable(begun)))
        tokens, labels = tokens + more, labels + learned
    return tokens, labels


def passes(trainer: LabelledTrainer) -> float:
    """Return the passes over the training set so far, by their tokens."""
    return amounts(trainer)[0] / trainer.objective.train.rows.count
