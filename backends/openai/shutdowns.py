"""Announced ends of a server's models: from its own list, else from the shipped table."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from backends.contract.shutdowns import ShutdownNotice, is_day
from backends.excerpt import excerpt
from backends.openai.api.protocol import Body, Rejected, read_pages, text_of
from backends.openai.prices import PriceTable, base_name

if TYPE_CHECKING:
    from backends.openai.api.client import Client

_KEY: Final = "shutdown_date"
_NO_LIST: Final = frozenset({404, 405, 501})
"""Statuses of servers that do not list models."""


def announced(
    client: "Client", models: Mapping[str, str], server: str, *, complete: bool
) -> dict[str, ShutdownNotice]:
    """Return what a server's list of models announces, by model ID.

    The model's own date counts before the date of its base model.

    Args:
        client: The server.
        models: The base model of each model ID; a base model is its own.
        server: The server's name, for people.
        complete: True if the server knows every model that it serves. A model that is neither
            listed nor found by its ID is gone then.

    Raises:
        Rejected: The server does not show its models.
        OutcomeUnknown: The server gave no usable answer.
    """
    # A fine-tuned model that is prompted is its own base; its ID names what it was trained from.
    bases = {model: base_name(base) for model, base in models.items()}
    wanted = {*models, *bases.values()}
    try:
        listed = {
            name: model
            for model in read_pages(lambda after: client.list_models(after=after), _WHOLE)
            if (name := text_of(model.get("id"))) in wanted
        }
    except Rejected as error:
        if error.status in _NO_LIST:
            return {}
        raise
    notices = {}
    for model, base in bases.items():
        found = listed.get(model)
        if found is None and model != base and complete:
            found = _retrieve(client, model)
            if found is None:
                source = f"{server} does not have it, or not for this key"
                day, _ = _first_day({}, listed.get(base, {}))
                notices[model] = ShutdownNotice(source=source, date=day, gone=True)
                continue
        day, wrong = _first_day(found or {}, listed.get(base, {}))
        source = f"{_KEY} of {server}"
        notices[model] = ShutdownNotice(source=source, date=day, wrong=wrong)
    return notices


def shipped(prices: PriceTable, models: Mapping[str, str]) -> dict[str, ShutdownNotice]:
    """Return what the shipped table announces, by model ID; models that it lacks are absent.

    Args:
        prices: The table of the server.
        models: The base model of each model ID.
    """
    source = f"table of ftctl: {prices.shutdown_source}"
    return {
        model: ShutdownNotice(source=source, date=day)
        for model, base in models.items()
        if (day := prices.shutdown_date(base) or prices.shutdown_date(model)) is not None
    }


def day_of(model: Body) -> str | None:
    """Return the last day that a model's description announces; None without a valid date."""
    return _first_day(model)[0]


_WHOLE: Final = 1 << 62
"""Models in a full page: a list without `has_more` has one page."""


def _first_day(*models: Body) -> tuple[str | None, str]:
    """Return the first valid date, and the first value that is not a date."""
    given = [model[_KEY] for model in models if model.get(_KEY) is not None]
    day = next((value for value in given if is_day(value)), None)
    wrong = next((excerpt(str(value)) for value in given if not is_day(value)), "")
    return day, wrong


def _retrieve(client: "Client", model: str) -> Body | None:
    """Return a model's description, empty if it is not shown; None if there is no such model."""
    try:
        return client.retrieve_model(model)
    except Rejected as error:
        return None if error.is_missing else {}
