"""`ScriptedBackend`: the whole of `Backend`, without models.

A script tells what becomes of each job, and each method can fail or crash.
"""

from collections.abc import (
    Collection,
    Container,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Final

from backends.contract.backend import Endpoint
from backends.contract.capabilities import Capabilities
from backends.contract.completions import Chunk, Completed, Engine, Prompt, Sampling
from backends.contract.deployments import Deployment, DeploymentState, Hosting
from backends.contract.errors import (
    BaseModelMissing,
    FieldProblem,
    HyperparametersInvalid,
    ModelMissing,
)
from backends.contract.exports import ExportRequest, ExportStep
from backends.contract.inspector import ExampleInspector, Json
from backends.contract.jobs import (
    MEASURING,
    BaseModel,
    DownloadReport,
    Estimate,
    Memory,
    Recipe,
    TrainRequest,
)
from backends.contract.methods import SUPERVISED
from backends.contract.moves import ModelFiles
from backends.contract.shutdowns import ShutdownNotice
from backends.did_you_mean import use_one_of
from backends.testing.scripted_jobs import ScriptedJobs, scripted
from backends.testing.scripts import Answer, answer_well
from backends.testing.words import WordInspector

_DEFAULTS: Final[Mapping[str, float | int]] = {"learning_rate": 1e-4, "num_train_epochs": 3}


@dataclass(eq=False, kw_only=True)
class ScriptedBackend(ScriptedJobs):
    """A backend without models, for tests. Implements `Backend`."""

    answer: Answer = answer_well
    """Answers of models to prompts."""
    usd: tuple[float, float] | None = (0.0, 0.0)
    """Reported cost of a job; None for not known."""
    gpu_hours: tuple[float, float] | None = None
    """Reported GPU hours of a job; None for not known."""
    needs: Memory | None = None
    """Reported memory of a job; None for not known."""
    remote: bool = False
    """True to report that data leaves the machine."""
    missing: Collection[str] = ()
    """Base models that are not on this machine."""
    starts_from: Collection[str] = ("merge", "continue")
    """Ways to start training from a trained model."""
    silent_bases: Collection[str] = ()
    """Base models that cannot answer prompts themselves."""
    recipe: int = 1
    """Number of its newest recipe."""
    corrects: bool = True
    """True to report that its recipes differ."""
    words: WordInspector = field(default_factory=WordInspector)
    """Inspector of examples; its method is replaced by the spec's."""
    name: ClassVar[str] = "scripted"

    def capabilities(self) -> Capabilities:
        """Return what this backend can do."""
        return Capabilities(
            methods=frozenset({SUPERVISED.name}),
            remote=self.remote,
            paid=self.usd != (0.0, 0.0),
            starts_from=frozenset(self.starts_from),
            tracking=frozenset({"wandb"}),
            gpu_hours=True,
            exports=frozenset({"adapter"}),
        )

    def parse_hyperparameters(self, method: str, raw: Mapping[str, Json]) -> dict[str, Json]:
        """Check `learning_rate`, `num_train_epochs` and `eval_steps`, and write out defaults."""
        problems = []
        if method != SUPERVISED.name:
            problems.append(FieldProblem(field="method", message=f"does not do {method}"))
        for key, value in raw.items():
            if key not in _DEFAULTS and key not in MEASURING:
                remedy = use_one_of(_DEFAULTS)
                problems.append(FieldProblem(field=key, message="is not known", remedy=remedy))
            elif isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
                message = f"must be a number above 0, not {value!r}"
                problems.append(FieldProblem(field=key, message=message))
        if problems:
            raise HyperparametersInvalid(problems)
        return {**_DEFAULTS, **raw}

    def look_up_base_model(
        self, base_model: str, revision: str | None, folder: Path
    ) -> BaseModel | None:
        """Return None: every model is here."""
        del base_model, revision, folder
        return None

    def fetch_base_model(self, base_model: BaseModel, report: DownloadReport) -> None:
        """Download nothing."""

    def resolve_base_model(self, base_model: str, revision: str | None, folder: Path) -> BaseModel:
        """Return any base model that `missing` does not name."""
        del folder
        if base_model in self.missing:
            raise BaseModelMissing(f"{base_model} is not here", "Fetch it.")
        commit = revision or "0" * 40
        identity = f"scripted:{base_model}@{commit}"
        return BaseModel(reference=base_model, revision=commit, identity=identity)

    def recipes(
        self, base_model: BaseModel, method: str, hyperparameters: Mapping[str, Json]
    ) -> Sequence[Recipe]:
        """Return the recipes from number `recipe` down to 1; recipe 1 adds no hyperparameter."""
        del base_model, method
        newer = ({**hyperparameters, "recipe": number} for number in range(self.recipe, 1, -1))
        return [
            Recipe(hyperparameters=complete, is_correction=self.corrects)
            for complete in [*newer, hyperparameters]
        ]

    def inspector(
        self, base_model: BaseModel, method: str, hyperparameters: Mapping[str, Json]
    ) -> ExampleInspector:
        """Return an inspector that takes words for tokens."""
        del base_model, hyperparameters
        return replace(self.words, method=method)

    def estimate(self, request: TrainRequest, examples: int, tokens: int | None) -> Estimate:
        """Return `usd`, `gpu_hours`, and a step for each example and epoch."""
        del tokens
        steps = examples * int(str(request.hyperparameters["num_train_epochs"]))
        return Estimate(usd=self.usd, gpu_hours=self.gpu_hours, steps=steps)

    def memory(self, request: TrainRequest) -> Memory | None:
        """Return `needs`."""
        del request
        return self.needs

    @scripted
    def verify_job(self, request: TrainRequest, job_id: str) -> None:
        """Do nothing: every job here was made from what its request says."""
        del request, job_id

    @scripted
    def complete(
        self,
        base_model: BaseModel,
        models: Sequence[str | None],
        prompts: Sequence[Prompt],
        sampling: Sampling,
        skip: Container[tuple[int, int]] = (),
    ) -> Generator[Completed, None, None]:
        """Return an iterator of the answers of every model to every prompt by `answer`.

        The call itself is counted, raises and crashes as the script says.
        """
        del sampling
        self.require_models(models)
        if None in models and base_model.reference in self.silent_bases:
            message = f"{base_model.reference} itself does not answer"
            raise ModelMissing(message, "Leave it out.")
        return (
            Completed(model=place, prompt=number, completion=self.answer(model, prompt))
            for place, model in enumerate(models)
            for number, prompt in enumerate(prompts)
            if (place, number) not in skip
        )

    def answers(self, base_model: BaseModel) -> bool:
        """Return whether `silent_bases` does not name the base model."""
        return base_model.reference not in self.silent_bases

    def hosting(self) -> Hosting | None:
        """Return None: a trained model answers at once here."""
        return None

    def deployments(self, models: Iterable[str]) -> dict[str, Deployment]:
        """Return nothing: nothing is deployed here."""
        del models
        return {}

    def deploy(self, model_id: str, base_model: str) -> Deployment:
        """Return the model itself, which answers at once."""
        del base_model
        return Deployment(name=model_id, state=DeploymentState.READY)

    def announced_shutdowns(self, models: Mapping[str, str]) -> dict[str, ShutdownNotice]:
        """Return nothing: no model is switched off here."""
        del models
        return {}

    def shipped_shutdowns(self, models: Mapping[str, str]) -> dict[str, ShutdownNotice]:
        """Return nothing: no model is switched off here."""
        del models
        return {}

    def open_engine(self, base_model: BaseModel) -> Engine:
        """Return an engine that answers by `answer`, a word at a time."""
        del base_model
        return ScriptedEngine(backend=self)

    @scripted
    def export_model(self, request: ExportRequest) -> Generator[ExportStep, None, None]:
        """Write a file with the model's ID."""
        self.require_models([request.model_id])
        (request.folder / "weights.txt").write_text(f"{request.model_id}\n", encoding="utf-8")
        check: dict[str, Json] = {"by": "scripted", "answers": 3, "equal": 2, "near_ties": [{}]}
        facts: dict[str, Json] = {
            "checks": [check],
            "notes": ["It has no weights."],
            "use": "cat FOLDER/weights.txt",
        }
        return (
            ExportStep(message=message, facts=found)
            for message, found in (("writing", {}), ("checked", facts))
        )

    def weights_folder(self, model_id: str) -> Path | None:
        """Return the backend's own folder; None if `remote`."""
        self.require_models([model_id])
        return None if self.remote else self.state

    @scripted
    def model_files(self, model_id: str) -> ModelFiles | None:
        """Return the files of a model; None if `remote`."""
        self.require_models([model_id])
        return None if self.remote else self.write_files(model_id)

    @scripted
    def place_model(self, model_id: str, base_model: BaseModel, folder: Path) -> None:
        """Take over a model from another machine's files."""
        del base_model
        self.take_files(model_id, folder)

    @scripted
    def delete(self, model_id: str) -> None:
        """Delete a model with its job."""
        self.require_models([model_id])
        self.remove_model(model_id)

    def require_models(self, models: Sequence[str | None]) -> None:
        """Refuse models that do not exist."""
        missing = {*models} - {None, *self.models()}
        if missing:
            raise ModelMissing(f"there is no model {missing.pop()}", "Train it.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedEngine:
    """Implements `Engine`: answers as its backend does, a word at a time."""

    backend: ScriptedBackend

    def generate(self, model: str | None, prompt: Prompt, sampling: Sampling) -> Iterator[Chunk]:
        """Stream one answer."""
        del sampling
        self.backend.require_models([model])
        given = self.backend.answer(model, prompt)
        words = given.text.split(" ")
        for index, word in enumerate(words[:-1]):
            yield Chunk(text=word + " " * (index < len(words) - 1))
        yield Chunk(
            text=words[-1],
            finish_reason=given.finish_reason,
            prompt_tokens=len(prompt.messages),
            completion_tokens=len(words),
        )

    def close(self) -> None:
        """Do nothing."""


def create(state: Path, endpoint: Endpoint) -> ScriptedBackend:
    """Return a scripted backend, for an entry point of the group `ftctl.backends`."""
    del endpoint
    return ScriptedBackend(state)
