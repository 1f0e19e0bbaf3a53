"""What servers say when something is wrong, in words, each with what to do next. Pure."""

import re
from collections.abc import Sequence
from typing import Final

from backends.base import BackendError
from backends.openai.wire import Body, Refused, Unclear, clean, texts

ELSEWHERE: Final = (
    "train it on your own GPU (`backend: local-gpu`), or at another server (`endpoint: NAME` in "
    "the spec, declared in ftctl.yaml)"
)
_REFUSED: Final = {
    "training_not_available": ("does not train for this organisation any more", ELSEWHERE),
    "model_not_available": (
        "does not train that base model",
        "name a dated snapshot that the server trains (`base_model: gpt-4o-mini-2024-07-18`), or "
        + ELSEWHERE,
    ),
    "insufficient_quota": (
        "has no credit left",
        "add credit or raise the limit in the service's billing settings; waiting does not help",
    ),
    "rate_limit_exceeded": (
        "was asked too often",
        "wait a few minutes and run the same command again",
    ),
}
_BY_STATUS: Final = {
    401: ("does not accept the key", "check the variable that `api_key_env` names"),
    403: (
        "does not allow this to the key",
        "give the key the rights to files, fine-tuning jobs and models, or use another key",
    ),
    404: ("does not know this", "check `base_url`, usually ending in /v1, and the key's project"),
    413: ("finds the file too large", "train on fewer or shorter examples"),
    422: ("does not accept the request", "correct what it names in the spec"),
    429: ("was asked too often", "wait a few minutes and run the same command again"),
}
_SCOPES: Final = "Missing scopes:"
_JOB: Final = {
    "invalid_training_file": "correct the examples named above, then apply again",
    "invalid_validation_file": "correct the held-out examples named above, then `ftctl retry`",
    "invalid_n_examples": "add examples: most servers want at least 10",
    "exceeded_quota": "add credit or raise the limit at the service, then `ftctl retry`",
    "insufficient_quota": "add credit or raise the limit at the service, then `ftctl retry`",
}
_LINES: Final = re.compile(r"\b([Ee]xamples?|[Ll]ines?)\b[: ]+(\d+(?:, ?\d+)*)")
_FIRST: Final = 10
"""How many places a message names."""


def refusal(error: Refused, server: str) -> BackendError:
    """Say what a server refused, and what to do.

    Args:
        error: What it said.
        server: The endpoint's name and address, for people.
    """
    if error.code in _REFUSED:
        what, remedy = _REFUSED[error.code]
    elif _SCOPES in error.message:
        what = "finds rights missing in the key"
        remedy = f"give the key these rights: {_after(error.message, _SCOPES)}"
    elif not error.speaks and error.status not in {401, 429}:
        what = "does not speak the OpenAI API there"
        remedy = "check `base_url`: it usually ends in /v1"
    else:
        what, remedy = _BY_STATUS.get(
            error.status, ("refused the request", "correct what it names in the spec")
        )
    code = f", {error.code}" if error.code else ""
    return BackendError(f"{server} {what}: {error.message} (HTTP {error.status}{code})", remedy)


def silence(error: Unclear, server: str) -> BackendError:
    """Say that a server gave no usable answer to something that may be asked again."""
    if not error.sent:
        return BackendError(
            f"{server} cannot be reached: {error.reason}",
            "check `base_url` and the network, then run the same command again",
        )
    if "no JSON" in error.reason or "no list" in error.reason:
        return BackendError(
            f"{server} does not speak the OpenAI API there: {error.reason}",
            "check `base_url`: it usually ends in /v1",
        )
    return BackendError(
        f"{server} gave no usable answer: {error.reason}",
        "run the same command again in a few minutes",
    )


def spoken(error: Refused | Unclear, server: str) -> BackendError:
    """Turn whatever went wrong with a call into words."""
    return refusal(error, server) if isinstance(error, Refused) else silence(error, server)


def job_error(job: Body, origins: Sequence[str] = ()) -> str | None:
    """Say why a job failed; None when it carries no error (`null`, `{}`, all null).

    Args:
        job: The job as the server describes it.
        origins: `file:line` of every example of the training file, when known here.
    """
    error = job.get("error")
    if isinstance(error, str) and error:
        return clean(error)
    if not isinstance(error, dict):
        return None
    said = clean(" ".join(texts(error, "message")))
    code = clean(" ".join(texts(error, "code")))
    if not said and not code:
        return None
    lines = [f"{code}: {said}" if code and said else code or said]
    if code == "invalid_training_file" or "raining file" in said:
        lines += [f"{where} (example {number})" for number, where in _places(said, origins)]
    if code in _JOB:
        lines.append(_JOB[code])
    return "\n".join(lines)


def _places(said: str, origins: Sequence[str]) -> list[tuple[int, str]]:
    """Find the source lines of the examples that a message names, counted from one."""
    numbers = [
        int(number)
        for found in _LINES.finditer(said)
        for number in found.group(2).replace(" ", "").split(",")
        if "has" not in said[max(0, found.start() - 6) : found.start()]
    ]
    unique = list(dict.fromkeys(numbers))[:_FIRST]
    return [(n, origins[n - 1]) for n in unique if 0 < n <= len(origins)]


def _after(text: str, mark: str) -> str:
    return text.partition(mark)[2].strip().rstrip(".")
