"""Labels: short answers that are compared as classes. Pure."""

from collections.abc import Iterable

from controller.evaluate.answers import Answer


def label_of(text: str) -> str:
    """Return a label as it is compared: without case and blanks around it."""
    return text.strip().casefold()


def labels_of(references: Iterable[Answer]) -> list[str]:
    """Return the labels among expected answers, in order of appearance; calls are no labels."""
    return list(dict.fromkeys(label_of(one.text) for one in references if not one.calls))
