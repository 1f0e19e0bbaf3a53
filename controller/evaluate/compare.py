"""The models that one evaluation asks: a candidate, and what it is compared with."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from backends.contract.backend import Backend
from backends.contract.completions import Prompt, Sampling
from backends.contract.errors import BackendError
from backends.contract.jobs import BaseModel, JobState
from controller.canonical import digest
from controller.evaluate.gate import CANDIDATE, RETAIN
from controller.evaluate.rivals import Turns, few_shot_turns, with_prompt
from controller.lockfile.model import Build, Entry, Scores
from controller.plan.desired import Desired
from controller.plan.fingerprint import short_id
from controller.plan.versions import is_comparable
from controller.prompted.examples import FindShots
from controller.spec.evaluation import BASE, PRODUCTION, Rival
from controller.spec.load import FOLDER

_DECISIVE = (
    "held_out",
    "max_tokens",
    "metrics",
    "temperature",
    "columns",
    "gate_slices",
    "group_by",
    "sheets",
)
"""Inputs of an evaluation that decide a model's own scores."""
NOT_COMPARED = "production's scores are of an older version, and asking it costs: not compared"
ASK_AGAIN = "To measure production too: ftctl evaluate"
BASE_AGAIN = "base_again"
"""The base model, asked a second time with another seed: how much scores differ by chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatedModel:
    """One model that answers the held-out prompts."""

    role: str
    """`candidate`, `base`, `production`, or the name of a rival."""
    place: str
    """Backend and endpoint that ask the model. Opened only if there is something to ask."""
    base_model: BaseModel
    model_id: str | None
    """None for the base model itself."""
    identity: str
    """Identity of the model, under which its answers are kept."""
    sampling: Sampling = field(default_factory=Sampling)
    prompt: str | None = None
    """System prompt that it gets instead of that of the examples."""
    shots: Sequence[Turns] = ()
    """Examples that it sees before each question."""
    read_by: str | None = None
    """ID of the trained model in whose form a base model on this machine gets its prompts."""

    @property
    def has_own_prompts(self) -> bool:
        """True if it gets other prompts than the held-out prompts."""
        return self.prompt is not None or bool(self.shots)

    def asked(self, prompt: Prompt) -> Prompt:
        """Return the prompt that a model with prompts of its own gets for a held-out prompt."""
        return with_prompt(prompt, self.prompt, self.shots)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationContext:
    """Repository, backends and kept answers that an evaluation reads besides its inputs."""

    root: Path
    """The repository's folder; a path of a base model is relative to its folder of specs."""
    open_backend: Callable[[str], Backend]
    train: Path
    """Training examples, some of which a rival may see; canonical JSONL."""
    has_answers: Callable[[EvaluatedModel], bool]
    """Returns True if all answers of a model are kept, so that nobody is asked."""
    find_shots: FindShots
    """Returns the examples of a build for which nothing was trained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A candidate and the models that it is compared with."""

    models: tuple[EvaluatedModel, ...]
    """Models that answer the prompts, the candidate first."""
    recorded: Mapping[str, Scores]
    """Scores by role of models that are not asked."""
    production_build: str | None
    """Fingerprint of the build whose role is `production`."""
    retaining: tuple[EvaluatedModel, ...] = ()
    """Models that answer the prompts of `evaluation.retain`: the candidate and its base model."""


def compare_with(
    desired: Desired,
    build: Build,
    entry: Entry,
    context: EvaluationContext,
    *,
    without_base: bool = False,
    asks_production: bool = True,
) -> Comparison:
    """Return the inputs of a build's evaluation, on any backend.

    Production was measured when it was the candidate. Its kept answers are scored again. Where they
    are gone, its recorded scores hold while held-out examples, metrics and version of scoring are
    the same: they cost nothing and outlive the service that gave the answers. Scores of another
    version are not compared.

    Args:
        desired: Inputs that the spec asks for.
        build: The candidate.
        entry: The fine-tune's record in the lockfile.
        context: What the evaluation reads besides its inputs.
        without_base: True to leave out the base model, because its server cannot answer for it.
        asks_production: True to query production if its scores have only another version. Otherwise
                it has no scores, and no condition on it holds.

    Raises:
        BackendError: A model's training inputs are not on this machine.
    """
    models = [_built(CANDIDATE, build, _base_model(build, desired, context), desired, context)]
    settings = desired.spec.evaluation
    asks_base = settings.asks_base and not without_base
    base = list(_base_models(build, desired, context)) if asks_base else []
    retaining = (models[0], *base[:1]) if settings.retain else ()
    if BASE in settings.roles:
        models += base
    models += [_rival(one, build, desired, context) for one in settings.rivals.values()]
    production = entry.builds.get(entry.production or "")
    is_compared = PRODUCTION in settings.roles
    if not is_compared or production is None or production.model_id == build.model_id:
        return Comparison(
            models=tuple(models), recorded={}, production_build=None, retaining=retaining
        )
    recorded = recorded_scores(production, desired)
    if recorded is None and not asks_production:
        recorded = {PRODUCTION: {}}
    kept = recorded_production(production, desired, context)
    if kept is not None and context.has_answers(kept):
        models.append(kept)
        recorded = {}
    elif not recorded or (asks_production and needs_answers(desired, PRODUCTION)):
        base_model = _base_model(production, desired, context)
        models.append(_built(PRODUCTION, production, base_model, desired, context))
        recorded = {}
    return Comparison(
        models=tuple(models),
        recorded=recorded,
        production_build=production.fingerprint,
        retaining=retaining,
    )


