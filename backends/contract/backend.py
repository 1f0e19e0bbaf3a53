"""The contract between the controller and a backend.

A backend trains models and completes prompts somewhere: on this machine's GPU, or at a server.
The controller knows backends only through this package; a backend never imports the controller.
Every method returns at once and may be repeated, except `complete`, which waits for its answers.
The modules of the contract import only each other and the standard library:

- `backend`: `Backend` and what it says of itself
- `inspector`: how a model reads examples
- `jobs`: training jobs
- `completions`: prompts and answers
- `errors`: errors that a person can fix
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from backends.contract.completions import Completion, Engine, Prompt, Sampling
from backends.contract.inspector import ExampleInspector, Json
from backends.contract.jobs import BaseModel, Estimate, Event, Job, Recipe, TrainRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A named server that a backend talks to. Holds names of secrets, never secrets."""

    name: str
    kind: str = "openai"
    """`openai`, `azure` or `compatible`."""
    base_url: str | None = None
    """None: `OPENAI_BASE_URL`, else api.openai.com."""
    api_key_env: str = "OPENAI_API_KEY"
    """Environment variable with the key."""
    organization: str | None = None
    project: str | None = None
    deployments: Mapping[str, str] = field(default_factory=dict)
    """Azure: the deployment that answers for a model ID."""
    prices: Mapping[str, float] = field(default_factory=dict)
    """US dollars per million trained tokens by base model, where the shipped table is wrong."""
    env_file: Path | None = None
    """A `.env` file whose variables count where the environment has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a backend can do."""

    methods: frozenset[str]
    """Of `supervised`, `dpo`, `reinforcement`, `continued-pretraining`."""
    remote: bool
    """Whether data leaves this machine."""
    paid: bool
    """Whether a job costs money at a service."""
    poll_s: float = 0.5
    """How long to leave between two looks at open jobs."""
    endpoints: bool = False
    """Whether a spec may say `endpoint:`."""
    tracking: frozenset[str] = frozenset()
    """The services of `tracking:` that a job's metrics may go to."""
    gpu_hours: bool = False
    """True where a job stops at `budget.max_gpu_hours`."""
    measures_loss: bool = True
    """True where completions carry the loss of the expected answers."""


class Backend(Protocol):
    """Trains models and completes prompts. See the module's docstring for the rules."""

    name: str

    def capabilities(self) -> Capabilities:
        """Say what this backend can do."""

    def parse_hyperparameters(self, method: str, raw: Mapping[str, Json]) -> dict[str, Json]:
        """Check hyperparameters and write out every default.

        Args:
            method: The training method of the spec.
            raw: The section as written.

        Returns:
            The complete settings, ready for JSON and for the fingerprint.

        Raises:
            HyperparametersInvalid: With every problem found.
        """

    def resolve_base_model(self, base_model: str, revision: str | None, folder: Path) -> BaseModel:
        """Find out what a spec's `base_model` is, without network.

        Args:
            base_model: As written in the spec.
            revision: As written in the spec, or as an earlier build recorded it.
            folder: The spec's folder, which relative paths start from.

        Raises:
            BaseModelMissing: It is not here, or its revision cannot be known.
        """

    def recipes(
        self, base_model: BaseModel, method: str, hyperparameters: Mapping[str, Json]
    ) -> Sequence[Recipe]:
        """Return the hyperparameters under each recipe, newest recipe first.

        New jobs use the newest recipe; a build recorded under an older recipe still matches its
        spec. All recipes check and count examples as the newest recipe does. The hyperparameters
        do not depend on the machine or its files. Needs no package of an extra.

        Args:
            base_model: The model to train.
            method: The training method of the spec.
            hyperparameters: The result of `parse_hyperparameters`.
        """

    def inspector(
        self, base_model: BaseModel, method: str, hyperparameters: Mapping[str, Json]
    ) -> ExampleInspector:
        """Return the inspector of a training run; `HyperparametersInvalid` where it is impossible."""

    def estimate(self, request: TrainRequest, examples: int, tokens: int | None) -> Estimate:
        """Say what training `examples` examples (of `tokens` tokens in all) would cost."""

    def find_jobs(self, fingerprints: Iterable[str]) -> dict[str, tuple[Job, ...]]:
        """Look up every job made for these fingerprints, any attempt, oldest first."""

    def find_jobs_by_name(self, names: Iterable[str]) -> dict[str, tuple[Job, ...]]:
        """Look up every job made for fine-tunes of these names, whatever their inputs, oldest first.

        A job counts for the fine-tune that asked first. Its `origin` is filled in.
        """

    def verify_job(self, request: TrainRequest, job_id: str) -> None:
        """Make sure that a job which was found was made from just what is asked for.

        Raises:
            BackendError: It carries the fingerprint, but was made from something else.
        """

    def submit(self, request: TrainRequest) -> Job:
        """Start the job of this fingerprint and attempt, or return the one that exists.

        An interrupted job goes on from its last checkpoint.

        Raises:
            SubmissionUnknown: The answer was lost and no job could be found.
            BackendError: The job was refused.
        """

    def observe(self, job_ids: Iterable[str]) -> dict[str, Job]:
        """Look at jobs; those that do not exist any more are absent from the answer."""

    def events(self, job_id: str) -> Iterator[Event]:
        """Yield the job's log so far, oldest first."""

    def cancel(self, job_id: str) -> None:
        """Ask a job to stop; a finished job stays what it is."""

    def complete(
        self,
        base_model: BaseModel,
        models: Sequence[str | None],
        prompts: Sequence[Prompt],
        sampling: Sampling,
    ) -> list[list[Completion]]:
        """Answer every prompt with every model.

        Args:
            base_model: What the models were trained from; loaded once.
            models: Model IDs; None stands for the base model itself.
            prompts: What to answer.
            sampling: How.

        Returns:
            One list per model, with one completion per prompt, in order.

        Raises:
            ModelMissing: One of the models is gone.
        """

    def answers(self, base_model: BaseModel) -> bool:
        """Return whether the base model itself can be asked for completions here."""

    def open_engine(self, base_model: BaseModel) -> Engine:
        """Load a base model and keep it, for models trained from it to be served together."""

    def delete(self, model_id: str) -> None:
        """Delete a model. Only ever called when a person asked for just that."""
