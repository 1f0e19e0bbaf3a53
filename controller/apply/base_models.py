"""Base models that an action needs on this machine, downloaded before it begins."""

from backends.contract.jobs import DownloadReport
from controller.apply.context import ApplyContext, Outcome
from controller.errors import FtctlError
from controller.plan.actions import Action, Evaluate, Prompt, Resume, Train
from controller.state_folder import refused_by_system


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
    except FtctlError as error:
        return Outcome(action=action, message=str(error), exit_code=error.exit_code)
    except OSError as error:
        found = refused_by_system(error, context.project.state)
        return Outcome(action=action, message=str(found), exit_code=found.exit_code)
    return None
