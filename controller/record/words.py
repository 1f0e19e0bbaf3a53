"""Reports of a recording, before and after: text and JSON."""

from collections.abc import Iterator, Mapping
from typing import Final

from backends.contract.errors import ModelMissing
from backends.contract.inspector import Json
from controller.errors import FtctlError
from controller.record.ask import Recorded
from controller.record.commit import Committable
from controller.record.order import RecordOrder
from controller.record.wanted import Wanted
from controller.render.shutdowns import shutdown_json, when
from controller.render.text import dollars, escape_control, number, table

_TITLES: Final[Mapping[str, str]] = {
    "held_out": "held-out rows",
    "train": "training rows",
    "stored": "stored completions",
}
_NAMED: Final = 3
"""Places and scores that a line lists before it counts the rest."""
_PRECISE: Final = 0.1
"""US dollars below which hundredths of a cent are shown."""


def order_text(order: RecordOrder) -> str:
    """Return what is to be asked and what it costs."""
    blocks = [_wanted_text(one, order) for one in order.wanted.values()]
    if order.without_production:
        names = ", ".join(order.without_production)
        blocks.append(escape_control(f"Without a model in production: {names}"))
    return "\n\n".join([*blocks, _total(order)])


def recorded_text(order: RecordOrder, done: Recorded) -> str:
    """Return what was asked, written and left undone."""
    lines = [] if not done.counted.answers else [_counted(order, done)]
    lines += [
        escape_control(f"{name}: {_written(order.wanted[name], written, order)}")
        for name, written in done.files.items()
    ]
    if any(written.written for written in done.files.values()):
        lines.append("Commit it: git add finetunes/recorded")
    for name, error in done.failures.items():
        lines += map(escape_control, _failure(name, error, order, done))
    return "\n".join(lines)


def record_json(order: RecordOrder, done: Recorded) -> dict[str, Json]:
    """Return the same for programs."""
    names = dict.fromkeys([*order.wanted, *done.failures])
    estimates = [one.estimate for one in order.models]
    known = [one for one in estimates if one is not None]
    counted = done.counted
    return {
        "finetunes": {name: _finetune_json(name, order, done) for name in names},
        "without_production": list(order.without_production),
        "estimate": {
            "answers": order.missing,
            "prompt_tokens": sum(one.prompt_tokens for one in known),
            "completion_tokens": [
                sum(one.completion_tokens[end] for one in known) for end in (0, 1)
            ],
            "usd": None if order.usd is None else list(order.usd),
            "basis": _basis(order),
        },
        "counted": {
            "answers": counted.answers,
            "prompt_tokens": counted.prompt_tokens,
            "completion_tokens": counted.completion_tokens,
            "with_logprobs": counted.with_logprobs,
            "usd": counted.usd,
        },
    }


def _wanted_text(wanted: Wanted, order: RecordOrder) -> str:
    model, end = wanted.model, order.ends.get(wanted.name)
    head = f"{wanted.name}: {model.model_id or model.base_model.reference} at {model.place}"
    if end is not None and end.date is not None:
        head += f", switched {'off' if end.days_left >= 0 else 'off already'} {when(end)}"
    rows = [["", "rows", "of", "kept", "to ask"]]
    for part in wanted.parts:
        count, kept = len(part.prompts), order.kept[wanted.name, part.name]
        cells = (count, part.of, kept, count - kept)
        rows.append([_TITLES[part.name], *(f"{cell:,}" for cell in cells)])
    notes = [f"    Note: {note}" for note in wanted.notes]
    return "\n".join(
        [
            escape_control(head),
            table(rows, indent="    ", right={1, 2, 3, 4}),
            *map(escape_control, notes),
        ]
    )


def _total(order: RecordOrder) -> str:
    if not order.missing:
        kept = sum(order.kept.values())
        if order.failures:
            return "Nobody can be asked."
        return f"Nothing to ask: all {kept:,} answers are kept, at $0.00."
    many = "" if order.missing == 1 else "s"
    asked = f"To ask: {order.missing:,} answer{many}"
    estimates = [one.estimate for one in order.models]
    if None not in estimates:
        known = [one for one in estimates if one is not None]
        least, most = (sum(one.completion_tokens[end] for one in known) for end in (0, 1))
        given = sum(one.prompt_tokens for one in known)
        asked += f", about {given:,} tokens in and {least:,} - {most:,} out"
    if order.usd is None:
        unknown = next(
            one.model
            for one in order.models
            if one.is_paid and not (one.estimate and one.estimate.price)
        )
        endpoint = unknown.place.partition("@")[2] or "default"
        model = unknown.base_model.reference
        return escape_control(
            f"{asked}.\nCost: not known. To know it, write the price into ftctl.yaml:\n"
            f"    endpoints: {{{endpoint}: {{answer_prices: {{{model}: {{input: USD, output: USD}}}}}}}}"
        )
    basis = f" ({_basis(order)})" if order.needs_approval else ""
    return f"{asked}.\nCost: {_dollars(*order.usd)}{basis}."


