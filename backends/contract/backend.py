"""The contract between the controller and a backend.

A backend trains models and completes prompts somewhere: on this machine's GPU, or at a server.
The controller knows backends only through this package; a backend never imports the controller.
Every method may be repeated, and all but `deploy` return at once; the iterators of `complete`,
`export_model` and `check_machine` wait for answers. The modules import only each other and the
standard library:

- `backend`: `Backend`, and the servers that it talks to
- `capabilities`: what a backend can do
- `inspector`: how a model reads examples
- `jobs`: training jobs
- `exports`: weights in the form of other programs
- `moves`: models that move to another machine
- `completions`: prompts and answers
- `errors`: errors that a person can fix
- `inventory`: models that a service holds, whoever made them
- `shutdowns`: announced ends of models
- `recording`: prices of answers, and completions that a service has stored
- `deployments`: deployments of trained models
- `methods`: training methods and their forms of examples
- `common_names`: hyperparameters that several backends have under names of their own
"""

from collections.abc import Container, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from backends.contract.capabilities import Capabilities
from backends.contract.completions import Completed, Engine, Prompt, Sampling
from backends.contract.deployments import Deployment, DeploySettings, Hosting
from backends.contract.errors import FieldProblem
from backends.contract.exports import ExportRequest, ExportStep
from backends.contract.inspector import ExampleInspector, Json
from backends.contract.inventory import HostedFile, HostedModel
from backends.contract.jobs import (
    BaseModel,
    CurvePoint,
    DownloadReport,
    Estimate,
    Event,
    Job,
    Memory,
    Placing,
    Recipe,
    TrainRequest,
)
from backends.contract.moves import Movable
from backends.contract.recording import AnswerPrice, AnswersEstimate, StoredCompletion
from backends.contract.shutdowns import ShutdownNotice


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A named server that a backend talks to. Holds names of secrets, never secrets."""

    name: str
    kind: str = "openai"
    """One of the registry's `ENDPOINT_KINDS`."""
    base_url: str | None = None
    """None: the address of that kind, or `OPENAI_BASE_URL`, else api.openai.com."""
    api_key_env: str = "OPENAI_API_KEY"
    """Environment variable with the key."""
    organization: str | None = None
    project: str | None = None
    account: str | None = None
    """Account whose name is in the paths of the service, where they name one."""
    deployments: Mapping[str, str] = field(default_factory=dict)
    """The deployment that answers for a model ID, where models are deployed first."""
    deploy: DeploySettings | None = None
    """Settings of deployments; None if a person deploys trained models."""
    prices: Mapping[str, float] = field(default_factory=dict)
    """US dollars per million trained tokens by base model; they replace the shipped prices."""
    answer_prices: Mapping[str, AnswerPrice] = field(default_factory=dict)
    """Prices of answers by model ID or base model; they replace the shipped prices."""
    env_file: Path | None = None
    """A `.env` file for variables that the environment lacks."""


