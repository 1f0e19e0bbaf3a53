"""The contract of a backend in one module, for the authors of backends."""

from backends.contract.backend import Backend, Capabilities, Endpoint
from backends.contract.completions import (
    COLDEST,
    Chunk,
    Completion,
    Engine,
    Prompt,
    Sampling,
    text_of,
)
from backends.contract.errors import (
    BackendError,
    BackendUnknown,
    BaseModelMissing,
    CredentialsMissing,
    FieldProblem,
    FtctlError,
    HyperparametersInvalid,
    MachineFailed,
    ModelMissing,
    PromptRefused,
    PromptTooLong,
    SubmissionUnknown,
)
from backends.contract.inspector import ExampleInspector, Feature, Json, Limits, Piece
from backends.contract.jobs import (
    BaseModel,
    CurvePoint,
    Estimate,
    Event,
    Job,
    JobResult,
    JobState,
    Progress,
    Recipe,
    TrainRequest,
)

Encoder = ExampleInspector
"""Its former name: a plug-in that imports it gets far enough to be told the new method names."""

__all__ = [
    "COLDEST",
    "Backend",
    "BackendError",
    "BackendUnknown",
    "BaseModel",
    "BaseModelMissing",
    "Capabilities",
    "Chunk",
    "Completion",
    "CredentialsMissing",
    "CurvePoint",
    "Encoder",
    "Endpoint",
    "Engine",
    "Estimate",
    "Event",
    "ExampleInspector",
    "Feature",
    "FieldProblem",
    "FtctlError",
    "HyperparametersInvalid",
    "Job",
    "JobResult",
    "JobState",
    "Json",
    "Limits",
    "MachineFailed",
    "ModelMissing",
    "Piece",
    "Progress",
    "Prompt",
    "PromptRefused",
    "PromptTooLong",
    "Recipe",
    "Sampling",
    "SubmissionUnknown",
    "TrainRequest",
    "text_of",
]