def _basis(order: RecordOrder) -> str:
    return ", ".join(
        dict.fromkeys(one.estimate.basis for one in order.models if one.estimate and one.is_paid)
    )


def _dollars(least: float, most: float) -> str:
    if not 0 < most < _PRECISE:
        return dollars(least, most)
    low, high = f"${least:.4f}", f"${most:.4f}"
    return low if low == high else f"{low} - {high}"


def _counted(order: RecordOrder, done: Recorded) -> str:
    counted = done.counted
    many = "" if counted.answers == 1 else "s"
    text = f"Asked: {counted.answers:,} answer{many}"
    if counted.with_logprobs:
        text += f", {counted.with_logprobs:,} with log-probabilities"
    text += f"; {counted.prompt_tokens:,} tokens in and {counted.completion_tokens:,} out"
    if counted.uncounted:
        text += f" ({counted.uncounted:,} answers without a count)"
    if counted.usd is not None:
        text += f", {_dollars(counted.usd, counted.usd)}"
        if order.usd is not None and order.needs_approval:
            text += f" (estimated: {_dollars(*order.usd)})"
    return f"{text}."


def _written(wanted: Wanted, written: Committable, order: RecordOrder) -> str:
    count = sum(len(part.prompts) for part in wanted.parts)
    if written.path is None:
        return (
            "its data is private, so nothing is written to be committed; the answers stay on this "
            f"machine, in {order.project.answers}"
        )
    file = written.path.relative_to(order.project.root)
    text = f"{written.written + written.there:,} of {count:,} answers in {file}"
    parts = {"new": written.written, "masked": written.masked, "with personal data": written.warned}
    told = [f"{number:,} {what}" for what, number in parts.items() if number]
    text += f" ({', '.join(told)})" if told else ""
    if written.kept_out:
        text += f"; {written.kept_out:,} hold personal data and stay on this machine"
    return text


def _failure(name: str, error: FtctlError, order: RecordOrder, done: Recorded) -> Iterator[str]:
    """Yield why something was not asked, what is kept, and what can be done."""
    yield f"! {name}: {error.one_line}"
    wanted = order.wanted.get(name)
    if wanted is None:
        return
    kept = {part.name: done.kept[name, part.name] for part in wanted.parts}
    parts = [
        f"{kept[part.name]:,} of {len(part.prompts):,} {_TITLES[part.name]}"
        for part in wanted.parts
        if len(part.prompts)
    ]
    yield f"    Kept: {', '.join(parts) or 'nothing'}."
    if not isinstance(error, ModelMissing):
        yield f"    Then run the same command again: ftctl record {name}. Nothing is asked twice."
    lost = done.lost.get(name, [])
    if not lost:
        yield "    Gates on `production.*` use the answers to all held-out rows, with any metric."
        return
    yield f"    Held-out rows without an answer: {_listed(lost)}."
    if isinstance(error, ModelMissing):
        yield from _without_all(wanted, kept["held_out"])


def _without_all(wanted: Wanted, kept: int) -> Iterator[str]:
    """Yield how to gate on a model that is gone and has not answered all held-out rows."""
    if kept:
        yield (
            "    Remove these rows from `data`: gates on `production.*` then use the answers that are "
            "kept, with any metric."
        )
    if wanted.scores:
        scores = [f"{metric} {number(score)}" for metric, score in wanted.scores.items()]
        yield (
            "    Or return to the held-out rows and metrics that it was measured with: then its "
            f"recorded scores count in gates: {_listed(scores)}."
        )
    elif not kept:
        yield "    Gate on a number (`accuracy >= 0.9`) or on the base model (`accuracy > base.accuracy`)."


def _listed(texts: list[str]) -> str:
    more = len(texts) - _NAMED
    shown = ", ".join(texts[:_NAMED])
    return f"{shown} and {more:,} more" if more > 0 else shown


def _finetune_json(name: str, order: RecordOrder, done: Recorded) -> dict[str, Json]:
    error, wanted = done.failures.get(name), order.wanted.get(name)
    value: dict[str, Json] = {"error": None if error is None else error.one_line}
    if wanted is None:
        return value
    parts: dict[str, Json] = {
        part.name: {
            "rows": len(part.prompts),
            "of": part.of,
            "kept": done.kept[name, part.name],
            "asked": done.kept[name, part.name] - order.kept[name, part.name],
        }
        for part in wanted.parts
    }
    written = done.files.get(name, Committable())
    path = written.path
    return {
        **value,
        "model": wanted.model.model_id or wanted.model.base_model.reference,
        "place": wanted.model.place,
        "shutdown": shutdown_json(order.ends.get(name)),
        "parts": parts,
        "file": None if path is None else str(path.relative_to(order.project.root)),
        "written": written.written,
        "masked": written.masked,
        "with_personal_data": written.warned,
        "kept_out": written.kept_out,
        "without_answer": done.lost.get(name, []),
        "notes": list(wanted.notes),
    }
