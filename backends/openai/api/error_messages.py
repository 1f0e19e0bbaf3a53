"""Errors of servers as `BackendError`: each with a remedy. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from backends.contract.errors import BackendError, NoAnswer
from backends.openai.api.protocol import NOT_THE_API, Body, OutcomeUnknown, Rejected, clean, text_of

ELSEWHERE: Final = (
    "Train it on your own GPU (`backend: local-gpu`), or at another server (`endpoint: NAME` in "
    "the spec, declared in ftctl.yaml)."
)
_SLOWER: Final = "Wait a few minutes and run the same command again."
_CREDIT: Final = (
    "Add credit or raise the limit in the service's billing settings; waiting does not help."
)
_PROJECT: Final = "Check `organization` and `project` of the endpoint, and which the key is for."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """A known error of the API, recognised by its code or by words of its message."""

    codes: frozenset[str] = frozenset()
    marks: tuple[str, ...] = ()
    statuses: frozenset[int] = frozenset()
    """The only statuses that match, where marks alone would be ambiguous."""
    what: str
    remedy: str

    def fits(self, error: Rejected) -> bool:
        """Return True if an error matches."""
        if self.statuses and error.status not in self.statuses:
            return False
        said = error.message.lower()
        return error.code.lower() in self.codes or any(mark in said for mark in self.marks)


_SAID: Final = (
    _Known(
        codes=frozenset({"training_not_available"}),
        what="does not train for this organisation any more",
        remedy=ELSEWHERE,
    ),
    _Known(
        codes=frozenset({"model_not_available"}),
        what="does not train that base model",
        remedy="Name a dated snapshot that the server trains, such as `base_model: "
        f"gpt-4o-mini-2024-07-18`.\n{ELSEWHERE}",
    ),
    _Known(
        codes=frozenset({"unsupported_country_region_territory"}),
        what="does not serve the country that this request comes from",
        remedy=ELSEWHERE,
    ),
    _Known(
        codes=frozenset({"ip_not_authorized"}),
        marks=("virtual network/firewall", "ip address is not", "ip is not authorized"),
        what="does not take requests from this network",
        remedy="Add this machine's address to those that the resource or project allows.",
    ),
    _Known(
        codes=frozenset({"permissiondenied", "authorizationfailed"}),
        statuses=frozenset({401, 403}),
        what="finds a role missing",
        remedy="Give the key's owner the role Cognitive Services OpenAI Contributor in Azure.",
    ),
    _Known(
        codes=frozenset({"mismatched_organization", "mismatched_project", "invalid_organization"}),
        marks=("openai-organization", "openai-project", "no such organization"),
        statuses=frozenset({400, 401, 403}),
        what="does not know the key in this organization or project",
        remedy=_PROJECT,
    ),
    _Known(
        marks=("does not have access to model",),
        what="does not let this project use the model",
        remedy="Allow the model in the project's settings at the service, or use another key.",
    ),
    _Known(
        codes=frozenset({"token_expired", "expired_token"}),
        marks=("token has expired", "token is expired", "key has expired"),
        statuses=frozenset({401, 403}),
        what="finds that the key has expired",
        remedy="Make a new key at the service, and put it where the old one was.",
    ),
    _Known(
        codes=frozenset({"account_deactivated"}),
        what="has closed the account of this key",
        remedy="Ask the service's support, or use another key.",
    ),
    _Known(
        codes=frozenset({"unknown_url"}),
        marks=("invalid url", "resource not found"),
        statuses=frozenset({404, 405}),
        what="does not know this address",
        remedy=NOT_THE_API.remedy,
    ),
    _Known(
        marks=("no such file object",),
        what="does not have the file",
        remedy="Check the key's project, and run the same command again: files belong to one project.",
    ),
    _Known(
        codes=frozenset({"model_not_found"}),
        what="has no such model",
        remedy="Check `base_model`, and whether the key's project may use it.",
    ),
)
_BY_STATUS: Final = {
    401: ("does not accept the key", "Check the variable that `api_key_env` names."),
    403: (
        "does not allow this to the key",
        "Give the key the rights to files, fine-tuning jobs and models, or use another key.",
    ),
    404: ("does not know this", "Check the key's project, and what it names."),
    413: ("finds the file too large", "Train on fewer or shorter examples."),
    422: ("does not accept the request", "Correct what it names in the spec."),
}
_FIELDS: Final = {
    "model": "`base_model` in the spec",
    "training_file": "what `data.train` names in the spec",
    "validation_file": "what `data.held_out` names in the spec",
    "seed": "`seed` in the spec",
    "suffix": "the name of the spec's file, which the model's name is made from",
    "integrations": "`tracking` in the spec; register W&B's key at the service",
    "method": "`method` in the spec",
}
"""The place in the project that a person edits, by parameter of a create call."""
_SCOPES: Final = "Missing scopes:"
_JOB: Final = {
    "invalid_training_file": "Correct the examples named above, then apply again.",
    "invalid_validation_file": "Correct the held-out examples named above, then `ftctl retry`.",
    "invalid_n_examples": "Add examples: most servers want at least 10.",
    "exceeded_quota": "Add credit or raise the limit at the service, then `ftctl retry`.",
    "insufficient_quota": "Add credit or raise the limit at the service, then `ftctl retry`.",
}
_LINES: Final = re.compile(r"\b([Ee]xamples?|[Ll]ines?)\b[: ]+(\d{1,9}(?:, ?\d{1,9})*)")
_READ: Final = 50_000
"""Characters of a message to search for places: a list of lines may be long."""
_TRAINING_TYPE: Final = (
    "Write where Azure shall train, which some models and regions need: "
    "`hyperparameters: {trainingType: GlobalStandard}` in the spec."
)
_INVALID: Final = frozenset({400, 403, 404, 422})
_NO_SUCH_ADDRESS: Final = frozenset({404, 405, 410, 501})
_FIRST: Final = 10
"""Maximum number of places that a message names."""


def rejection_error(error: Rejected, server: str) -> BackendError:
    """Return the error of a refused request, with a remedy.

    Args:
        error: The server's refusal.
        server: The endpoint's name and address, for people.
    """
    what, remedy = _meaning(error)
    code = f", {error.code}" if error.code else ""
    return BackendError(f"{server} {what}: {error.message} (HTTP {error.status}{code})", remedy)


def job_rejection_error(error: Rejected, server: str, *, lacks_training_type: bool) -> BackendError:
    """Return the error of a refused create call.

    Args:
        error: The server's refusal.
        server: The endpoint's name and address, for people.
        lacks_training_type: True if the server is Azure and the request names no training type.
    """
    found = rejection_error(error, server)
    unknown = not any(known.fits(error) for known in _SAID) and not error.is_purse_empty
    if lacks_training_type and error.is_api_error and error.status in _INVALID and unknown:
        return BackendError(found.message, f"{_TRAINING_TYPE}\n{found.remedy}")
    return found


def _meaning(error: Rejected) -> tuple[str, str]:
    """Return problem and remedy by the known cause, by code and words, or by status."""
    if error.cause is not None:
        return error.cause.what, error.cause.remedy
    if error.is_purse_empty:
        return "has no credit left", _CREDIT
    if error.must_slow_down:
        asked_s = error.retry_after_s
        return "received too many requests", (
            _SLOWER if asked_s is None else f"Run the same command again in {asked_s:.0f} s."
        )
    if _SCOPES in error.message:
        rights = _after(error.message, _SCOPES)
        return "finds rights missing in the key", f"Give the key these rights: {rights}."
    known = next((entry for entry in _SAID if entry.fits(error)), None)
    if known is not None:
        return known.what, known.remedy
    if not error.is_api_error and error.status in _NO_SUCH_ADDRESS:
        return NOT_THE_API.what, NOT_THE_API.remedy
    what, remedy = _BY_STATUS.get(
        error.status, ("refused the request", "Correct what it names in the spec.")
    )
    name, _, rest = error.param.partition(".")
    if "hyperparameters" in error.param:
        return what, f"Correct `hyperparameters.{error.param.rpartition('.')[2]}` in the spec."
    return what, f"Correct {_FIELDS[name]}." if name in _FIELDS and not rest else remedy


def no_answer_error(error: OutcomeUnknown, server: str) -> NoAnswer:
    """Return the error of a request without a usable answer, which may be sent again."""
    if error.cause is not None:
        return NoAnswer(f"{server} {error.cause.what}: {error.reason}", error.cause.remedy)
    if not error.sent:
        return NoAnswer(
            f"{server} cannot be reached: {error.reason}",
            "Check `base_url` and the network, then run the same command again.",
        )
    return NoAnswer(
        f"{server} gave no usable answer: {error.reason}",
        "Run the same command again in a few minutes.",
    )


def to_backend_error(error: Rejected | OutcomeUnknown, server: str) -> BackendError:
    """Return a failed call as an error for people."""
    return (
        rejection_error(error, server)
        if isinstance(error, Rejected)
        else no_answer_error(error, server)
    )


def job_error(job: Body, origins: Sequence[str] = ()) -> str | None:
    """Return why a job failed; None if it carries no error (`null`, `{}`, all null).

    Args:
        job: The job as the server describes it.
        origins: `file:line` of every example of the training file, when known here.
    """
    error = job.get("error")
    if isinstance(error, str) and error:
        return clean(error)
    if not isinstance(error, dict):
        return None
    said, code = clean(text_of(error.get("message"))), clean(text_of(error.get("code")))
    if not said and not code:
        return None
    lines = [f"{code}: {said}" if code and said else code or said]
    places: list[tuple[int, str]] = []
    if code == "invalid_training_file" or "raining file" in said:
        # Search the full message: the shown text may be cut within a number.
        places = _places(text_of(error.get("message"))[:_READ], origins)
        lines += [f"{where} (example {number})" for number, where in places]
    if code == "invalid_training_file" and not places:
        lines.append("Correct what it says of the training file, then apply again.")
    elif code in _JOB:
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