class Backend(Movable, Placing, Protocol):
    """Trains models and completes prompts. The module's docstring has the rules."""

    name: str

    def capabilities(self) -> Capabilities:
        """Return what this backend can do."""

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

    def hardware_problems(
        self, method: str, hyperparameters: Mapping[str, Json], gpus: int
    ) -> Sequence[FieldProblem]:
        """Return why a training cannot use so many GPUs. A backend may lack this method."""

    def common_names(self) -> Mapping[str, str]:
        """Return the common name of each hyperparameter that other backends have as well.

        The names are those of `backends.contract.common_names`; `ftctl move` translates by them. A
        backend may lack this method.
        """

    def resolve_base_model(self, base_model: str, revision: str | None, folder: Path) -> BaseModel:
        """Return the base model that a spec names, without network.

        Args:
            base_model: As written in the spec.
            revision: As written in the spec, or as an earlier build recorded it.
            folder: The spec's folder, which relative paths start from.

        Raises:
            BaseModelUnknown: A hub has to be asked which model it is.
            BaseModelMissing: The model is not on this machine, or its revision is not known.
        """

    def look_up_base_model(
        self, base_model: str, revision: str | None, folder: Path
    ) -> BaseModel | None:
        """Ask a hub about a base model that is not complete on this machine.

        Needs the network, no key for a public model, and downloads no weights. A backend may lack
        this method. The arguments are those of `resolve_base_model`.

        Returns:
            The model with its `download_bytes`; None where `resolve_base_model` tells all.

        Raises:
            BaseModelUnknown: The hub does not answer now.
            BaseModelMissing: The hub does not have the model, does not give it, or has it in no
                form that can be trained.
        """

    def fetch_base_model(self, base_model: BaseModel, report: DownloadReport) -> None:
        """Download what this machine lacks of a base model, which may take hours.

        May be repeated, and continues where an earlier call stopped. A backend may lack this
        method.

        Args:
            base_model: The model.
            report: Receives the bytes so far, and of all.

        Raises:
            BackendError: The model cannot be downloaded.
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
        """Return the inspector of examples for a training run.

        Raises:
            HyperparametersInvalid: The model cannot be trained with these hyperparameters.
        """

    def estimate(self, request: TrainRequest, examples: int, tokens: int | None) -> Estimate:
        """Return what training would cost.

        Args:
            request: The job.
            examples: Number of training examples.
            tokens: Tokens of all examples; None if they were not counted.
        """

    def memory(self, request: TrainRequest) -> Memory | None:
        """Return the memory of a job that may be submitted, if known; a backend may lack this."""

    def find_jobs(self, fingerprints: Iterable[str]) -> dict[str, tuple[Job, ...]]:
        """Look up every job made for these fingerprints, any attempt, oldest first."""

    def find_jobs_by_name(self, names: Iterable[str]) -> dict[str, tuple[Job, ...]]:
        """Look up every job made for fine-tunes of these names, whatever their inputs, oldest first.

        A job counts for the fine-tune that submitted it first. Its `origin` is filled in.
        """

    def verify_job(self, request: TrainRequest, job_id: str) -> None:
        """Refuse a found job that was made from something else than its request.

        Raises:
            BackendError: The job carries the fingerprint, but was made from something else.
        """

    def submit(self, request: TrainRequest) -> Job:
        """Start the job of this fingerprint and attempt, or return the one that exists.

        An interrupted job continues from its last checkpoint.

        Raises:
            SubmissionUnknown: The answer was lost and no job could be found.
            BackendError: The backend refused the job.
        """

    def take_over(self, request: TrainRequest, folder: Path) -> Job | None:
        """Record a model that another program trained as the result of a request; train nothing.

        May be repeated. A backend may lack this method.

        Args:
            request: The job that would have trained the model.
            folder: The model's folder, which stays as it is.

        Returns:
            The ended job; None if this backend takes nothing over.

        Raises:
            BackendError: The folder holds no model that fits the request.
        """

    def observe(self, job_ids: Iterable[str]) -> dict[str, Job]:
        """Return jobs by ID; jobs that do not exist any more are absent."""

    def events(self, job_id: str) -> Iterator[Event]:
        """Yield the job's log so far, oldest first."""

    def curve(self, job_id: str) -> Iterator[CurvePoint]:
        """Yield the job's losses so far, each step once, in order of the steps.

        Yields nothing where the losses are not known. A backend may lack this method.
        """

    def cancel(self, job_id: str) -> None:
        """Ask a job to stop; a finished job stays as it is."""

    def complete(
        self,
        base_model: BaseModel,
        models: Sequence[str | None],
        prompts: Sequence[Prompt],
        sampling: Sampling,
        skip: Container[tuple[int, int]] = (),
    ) -> Generator[Completed, None, None]:
        """Yield the answer of every model to every prompt, each when it ends, in any order.

        Closing the iterator stops the work: processes end, requests are cancelled. Errors are
        raised while it is read; answers that ended before are yielded before. `in_order` makes
        lists of it.

        Args:
            base_model: Base model of the models; loaded once.
            models: Model IDs; None is the base model itself.
            prompts: The prompts, read when they are needed: they may lie in a file.
            sampling: How to draw the answers. What an answer draws depends on the seed and on the
                place of its prompt, not on what is skipped.
            skip: Places (model, prompt) that are not asked, since their answers are known.

        Raises:
            ModelMissing: One of the models is gone.
            PromptRefused: Prompts cannot be answered; all others are answered before, unless very
                many are refused. The error names the first by its number.
        """

    def answers(self, base_model: BaseModel) -> bool:
        """Return whether the base model itself can complete prompts here."""

    def announced_shutdowns(self, models: Mapping[str, str]) -> dict[str, ShutdownNotice]:
        """Ask the service when it switches models off. A backend may lack this method.

        Args:
            models: The base model of each model ID; a base model is its own.

        Returns:
            Notices by model ID; a model that nothing is known of is absent.
        """

    def hosting(self) -> Hosting | None:
        """Return the price of a deployment; None if this backend deploys nothing.

        Without network. May be left out where a trained model answers at once.
        """

    def deployments(self, models: Iterable[str]) -> dict[str, Deployment]:
        """Return the deployments of models, by model ID; empty if this backend deploys nothing.

        A service that gives no answer makes their state `unknown`. May be left out with `hosting`.
        """

    def deploy(self, model_id: str, base_model: str) -> Deployment:
        """Deploy a model, or find its deployment, and wait until it answers.

        May be repeated: a model is never deployed twice. May be left out with `hosting`.

        Args:
            model_id: The model.
            base_model: Reference of the base model that it was trained from.

        Raises:
            BackendError: The service refuses, or the deployment is not ready in time.
        """

    def shipped_shutdowns(self, models: Mapping[str, str]) -> dict[str, ShutdownNotice]:
        """Return the same without network, key or extra. A backend may lack this method."""

    def inventory(self) -> Iterator[HostedModel]:
        """Yield every job and trained model that the service shows, newest first, page by page.

        Models whose jobs are not shown come last. A backend may lack this method.

        Raises:
            NotOffered: The service has no list of them.
        """

    def download(self, file: HostedFile, to: Path) -> None:
        """Write a file of the service to a path, as a whole or not at all.

        The folder of the path exists. A backend may lack this method.

        Raises:
            FileMissing: The service does not have the file, or does not give it.
            NotOffered: The service gives no files.
        """

    def estimate_answers(
        self,
        base_model: BaseModel,
        model: str | None,
        prompts: Sequence[Prompt],
        sampling: Sampling,
    ) -> AnswersEstimate | None:
        """Return the tokens and the price of a model's answers; None if they cannot be estimated.

        Needs no key and no network. A backend may lack this method.

        Args:
            base_model: Base model of the model.
            model: Its ID; None is the base model itself.
            prompts: The prompts, each with its reference if there is one.
            sampling: How the answers are drawn.
        """

    def stored_completions(
        self, model: str | None, metadata: Mapping[str, str]
    ) -> Iterator[StoredCompletion]:
        """Yield the completions that the service has stored, newest first.

        A backend may lack this method.

        Args:
            model: Only completions of this model; None for any model.
            metadata: Only completions with these metadata.

        Raises:
            NothingStored: The service does not list stored completions.
        """

    def stored_messages(self, completion_id: str) -> tuple[Mapping[str, Json], ...]:
        """Return the messages before the answer of a stored completion.

        They are empty if the service has them no more. A backend may lack this method.
        """

    def open_engine(self, base_model: BaseModel) -> Engine:
        """Load a base model and keep it, for models trained from it to be served together."""

    def export_model(self, request: ExportRequest) -> Generator[ExportStep, None, None]:
        """Write a model's weights into a folder, and let the program of the format answer.

        Yields each step when it begins; the last one carries the facts. Closing the iterator stops
        the work. A backend may lack this method.

        Raises:
            ModelMissing: The model is gone.
            BackendError: It cannot be exported in this format, or answers otherwise afterwards.
        """

    def delete(self, model_id: str) -> None:
        """Delete a model. Called only if a person asks to delete this model."""
