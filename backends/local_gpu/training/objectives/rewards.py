"""Rewards of answers: how much likelier a model makes them than its base model does.

A reward is `beta` times the difference of both log-probabilities, summed over the answer's tokens.
"""

from typing import Final

import torch

ACCURACY: Final = "reward_accuracy"
MARGIN: Final = "reward_margin"


def of_pairs(chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
    """Return the sums of preference pairs' rewards, for `named`.

    Args:
        chosen: Rewards of the preferred answers: (pairs,).
        rejected: Rewards of the other answers: (pairs,).
    """
    count = torch.tensor(float(len(chosen)), device=chosen.device)
    right = (chosen > rejected).sum()
    return torch.stack([right, count, chosen.sum(), count, rejected.sum(), count]).detach()


def of_marked(rewards: torch.Tensor, good: torch.Tensor) -> torch.Tensor:
    """Return the sums of marked answers' rewards, for `named`.

    Args:
        rewards: Rewards of the answers: (answers,).
        good: For each answer, True if it is marked as good.
    """
    right = torch.where(good, rewards > 0, rewards < 0).sum()
    count = torch.tensor(float(len(rewards)), device=rewards.device)
    goods = good.sum()
    of_good = (rewards * good).sum()
    return torch.stack(
        [right, count, of_good, goods, rewards.sum() - of_good, count - goods]
    ).detach()


def named(observed: torch.Tensor) -> dict[str, float]:
    """Return the accuracy and the margin of rewards by their sums.

    The accuracy is the share of pairs whose preferred answer has the higher reward, or of marked
    answers whose reward has the right sign. The margin is the mean reward of good answers minus
    that of bad ones; it is absent where one kind is.
    """
    right, count, good, goods, bad, bads = observed.tolist()
    found = {ACCURACY: right / count} if count else {}
    if goods and bads:
        found[MARGIN] = good / goods - bad / bads
    return found
