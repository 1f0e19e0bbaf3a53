"""A move as lines and values of a plan. Pure."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from backends.contract.inspector import Json
from controller.plan.desired import Shutdown
from controller.plan.fingerprint import short_id
from controller.plan.moving.move import Judges, Move

_FORCES = "  # forces training"
_SETTINGS = "hyperparameters"


def is_over(end: Shutdown | None) -> bool:
    """Return True if a model does not answer any more."""
    return end is not None and (end.gone or end.days_left < 0)


def cannot_judge(move: Move | None, end: Shutdown | None) -> str | None:
    """Return why production cannot be compared with; None if it can, or need not be.

    Args:
        move: The move.
        end: End of the model in production, if one is announced.
    """
    judges = move.judges if move is not None else None
    if move is None or judges is None or not judges.asks:
        return None
    missing = f"{judges.missing:,} of its {judges.prompts:,} answers are not recorded"
    if judges.missing == judges.prompts:
        missing = f"none of its {judges.prompts:,} answers is recorded"
    if judges.unopened:
        return f"production cannot be asked ({judges.unopened}), and {missing}"
    if end is not None and is_over(end):
        return f"{move.model_id} is {'gone' if end.gone else 'switched off'}, and {missing}"
    return None


def changed_fields(move: Move | None, fields: Sequence[str]) -> list[str]:
    """Return the inputs that force training; at another place, all hyperparameters are one input."""
    if move is None or not move.changes_place:
        return [*fields]
    settings = f"{_SETTINGS}."
    return list(dict.fromkeys(_SETTINGS if one.startswith(settings) else one for one in fields))


def home_rows(move: Move) -> Iterator[tuple[str, str]]:
    """Yield what becomes of the backend, the base model and the hyperparameters."""
    forces = _FORCES if move.trains else ""
    if move.changes_place:
        yield "backend", f"{move.old_place} -> {move.new_place}{forces}"
    if move.old_base != move.new_base:
        yield "base_model", f"{move.old_base} -> {move.new_base}{forces}"
    if move.changes_place and move.trains:
        written = ", ".join(
            f"{key}: {_shown(value)}" for key, value in move.hyperparameters.items()
        )
        defaults = f"the defaults of {move.new_place}"
        yield _SETTINGS, f"{written}; else {defaults}" if written else defaults


def is_of_home(move: Move | None, name: str) -> bool:
    """Return True if a changed input is shown by `home_rows`."""
    if move is None:
        return False
    of_place = name == "backend" or name.startswith(f"{_SETTINGS}.")
    return (of_place and move.changes_place) or (
        name == "base_model" and move.old_base != move.new_base
    )


def move_rows(move: Move, end: Shutdown | None) -> Iterator[tuple[str, str]]:
    """Yield what stays in production, what judges the new model, and how long the old one lives."""
    build = f"{move.model_id} at {move.old_place} (build {short_id(move.build)})"
    yield "production", f"{build}, which stays until the gate passes"
    judged = "; ".join(move.gate) or "nothing: `gate: []` promotes whatever is trained"
    yield "judged by", f"{judged}{'  # implied: the spec writes no gate' if move.implied else ''}"
    if move.judges is not None:
        yield "answers", _answers(move, move.judges)
    if end is not None:
        yield "days left", _days(end)


def move_review(move: Move) -> Iterator[str]:
    """Yield what judges a move, for a reviewer."""
    yield f"{move.model_id} stays in production until the gate passes"
    yield f"judged by {'; '.join(move.gate) or 'nothing, by `gate: []`'}"
    if move.judges is not None:
        yield _answers(move, move.judges)


def move_remarks(move: Move) -> Iterator[str]:
    """Yield what a person should know of the gate."""
    if move.note:
        yield f"! {move.note}"
    if move.implied:
        yield "! To choose another gate, write `gate:`; `gate: []` promotes whatever is trained."
    elif move.gate and move.judges is None:
        yield "! nothing compares the new model with production: the gate does not name it"


def move_json(move: Move, end: Shutdown | None) -> dict[str, Json]:
    """Return a move for programs."""
    judges = move.judges
    return {
        "from": {
            "backend": move.old_place,
            "base_model": move.old_base,
            "model": move.model_id,
            "build": move.build,
        },
        "to": {"backend": move.new_place, "base_model": move.new_base},
        "gate": list(move.gate),
        "implied": move.implied,
        "note": move.note,
        "answers": None if judges is None else {**asdict(judges), "asks": judges.asks},
        "days_left": end.days_left if end is not None else None,
        "shutdown_date": end.date if end is not None else None,
    }


def _shown(value: Json) -> str:
    return f"{value:g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def _answers(move: Move, judges: Judges) -> str:
    kept = judges.prompts - judges.missing
    if not judges.missing:
        return f"{kept:,} of {judges.prompts:,} answers of production are recorded"
    if judges.scored:
        return "the recorded scores of production are compared; nobody is asked"
    cost = ", which it charges for" if move.paid else ""
    asks = f"{move.old_place} will be asked for {judges.asks:,}"
    if not kept:
        return f"{asks} answers of production{cost}; `ftctl record` keeps them earlier"
    return f"{kept:,} of {judges.prompts:,} answers of production are recorded; {asks}{cost}"


def _days(end: Shutdown) -> str:
    source = f" ({end.source})" if end.source else ""
    if end.gone:
        return f"none: the model is gone{source}"
    if end.days_left < 0:
        return f"none: the model was switched off on {end.date}{source}"
    return f"{end.days_left:,}: the model is switched off on {end.date}{source}"
