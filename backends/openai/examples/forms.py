"""Base of the models of published forms, and their problems in words. Pure."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, ValidationError

from backends.contract.errors import BackendError
from backends.pydantic_errors import in_our_words


class Form(BaseModel):
    """Published form of an object. Keys that the form does not name pass."""

    model_config = ConfigDict(strict=True, frozen=True)


def first_problem(
    error: ValidationError, value: object, remedies: Mapping[str, str]
) -> BackendError:
    """Return the first problem of a value: field, message and remedy.

    Args:
        error: Pydantic's error.
        value: The validated value.
        remedies: How to write a field, by its name; the innermost field with a remedy counts.
    """
    wrong = in_our_words(error, value, [], most=1)[0]
    remedy = wrong.remedy
    if wrong.kind != "value_error":
        named = (str(part) for part in reversed(wrong.path) if part in remedies)
        remedy = remedies.get(next(named, ""), remedy)
    problem = wrong.problem()
    return BackendError(f"{problem.field}: {problem.message}", remedy)
