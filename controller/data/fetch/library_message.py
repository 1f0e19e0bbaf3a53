"""Messages of other libraries, as short as ours and without secrets."""

from collections.abc import Iterable

_LONGEST = 300
"""Maximum characters."""


def library_message(
    error: BaseException,
    text: str | None = None,
    *,
    lines: int = 1,
    secrets: Iterable[tuple[str | None, str]] = (),
) -> str:
    """Return an error's own message on one line, or its type if it has none.

    Args:
        error: The error.
        text: Its message, if `str(error)` is not.
        lines: Number of its first lines to join.
        secrets: Texts that must not be shown, and what replaces each.
    """
    written = str(error) if text is None else text
    found = [line.strip() for line in written.splitlines() if line.strip()]
    message = " ".join(found[:lines]) or type(error).__name__
    for secret, instead in secrets:
        if secret:
            message = message.replace(secret, instead)
    return message if len(message) <= _LONGEST else f"{message[:_LONGEST]}…"