def production_model(build: Build, desired: Desired, context: EvaluationContext) -> EvaluatedModel:
    """Return a build in production as evaluations ask it.

    Where its base model is not on this machine, its answers can be read and not asked for.

    Raises:
        BackendError: The examples that it shows are not on this machine.
    """
    try:
        base_model = _base_model(build, desired, context)
    except BackendError:
        base_model = _recorded_base(build)
    return _built(PRODUCTION, build, base_model, desired, context)


def recorded_production(
    production: Build, desired: Desired, context: EvaluationContext
) -> EvaluatedModel | None:
    """Return the production build as a model whose answers are kept, and which need not be asked.

    None where the examples that it shows are gone: nobody knows what it was asked.
    """
    try:
        return _built(PRODUCTION, production, _recorded_base(production), desired, context)
    except BackendError:
        return None


def needs_answers(desired: Desired, model: str) -> bool:
    """Return True if a model's scores alone do not do.

    The gate asks how sure a difference to it is, or a judge compares answers with its answers.
    """
    is_sure = any(one.level is not None and one.model == model for one in desired.conditions)
    return is_sure or (model == PRODUCTION and bool(desired.spec.evaluation.beside_production))


def require_model(build: Build, open_backend: Callable[[str], Backend]) -> None:
    """Check that a build's model still exists.

    Raises:
        BackendError: The model is gone.
    """
    backend = open_backend(build.backend)
    if build.prompt is not None:
        is_there = backend.answers(_recorded_base(build))
    else:
        # Where this machine is to keep the model, it is fetched from the store, or is missing.
        backend.weights_folder(build.model_id)
        is_there = _is_hosted(build, backend) if build.is_adopted else _is_made(build, backend)
    if not is_there:
        message = (
            f"the model of build {short_id(build.fingerprint)} is not at {build.backend} any more"
        )
        remedy = "Bring it back, or change the spec: nothing is retrained silently."
        raise BackendError(message, remedy)


def _is_made(build: Build, backend: Backend) -> bool:
    """Return whether the backend has a job of ours that made the model."""
    found = backend.find_jobs([build.fingerprint])
    jobs = found.get(build.fingerprint, ())
    return any(job.state is JobState.SUCCEEDED for job in jobs)


def _is_hosted(build: Build, backend: Backend) -> bool:
    """Return whether the backend has an adopted model, whose job carries no fingerprint."""
    model, base = build.model_id, build.base_model
    notice = backend.announced_shutdowns({model: base}).get(model)
    if notice is not None and notice.gone:
        return False
    if not build.job:
        return True
    job = backend.observe([build.job]).get(build.job)
    return job is not None and job.result is not None and job.result.model_id == model


def _sampling(desired: Desired, seed: int = 0) -> Sampling:
    settings = desired.spec.evaluation
    return Sampling(max_tokens=settings.max_tokens, temperature=settings.temperature, seed=seed)


def _built(
    role: str, build: Build, base_model: BaseModel, desired: Desired, context: EvaluationContext
) -> EvaluatedModel:
    """Return the model of a build.

    Raises:
        BackendError: The examples that it shows are not on this machine.
    """
    prompt = build.prompt
    if prompt is not None:
        return EvaluatedModel(
            role=role,
            place=build.backend,
            base_model=base_model,
            model_id=None,
            # As of a rival with the same model, prompt and examples, whose answers it shares.
            identity=f"{build.backend} {base_model.identity}",
            sampling=_sampling(desired),
            prompt=prompt.system,
            shots=context.find_shots(build),
        )
    return EvaluatedModel(
        role=role,
        place=build.backend,
        base_model=base_model,
        model_id=build.model_id,
        identity=_identity(build, context),
        sampling=_sampling(desired),
    )


