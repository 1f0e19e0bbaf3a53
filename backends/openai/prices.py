"""Prices of training and of answers at api.openai.com, from a dated table.

The service bills tokens times epochs; held-out tokens are free. It chooses the number of epochs
behind `auto`; the published rule of thumb gives a range.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

from pydantic import TypeAdapter

from backends.contract.inspector import Json
from backends.contract.recording import AnswerPrice

_TABLE: Final = Path(__file__).with_name("prices.json")
_USUAL_EPOCHS: Final = 3
_FEWEST_SEEN: Final = 100
_MOST_SEEN: Final = 25_000
_MOST_AUTO_EPOCHS: Final = 25
_PER_MILLION: Final = 1e-6
UNCERTAINTY: Final = 0.1
"""Share by which a bill may exceed the token count, because the service does not publish how it
frames tool calls and tool definitions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Price of training one base model."""

    training_usd: float
    """US dollars for a million tokens in training."""
    max_example_tokens: int
    """The service cuts longer examples here, and bills what it reads."""


_UNPUBLISHED: Final = Price(training_usd=0.0, max_example_tokens=65_536)
"""A model with a price only in `ftctl.yaml`; the service's current models read this many tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceTable:
    """Prices with their date."""

    as_of: str
    """The year and month in which the service listed them."""
    prices: Mapping[str, Price]
    answers: Mapping[str, AnswerPrice] = field(default_factory=dict)
    """Prices of answers of fine-tuned models, by base model."""
    own_answers: Mapping[str, AnswerPrice] = field(default_factory=dict)
    """Prices of answers by model ID or base model, as `ftctl.yaml` says."""
    shutdown: Mapping[str, str] = field(default_factory=dict)
    """The announced last day of base models, `YYYY-MM-DD`."""
    shutdown_source: str = ""
    """Where and when these days were announced."""

    def price(self, model: str) -> Price | None:
        """Return the price of training a model; None where it is not known."""
        name = self._known(model, self.prices)
        return None if name is None else self.prices[name]

    def answer_price(self, model: str, base_model: str) -> tuple[AnswerPrice, str] | None:
        """Return the price of a model's answers and its basis; None where it is not known.

        The shipped prices are those of fine-tuned models, which differ from those of their base
        models.

        Args:
            model: The model's ID.
            base_model: Its base model.
        """
        for name in (model, base_model):
            if (own := self._known(name, self.own_answers) or name) in self.own_answers:
                return self.own_answers[own], "prices of ftctl.yaml"
        is_tuned = model != base_model or model.startswith("ft:")
        known = self._known(base_model, self.answers) if is_tuned else None
        return None if known is None else (self.answers[known], f"prices of {self.as_of}")

    def shutdown_date(self, model: str) -> str | None:
        """Return the announced last day of a base model, as of the table's date."""
        name = self._known(model, self.shutdown)
        return None if name is None else self.shutdown[name]

    @staticmethod
    def _known(model: str, names: Mapping[str, object]) -> str | None:
        base = base_name(model)
        if base in names:
            return base
        dated = [name for name in names if _is_snapshot(name, base)]
        return dated[0] if len(dated) == 1 else None


def _is_snapshot(name: str, alias: str) -> bool:
    """Return whether a name is an alias with a date behind it."""
    rest = name.removeprefix(alias)
    return rest != name and rest.startswith("-") and rest.replace("-", "").isdecimal()


def base_name(model: str) -> str:
    """Return the base model's name in a fine-tuned model's name."""
    return model.split(":")[1] if model.startswith("ft:") and ":" in model[3:] else model


def read_prices(path: Path = _TABLE) -> PriceTable:
    """Read a price table; by default the shipped table."""
    return TypeAdapter(PriceTable).validate_json(path.read_bytes())


def prices_at(
    overrides: Mapping[str, float],
    answers: Mapping[str, AnswerPrice] = MappingProxyType({}),
    *,
    official: bool,
) -> PriceTable:
    """Return the prices of a server.

    Args:
        overrides: US dollars per million trained tokens by base model, as `ftctl.yaml` says.
        answers: Prices of answers by model ID or base model, as `ftctl.yaml` says.
        official: True if the server is OpenAI's own; the shipped table holds only there.
    """
    table = read_prices()
    known = table.prices if official else {}
    own = {
        name: replace(known.get(name, _UNPUBLISHED), training_usd=usd)
        for name, usd in overrides.items()
    }
    return PriceTable(
        as_of=table.as_of if not own else f"{table.as_of} and ftctl.yaml",
        prices={**known, **own},
        answers=table.answers if official else {},
        own_answers=answers,
        shutdown=table.shutdown if official else {},
        shutdown_source=table.shutdown_source if official else "",
    )


def auto_epochs(examples: int) -> int:
    """Return the epochs that the service usually chooses for `auto`."""
    if examples * _USUAL_EPOCHS < _FEWEST_SEEN:
        return min(_MOST_AUTO_EPOCHS, _FEWEST_SEEN // max(examples, 1))
    if examples * _USUAL_EPOCHS > _MOST_SEEN:
        return max(1, _MOST_SEEN // examples)
    return _USUAL_EPOCHS


def epoch_range(setting: Json, examples: int) -> tuple[int, int]:
    """Return the minimum and maximum number of epochs of a setting."""
    if isinstance(setting, int):
        return setting, setting
    usual = auto_epochs(examples)
    return min(usual, _USUAL_EPOCHS), max(usual, _USUAL_EPOCHS)


def training_cost(price: Price, tokens: int, epochs: tuple[int, int]) -> tuple[float, float]:
    """Return the minimum and maximum price of training on some tokens, in US dollars."""
    once = tokens * price.training_usd * _PER_MILLION
    return once * epochs[0], once * epochs[1] * (1 + UNCERTAINTY)


def billed(price: Price, trained_tokens: int) -> float:
    """Return the price of a finished job, in US dollars."""
    return trained_tokens * price.training_usd * _PER_MILLION
