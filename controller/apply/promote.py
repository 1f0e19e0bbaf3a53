"""Handlers that change the build in production, protect a fine-tune or forget it."""

from controller.apply.context import ApplyContext, Result, cancel_job, with_changes
from controller.evaluate.compare import require_model
from controller.plan.actions import Promote, Protect, Retire, Reuse
from controller.plan.verdicts import current_verdict


def promote(action: Promote, context: ApplyContext) -> Result:
    """Make the candidate the production build."""
    entry = context.entry(action.name)
    promoted = with_changes(entry, production=action.fingerprint, candidate=None)
    build = entry.builds[action.fingerprint]
    return Result(message=f"{build.model_id} is in production", entries={action.name: promoted})


def reuse(action: Reuse, context: ApplyContext) -> Result:
    """Take a recorded build again, this fine-tune's own or one with equal inputs."""
    if action.early is not None:
        build = action.early.build
    else:
        build = context.entry(action.source).builds[action.fingerprint]
    if not action.keeps_scores:
        build = build.model_copy(update={"evaluation": None, "verdict": None})
    elif action.promote and build.evaluation is not None:
        verdict = current_verdict(build, context.desired(action.name).spec)
        build = build.model_copy(update={"verdict": verdict})
    require_model(build, context.open_backend)
    entry = cancel_job(action, context)
    reused = with_changes(
        entry,
        builds={**entry.builds, build.fingerprint: build},
        production=build.fingerprint if action.promote else entry.production,
        candidate=None if action.promote else build.fingerprint,
    )
    again = "" if action.early is not None else " again"
    where = f"is in production{again}" if action.promote else "is the candidate"
    message = f"{build.model_id} {where}; nothing was trained"
    return Result(message=message, entries={action.name: reused})


def protect(action: Protect, context: ApplyContext) -> Result:
    """Record whether the fine-tune may be forgotten."""
    entry = with_changes(context.entry(action.name), protect=action.protect)
    message = "is protected" if action.protect else "is not protected any more"
    return Result(message=message, entries={action.name: entry})


def retire(action: Retire, context: ApplyContext) -> Result:
    """Forget a fine-tune without a spec; its models stay at the backend."""
    kept = len(cancel_job(action, context).builds)
    models = f"{kept} model{'' if kept == 1 else 's'}"
    return Result(message=f"forgotten; {models} kept at the backend", entries={action.name: None})
