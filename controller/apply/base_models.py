"""Base models that an action needs on this machine, downloaded before it begins."""

from backends.contract.errors import BackendError
from backends.contract.jobs import DownloadReport
from controller.apply.context import ApplyContext, Outcome
from controller.plan.actions import Action, Evaluate, Prompt, Resume, Train


def bring_base(action: Action, context: ApplyContext, report: DownloadReport) -> Outcome | None:
    """Download the base model of an action that trains or asks it.

    Args:
        action: The action.
        context: Of the pass.
        report: Receives the bytes so far, and of all.

    Returns:
        None if the model is here, or nothing needs it; the outcome of the action if it failed.
    """
    if not isinstance(action, Train | Resume | Prompt | Evaluate):
        return None
    desired = context.resolved.desired.get(action.name)
    if desired is None:
        return None
    try:
        backend = context.open_backend(desired.spec.place)
        backend.fetch_base_model(desired.base_model, report)
    except BackendError as error:
        return Outcome(action=action, message=str(error), exit_code=error.exit_code)
    return None