def _identity(build: Build, context: EvaluationContext) -> str:
    """Return the identity of a trained model.

    An adopted model of a service is known by its ID alone, as where `method: prompt` names it: what
    was recorded of it stays valid when its spec is adopted again, with the data that was missing.
    """
    hosted, trained = answer_identities(build)
    is_hosted = build.is_adopted and context.open_backend(build.backend).capabilities().endpoints
    return hosted if is_hosted else trained


def answer_identities(build: Build) -> tuple[str, str]:
    """Return the identities that a build's model may have where its answers are kept.

    The first is that of an adopted model of a service, the second that of any other model.
    """
    return (
        f"{build.backend} model:{build.model_id}",
        f"{build.backend} {build.model_id} {build.fingerprint} attempt {build.attempt}",
    )


def _base_models(
    build: Build, desired: Desired, context: EvaluationContext
) -> Iterator[EvaluatedModel]:
    """Yield the base model; twice, with two seeds, if its answers are drawn."""
    identity, read_by = _as_asked(build.backend, build, context)
    base = EvaluatedModel(
        role=BASE,
        place=build.backend,
        base_model=_base_model(build, desired, context),
        model_id=None,
        identity=identity,
        read_by=read_by,
        sampling=_sampling(desired),
    )
    yield base
    if desired.spec.evaluation.temperature:
        yield replace(base, role=BASE_AGAIN, sampling=_sampling(desired, seed=1))


def _rival(
    rival: Rival, build: Build, desired: Desired, context: EvaluationContext
) -> EvaluatedModel:
    place, read_by = rival.place(desired.spec.place), None
    if rival.model is None:
        base_model = desired.base_model
        identity, read_by = _as_asked(place, build, context)
    else:
        backend = context.open_backend(place)
        base_model = backend.resolve_base_model(rival.model, None, context.root / FOLDER)
        identity = f"{place} {base_model.identity}"
    train_digest = desired.data.train.digest
    return EvaluatedModel(
        role=rival.name,
        place=place,
        base_model=base_model,
        model_id=None,
        identity=identity,
        read_by=read_by,
        sampling=_sampling(desired),
        prompt=rival.prompt,
        shots=few_shot_turns(context.train, rival.few_shot, train_digest) if rival.few_shot else (),
    )


def _as_asked(place: str, build: Build, context: EvaluationContext) -> tuple[str, str | None]:
    """Return the identity of a build's base model, and the model that decides how it is asked.

    On this machine it gets its prompts in the form of the model that was trained from it, which
    hyperparameters decide. A server knows nothing of them.
    """
    identity = f"{place} {build.inputs.get('base_model')}"
    if build.prompt is not None or context.open_backend(place).capabilities().endpoints:
        return identity, None
    form = digest([build.inputs.get("method"), build.inputs.get("hyperparameters")])
    return f"{identity} asked in the form {form[:16]}", build.model_id


def _recorded_base(build: Build) -> BaseModel:
    """Return a build's base model as recorded, for a model that need not be asked."""
    identity = str(build.inputs.get("base_model"))
    return BaseModel(reference=build.base_model, revision=build.revision, identity=identity)


def _base_model(build: Build, desired: Desired, context: EvaluationContext) -> BaseModel:
    """Return the base model that a build was trained from; the spec may name another by now."""
    identity = build.inputs.get("base_model")
    if identity == desired.base_model.identity:
        return desired.base_model
    found = context.open_backend(build.backend).resolve_base_model(
        build.base_model, build.revision, context.root / FOLDER
    )
    if found.identity != identity:
        message = (
            f"build {short_id(build.fingerprint)} was trained from another {build.base_model} than "
            "the one that is here"
        )
        remedy = "Restore that base model, or remove `production` from evaluation.compare_to."
        raise BackendError(message, remedy)
    return found


def recorded_scores(production: Build, desired: Desired) -> dict[str, Scores] | None:
    """Return production's scores if the same held-out examples and metrics gave them.

    None if only the version of scoring differs.
    """
    evaluation = production.evaluation
    if evaluation is None:
        return {}
    if any(evaluation.inputs.get(key) != desired.evaluation_inputs.get(key) for key in _DECISIVE):
        return {}
    if not is_comparable(evaluation, desired):
        return None
    # Retained ability is measured for a candidate and its base model, at one version of a suite.
    scores = evaluation.scores[CANDIDATE]
    own = {name: score for name, score in scores.items() if not name.startswith(RETAIN)}
    return {PRODUCTION: own}
