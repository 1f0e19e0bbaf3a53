"""What a backend raises → what a person reads. Nothing that a person can fix ends as a traceback.

The registry hands out guarded backends: whatever one raises or answers against the contract is a
`BackendError` that names it.
"""

from backends.contract.errors import BackendError, HyperparametersInvalid, SubmissionUnknown
from controller.errors import ExitCode, FtctlError


class OutcomeUnknown(FtctlError):
    """It is not known whether a job was created."""

    exit_code = ExitCode.SUBMISSION_UNKNOWN


def reported(error: Exception) -> FtctlError | None:
    """Return what a person reads of an error; None for a defect of ftctl."""
    match error:
        case FtctlError():
            return error
        case SubmissionUnknown():
            return OutcomeUnknown(error.message, error.remedy)
        case BackendError():
            return FtctlError(error.message, error.remedy)
        case HyperparametersInvalid():
            found = [f"hyperparameters.{one.field}: {one.message}" for one in error.problems]
            remedies = dict.fromkeys(one.remedy for one in error.problems if one.remedy)
            return FtctlError("\n".join(found), "\n".join(remedies))
        case _:
            return None
