"""Cost and time of a build. Pure."""

from collections.abc import Iterator
from typing import TypeGuard

from controller.lockfile.model import Build
from controller.render.placed import again_words
from controller.render.text import dollars, duration
from controller.report.answer_model import Answers
from controller.report.words import seconds_words


def costs_of(build: Build, answers: Answers | None) -> list[tuple[str, str]]:
    """Return what training and measuring took, as pairs of words and amounts.

    Args:
        build: The build.
        answers: Answers of its evaluation; None if they are not known here.
    """
    return [*_training(build), *(_answering(answers) if answers else ())]


def _training(build: Build) -> Iterator[tuple[str, str]]:
    facts = build.facts
    if build.estimate_usd is not None:
        yield "estimated cost", dollars(*build.estimate_usd)
    if _is_number(shown := facts.get("prompt_tokens")) and shown:
        yield "tokens before each question", f"{shown:,.0f}"
    usd, as_of = facts.get("usd"), facts.get("prices_as_of")
    if _is_number(usd):
        yield "cost of training", f"${usd:,.2f}{f', prices of {as_of}' if as_of else ''}"
    seconds, tokens = facts.get("seconds"), facts.get("trained_tokens")
    if _is_number(seconds):
        yield "time of training", duration(seconds)
    if _is_number(tokens):
        yield "trained tokens", f"{tokens:,.0f}"
    if _is_number(seconds) and _is_number(tokens) and seconds > 0:
        yield "tokens per second", f"{tokens / seconds:,.0f}"
    if device := facts.get("device"):
        yield "device", str(device)
    if workers := again_words(facts):
        yield "workers", workers


def _answering(answers: Answers) -> Iterator[tuple[str, str]]:
    yield "held-out answers", f"{sum(usage.answers for usage in answers.usage):,}"
    for usage in answers.usage:
        parts = []
        if usage.tokens is not None:
            parts.append(f"{usage.tokens:,} tokens")
        if usage.latency_p50_s is not None and usage.latency_p95_s is not None:
            half, most = seconds_words(usage.latency_p50_s), seconds_words(usage.latency_p95_s)
            parts.append(f"half within {half}, 95 % within {most}")
        if usage.cut:
            parts.append(f"{usage.cut:,} cut at the limit of tokens")
        if parts:
            yield f"answers of {usage.name}", "; ".join(parts)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
