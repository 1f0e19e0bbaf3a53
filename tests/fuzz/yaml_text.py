"""Write values as YAML, including text that no YAML writer would produce; and change values."""

import copy
import json
import random
from typing import Any

from tests.fuzz.values import HOSTILE, SYNTAX, Raw


def written(value: Any, indent: int = 0) -> str:
    """Return a value as block YAML; `Raw` values are written unchanged."""
    blanks = "  " * indent
    match value:
        case Raw():
            return f" {value.text}\n"
        case dict() if value:
            lines = [
                f"{blanks}{_key(key)}:{written(item, indent + 1)}" for key, item in value.items()
            ]
            return "\n" * (indent > 0) + "".join(lines)
        case list() if value:
            return "\n" + "".join(f"{blanks}-{written(item, indent + 1)}" for item in value)
        case int() if not isinstance(value, bool):
            return f" {value}\n" if abs(value) < 10**4000 else " 1" + "0" * 4400 + "\n"
    return f" {json.dumps(value, ensure_ascii=True)}\n"


def _key(key: object) -> str:
    if isinstance(key, Raw):
        return key.text
    plain = isinstance(key, str) and key.replace("_", "a").isalnum()
    return str(key) if plain else json.dumps(key)


def changed(rng: random.Random, value: Any, *, raw: bool = True) -> Any:
    """Return a value with some of its parts replaced, dropped, doubled, renamed or swapped.

    Args:
        rng: Source of all random choices.
        value: The value.
        raw: True to allow YAML syntax in the value.
    """
    value = copy.deepcopy(value)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        places = list(_places(value))
        if not places:
            break
        holder, key = rng.choice(places)
        _change(rng, holder, key, raw=raw)
    return value


def _places(value: Any) -> Any:
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def _change(rng: random.Random, holder: Any, key: Any, *, raw: bool) -> None:
    match rng.randrange(14):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            new = rng.choice(
                [str(key) + "s", str(key).upper(), "", "a" * 300, "<<", "\x1b", "x.y", 1]
            )
            holder[new] = holder.pop(key)
        case 2 if raw and isinstance(holder, dict):
            holder[
                Raw(rng.choice(["<<", str(key), "? a", "1", "~", "[a]", "&b c", "*b", "!!int 1"]))
            ] = 1
        case 3 if isinstance(holder, list):
            holder *= rng.choice([2, 100])
        case 3:
            holder[key] = [holder[key]]
        case 4:
            holder[key] = {"a": holder[key]}
        case 5 if raw:
            holder[key] = Raw(rng.choice(SYNTAX))
        case 6 if isinstance(holder[key], str) and holder[key]:
            text = holder[key]
            at = rng.randrange(len(text))
            holder[key] = (
                text[:at] + rng.choice(["\0", " ", "'", "\ud800", "9" * 400, text]) + text[at:]
            )
        case 7 | 8 | 9:
            holder[key] = copy.deepcopy(rng.choice(HOSTILE))
        case _:
            alike = [value for value in HOSTILE if type(value) is type(holder[key])]
            holder[key] = copy.deepcopy(rng.choice(alike or HOSTILE))
