"""Ask the models, keep each answer when it ends, and write what is to be committed."""

from collections.abc import Callable
from dataclasses import dataclass, field

from backends.contract.completions import Completion
from backends.contract.errors import ModelMissing
from controller.data.reports.traced_examples import read_traced_examples
from controller.errors import FtctlError
from controller.record.commit import Committable, write_committable
from controller.record.find import stored_path
from controller.record.order import RecordOrder, SharedModel
from controller.record.stored import read_stored, write_stored
from controller.record.wanted import Wanted


@dataclass(slots=True, kw_only=True)
class Counted:
    """Answers that were asked for, as the services counted them."""

    answers: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    uncounted: int = 0
    """Answers of whose tokens the service says nothing."""
    with_logprobs: int = 0
    usd: float | None = 0.0
    """Their price; None if a price is not known."""


@dataclass(slots=True, kw_only=True)
class Recorded:
    """Result of a run."""

    counted: Counted = field(default_factory=Counted)
    kept: dict[tuple[str, str], int] = field(default_factory=dict)
    """Number of kept answers by fine-tune and part, after everybody was asked."""
    files: dict[str, Committable] = field(default_factory=dict)
    """Files written to be committed, by fine-tune."""
    failures: dict[str, FtctlError] = field(default_factory=dict)
    """Fine-tunes of which something could not be asked, and why."""
    lost: dict[str, list[str]] = field(default_factory=dict)
    """Places of held-out rows without an answer, by fine-tune."""


def record(order: RecordOrder, heard: Callable[[SharedModel, int], None]) -> Recorded:
    """Ask for the missing answers, and write all kept answers to be committed.

    A failure of one model stops no other. What was answered before a failure, or before an end of
    this process, is kept.

    Args:
        order: What is to be asked.
        heard: Called after each answer, with the number of answers of this model so far.

    Raises:
        StateNotWritten: Answers cannot be kept.
    """
    done = Recorded(failures=dict(order.failures))
    for wanted in order.wanted.values():
        _keep_questions(wanted, order)
    try:
        for model in order.models:
            error = _ask(model, order, done.counted, heard)
            if error is not None:
                done.failures.update(dict.fromkeys(model.names, error))
    finally:
        # After Ctrl-C as well: what was answered can be committed.
        for name, wanted in order.wanted.items():
            _close(name, wanted, order, done)
    return done


def _keep_questions(wanted: Wanted, order: RecordOrder) -> None:
    """Write sampled questions before they are asked, so that the next run asks the same."""
    if wanted.new_stored:
        path = stored_path(order.project, wanted.name, is_private=wanted.is_private)
        write_stored(path, [*read_stored(path), *wanted.new_stored])


def _ask(
    model: SharedModel,
    order: RecordOrder,
    counted: Counted,
    heard: Callable[[SharedModel, int], None],
) -> FtctlError | None:
    """Ask one model; return why not everything was answered."""
    count = 0

    def take(answer: Completion) -> None:
        nonlocal count
        count += 1
        _count(answer, model, counted)
        heard(model, count)

    try:
        order.store.ask(
            order.open_backend(model.model.place),
            model.model.base_model,
            {model.key: model.model.model_id},
            model.prompts,
            heard=take,
        )
    except ModelMissing as error:
        return ModelMissing(f"the model is gone: {error.message}")
    except FtctlError as error:
        return error
    return None


def _count(answer: Completion, model: SharedModel, counted: Counted) -> None:
    counted.answers += 1
    counted.prompt_tokens += answer.prompt_tokens
    counted.completion_tokens += answer.completion_tokens
    counted.uncounted += not answer.prompt_tokens
    counted.with_logprobs += bool(answer.logprobs)
    price = None if model.estimate is None else model.estimate.price
    if price is not None and counted.usd is not None:
        counted.usd += price.usd(answer.prompt_tokens, answer.completion_tokens)
    elif model.is_paid:
        counted.usd = None


def _close(name: str, wanted: Wanted, order: RecordOrder, done: Recorded) -> None:
    for part in wanted.parts:
        missing = order.store.missing(wanted.key, part.prompts)
        done.kept[name, part.name] = len(part.prompts) - len(missing)
        if part.name == "held_out" and missing:
            places, rows = {*missing}, read_traced_examples(wanted.held_out)
            done.lost[name] = [row.origin for place, row in enumerate(rows) if place in places]
    if wanted.unlisted is not None:
        done.failures.setdefault(name, wanted.unlisted)
    try:
        done.files[name] = write_committable(wanted, order.project)
    except FtctlError as error:
        done.failures.setdefault(name, error)
