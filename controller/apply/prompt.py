"""Builds for which nothing is trained: a base model and its prompt, recorded."""

import json
from collections.abc import Sequence

from backends.contract.errors import BackendError
from backends.contract.inspector import ExampleInspector, Json
from controller.apply.context import ApplyContext, Result, cancel_job, with_changes
from controller.canonical import canonical_json
from controller.evaluate.rivals import Turns
from controller.lockfile.model import Build
from controller.plan.actions import Prompt
from controller.plan.desired import Desired
from controller.plan.fingerprint import short_id
from controller.prompted.examples import choose_shots, shots_digest
from controller.resolve.answers import Answers


def prompt(action: Prompt, context: ApplyContext) -> Result:
    """Record a base model with its prompt. Equal inputs give an equal build, however often."""
    desired, dataset = context.desired(action.name), context.resolved.datasets[action.name]
    given = desired.spec.prompt
    digest, shots = dataset.train.digest, list[Turns]()
    if given.few_shot:
        state = context.project.state
        shots = [*choose_shots(dataset.train.path, given.few_shot, digest, state)]
    # The examples are kept before the build that needs them is recorded.
    build = _build(desired, shots, context)
    entry = cancel_job(action, context)
    recorded = with_changes(
        entry,
        candidate=build.fingerprint,
        builds={**entry.builds, build.fingerprint: build},
        failures={key: one for key, one in entry.failures.items() if key != build.fingerprint},
    )
    message = f"recorded {build.model_id}; nothing was trained"
    if action.cancels is not None:
        message += f"; job {action.cancels.job} was cancelled"
    return Result(message=message, entries={action.name: recorded})


def _build(desired: Desired, shots: Sequence[Turns], context: ApplyContext) -> Build:
    spec, base_model = desired.spec, desired.base_model
    now = context.timestamp()
    facts: dict[str, Json] = {"examples": len(shots)}
    if shots:
        facts["examples_digest"] = shots_digest(shots)
    backend = context.open_backend(spec.place)
    inspector = Answers().inspector(backend, spec, base_model, {})
    tokens = _tokens(inspector, spec.prompt.system, shots)
    if tokens is not None:
        facts["prompt_tokens"] = tokens
    if base_model.shutdown_date is not None:
        facts["shutdown_date"] = base_model.shutdown_date
    return Build(
        fingerprint=desired.fingerprint,
        attempt=1,
        backend=spec.place,
        job="",
        model_id=f"prompt:{desired.base_name}:{desired.name}:{short_id(desired.fingerprint)}",
        inputs=json.loads(canonical_json(desired.inputs)),
        base_model=desired.base_name,
        revision=base_model.revision,
        parent=None if desired.parent is None else desired.parent.facts,
        data=desired.data,
        facts=json.loads(canonical_json(facts)),
        estimate_usd=(0.0, 0.0),
        submitted=now,
        finished=now,
        spec_commit=context.spec_commit,
    )


def _tokens(inspector: ExampleInspector, system: str | None, shots: Sequence[Turns]) -> int | None:
    """Return the tokens that stand before each question, as far as this machine can count them."""
    head: list[Json] = [] if system is None else [{"role": "system", "content": system}]
    turns: list[Json] = [message for pair in shots for message in pair]
    if not head and not turns:
        return 0
    # Templates want a whole conversation: what a shortest one takes is subtracted.
    shortest: list[Json] = [
        {"role": "user", "content": "."},
        {"role": "assistant", "content": "."},
    ]
    try:
        whole, rest = inspector.count(
            [{"messages": [*head, *turns, *shortest]}, {"messages": shortest}]
        )
    except BackendError:
        return None
    return whole - rest
