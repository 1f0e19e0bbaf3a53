"""Answers of a backend as lists."""

from backends.contract.completions import in_order


def complete(backend, base, models, prompts, sampling):
    """Return one list per model, with one completion per prompt."""
    answers = backend.complete(base, models, prompts, sampling)
    return in_order(answers, len(models), len(prompts))
