"""Pydantic's errors in our words: the same for whoever reads a file or a request."""

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backends.pydantic_errors import in_our_words

STRICT = ConfigDict(strict=True, extra="forbid")


class Exact(BaseModel):
    model_config = STRICT
    type: Literal["exact"]
    labels: list[str] = Field(default_factory=list, min_length=1, max_length=2)


class Regex(BaseModel):
    model_config = STRICT
    type: Literal["regex"]
    pattern: Annotated[str, Field(min_length=1, max_length=5, pattern="^[a-z]*$")]


class Settings(BaseModel):
    model_config = STRICT
    epochs: Literal["auto"] | Annotated[int, Field(ge=1, le=50)] = "auto"
    rate: float = Field(default=1.0, gt=0, lt=1.5, allow_inf_nan=False)
    mode: Literal["fast", "slow"] = "fast"
    on: bool = False
    layers: Literal["all"] | Annotated[list[str], Field(min_length=1)] = "all"
    metric: Annotated[Exact | Regex, Field(discriminator="type")] | None = None
    names: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    inner: Exact | None = None


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"epochs": 0}, ["epochs: must be auto or at least 1, not 0"]),
        ({"epochs": 51}, ["epochs: must be auto or at most 50, not 51"]),
        ({"epochs": "many"}, ["epochs: must be auto or a whole number, not the text 'many'"]),
        ({"epochs": True}, ["epochs: must be auto or a whole number, not true"]),
        (
            {"epochs": "3"},
            ["epochs: must be auto or a whole number, not the text '3'\n    Write the number without quotes."],
        ),
        ({"rate": 0}, ["rate: must be more than 0, not 0"]),
        ({"rate": 1.5}, ["rate: must be less than 1.5, not 1.5"]),
        ({"rate": float("nan")}, ["rate: must be a finite number, not nan"]),
        ({"rate": None}, ["rate: must be a number, not empty"]),
        (
            {"mode": "fats"},
            ["mode: must be one of fast, slow, not the text 'fats'\n    Did you mean `fast`?"],
        ),
        ({"on": "yes"}, ["on: must be true or false, not the text 'yes'\n    Write true or false."]),
        ({"layers": []}, ["layers: must not be empty"]),
        ({"layers": "alll"}, ["layers: must be all or a list, not the text 'alll'\n    Did you mean `all`?"]),
        ({"layers": ["a", 1]}, ['layers[1]: must be text, not 1\n    Quote it: "1"']),
        ({"mod": 1}, ["mod: is not a known key\n    Did you mean `mode`?"]),
        (
            {"zzz": 1},
            ["zzz: is not a known key\n    Use one of: epochs, inner, layers, metric, mode, names, on, rate."],
        ),
        ({"metric": {}}, ["metric.type: is missing\n    Add `type: …`."]),
        ({"metric": {"type": "x"}}, ["metric.type: must be one of exact, regex, not the text 'x'"]),
        ({"metric": {"type": "regex"}}, ["metric.pattern: is missing\n    Add `pattern: …`."]),
        (
            {"metric": {"type": "regex", "pattern": "toolong"}},
            ["metric.pattern: must be at most 5 characters long, not the text 'toolong'"],
        ),
        (
            {"metric": {"type": "regex", "pattern": "A"}},
            ["metric.pattern: must be of the form ^[a-z]*$, not the text 'A'"],
        ),
        ({"inner": {"type": "exact", "labels": ["a", "b", "c"]}}, ["inner.labels: must be at most 2 items long, not a list"]),
        ({"inner": {"type": "exact", "label": []}}, ["inner.label: is not a known key\n    Did you mean `labels`?"]),
        ({"names": {"a.b": -1}}, ["names.a.b: must be at least 0, not -1"]),
        ({"names": {"\x1b[2J": "x"}}, ["names.\\x1b[2J: must be a whole number, not the text 'x'"]),
        ({"names": []}, ["names: must be a mapping of keys to values, not a list"]),
        ([], ["must be a mapping of keys to values, not a list"]),
        ({"rate": 2, "mode": 1}, ["rate: must be less than 1.5, not 2", "mode: must be one of fast, slow, not 1"]),
    ],
)  # fmt: skip
def test_every_error_is_worded_with_what_was_given_and_what_is_allowed(value, said):
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate(value)
    assert [str(one.problem()) for one in in_our_words(caught.value, value, [Settings])] == said


def test_no_more_than_asked_for_are_worded():
    value = {f"key{number}": 1 for number in range(20)}
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate(value)
    assert len(in_our_words(caught.value, value, [Settings], most=7)) == 7


def test_a_long_value_is_not_repeated_whole():
    value = {"mode": "x" * 100_000, "y" * 100_000: 1}
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate(value)
    assert all(
        len(str(one.problem())) < 300 for one in in_our_words(caught.value, value, [Settings])
    )
