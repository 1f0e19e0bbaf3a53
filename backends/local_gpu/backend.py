"""The `local-gpu` backend: trains and completes on this machine, on a GPU or, if small, the CPU.

All its state is in files below one folder, so that any process can read it at any time. Importing
this module needs no training package: child processes import them.
"""

import importlib
import os
import shutil
from collections.abc import Container, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Final

from backends.contract.backend import Endpoint
from backends.contract.capabilities import Capabilities
from backends.contract.completions import Completed, Engine, Prompt, Sampling
from backends.contract.errors import (
    BaseModelUnknown,
    FieldProblem,
    HyperparametersInvalid,
)
from backends.contract.exports import FORMATS, ExportRequest, ExportStep
from backends.contract.inspector import ExampleInspector, Json
from backends.contract.jobs import (
    BaseModel,
    CurvePoint,
    DownloadReport,
    Estimate,
    Event,
    Job,
    JobState,
    Memory,
    Recipe,
    TrainRequest,
)
from backends.contract.methods import METHODS
from backends.contract.moves import ModelFiles
from backends.installation import install_command
from backends.local_gpu import hyperparameters, recipes
from backends.local_gpu.export.export_process import export_model, weights_folder
from backends.local_gpu.hardware import hardware_problem
from backends.local_gpu.inference import engine
from backends.local_gpu.inference.trained_models import (
    TRAINED,
    as_base_model,
    behind,
    continued_adapter,
    is_start,
    is_trained,
    run_of_model,
    start_merge,
)
from backends.local_gpu.jobs import jobs, moved_runs, speeds
from backends.local_gpu.jobs.child_process import require_packages, require_quantization
from backends.local_gpu.jobs.curves import curve_of
from backends.local_gpu.jobs.devices import too_few, visible_devices
from backends.local_gpu.jobs.job_events import event_of
from backends.local_gpu.jobs.run_dir import RunDir, run_of, runs_by_name, runs_of
from backends.local_gpu.jobs.run_dir import create as create_run
from backends.local_gpu.json_files import read_lines
from backends.local_gpu.machines.machines import OnMachines
from backends.local_gpu.memory.needs import memory_of
from backends.local_gpu.memory.room import least_room
from backends.local_gpu.memory.shape import read_shape
from backends.local_gpu.models import base_models
from backends.local_gpu.models.adapter_layers import problems_of, read_layers
from backends.local_gpu.models.adopted_adapters import take_over
from backends.local_gpu.models.architectures import require_trainable
from backends.local_gpu.models.packable import packing_problems
from backends.local_gpu.models.targets.problems import choice_problems
from backends.local_gpu.models.targets.selection import chooses_more
from backends.local_gpu.models.targets.stored import read_stored
from backends.local_gpu.tokens.inspector import LocalInspector

_EVERY: Final = "all-linear"


class LocalGpuBackend(OnMachines):
    """Implements `Backend`; see there for what each method promises."""

    name = "local-gpu"

    def capabilities(self) -> Capabilities:
        """Return the capabilities of this backend."""
        return Capabilities(
            methods=hyperparameters.METHODS,
            remote=False,
            paid=False,
            gpu_hours=True,
            hardware=True,
            machines=self._machines.privacy(),
            exports=frozenset(FORMATS),
            starts_from=frozenset({"merge", "continue"}),
        )

    def parse_hyperparameters(self, method: str, raw: Mapping[str, Json]) -> dict[str, Json]:
        """Check hyperparameters and write out every default."""
        return hyperparameters.parse(method, raw)

    def hardware_problems(
        self, method: str, hyperparameters: Mapping[str, Json], gpus: int
    ) -> Sequence[FieldProblem]:
        """Return a problem where a step cannot be divided among so many devices."""
        problem = hardware_problem(method, hyperparameters, gpus)
        return () if problem is None else (problem,)

    def common_names(self) -> Mapping[str, str]:
        """Return the common names of hyperparameters."""
        return hyperparameters.COMMON_NAMES

    def resolve_base_model(self, base_model: str, revision: str | None, folder: Path) -> BaseModel:
        """Find out what a spec's `base_model` is, without network.

        It may be a model that was trained or adopted on this machine, by its ID.
        """
        if base_model.startswith(TRAINED):
            return as_base_model(self._state, base_model)
        return base_models.resolve_base_model(base_model, revision, folder, self._state)

    def look_up_base_model(
        self, base_model: str, revision: str | None, folder: Path
    ) -> BaseModel | None:
        """Ask the hub about a model that is not complete here, unless HF_HUB_OFFLINE is set."""
        del folder
        if base_models.is_offline() or not base_models.is_hub_id(base_model):
            return None
        known = base_models.commit_here(base_model, revision)
        if known is not None:
            pinned = base_models.hub_model(base_model, known)
            if base_models.local_folder(pinned) is not None:
                return None
        if find_spec("huggingface_hub") is not None:
            found: BaseModel | None = _hub().look_up(base_model, revision)
            return found
        if known is not None:
            return None
        raise BaseModelUnknown(
            f"{base_model} is not on this machine, and asking the hub needs huggingface_hub",
            install_command("local"),
        )

    def fetch_base_model(self, base_model: BaseModel, report: DownloadReport) -> None:
        """Download what this machine lacks of a hub model."""
        base = behind(self._state, base_model)[0]
        if base.revision is not None and base_models.local_folder(base) is None:
            base_models.require_obtainable(base)
            require_packages()
            _hub().fetch(base, report)

    def recipes(
        self, base_model: BaseModel, method: str, hyperparameters: Mapping[str, Json]
    ) -> Sequence[Recipe]:
        """Return the hyperparameters under each recipe, the newest first."""
        del method
        folder = base_models.model_folder(base_model)
        require_trainable(folder, base_model.reference)
        newest: dict[str, Json] = {**hyperparameters, "recipe": recipes.NEWEST}
        differs = recipes.trains_otherwise(folder, hyperparameters)
        decides = hyperparameters.get("early_stopping") is not None
        return [
            Recipe(hyperparameters=settings, is_correction=newer, held_out_decides=decides)
            for settings, newer in ((newest, differs), (hyperparameters, True))
        ]

    def inspector(
        self, base_model: BaseModel, method: str, hyperparameters: Mapping[str, Json]
    ) -> ExampleInspector:
        """Return the inspector for these settings; it refuses examples that cannot be trained on."""
        shape = behind(self._state, base_model)[0]
        _require_fitting(shape, hyperparameters)
        _, differing = continued_adapter(self._state, base_model, hyperparameters)
        if differing:
            raise HyperparametersInvalid(differing)
        template, length, batch = (
            hyperparameters.get(key)
            for key in ("chat_template", "max_length", "max_tokens_per_batch")
        )
        return LocalInspector(
            base_model=base_model,
            shape=shape,
            chat_template=None if template is None else str(template),
            thinking=hyperparameters.get("thinking") == "on",
            max_length=length if isinstance(length, int) else None,
            answers=METHODS[method].is_of_preferences,
            max_tokens_per_batch=batch if isinstance(batch, int) else None,
        )

    def estimate(self, request: TrainRequest, examples: int, tokens: int | None) -> Estimate:
        """Return the number of steps of a job, and its hours where `max_gpu_hours` limits them.

        The job costs only time, which is known where trainings of the same kind ended here. Batches
        that are filled to a number of tokens are counted only when it begins.
        """
        context = base_models.longest_context(behind(self._state, request.base_model)[0])
        return speeds.estimate(self._state, request, examples, tokens, context)

    def memory(self, request: TrainRequest) -> Memory | None:
        """Return the memory that a job needs, where the base model is on this machine."""
        devices = visible_devices(os.environ)
        hardware = request.hardware
        lacking = None if hardware.machine else too_few(hardware.gpus, devices)
        if lacking is not None:
            return Memory(needs=0, problem=lacking[0], remedy=lacking[1])
        shape = read_shape(base_models.model_folder(request.base_model))
        if shape is None:
            return None
        inspector = self.inspector(request.base_model, request.method, request.hyperparameters)
        room = None if hardware.machine else least_room(devices, hardware.gpus)
        return memory_of(request, shape, inspector, room)

    def find_jobs(self, fingerprints: Iterable[str]) -> dict[str, tuple[Job, ...]]:
        """Look up every job made for these fingerprints, any attempt, oldest first."""
        wanted = list(fingerprints)
        self._machines.look_up(wanted)
        found = {}
        for fingerprint, runs in runs_of(self._state, wanted).items():
            made = [self._read(run) for run in runs]
            same = tuple(job for job in made if job.fingerprint == fingerprint)
            if same:
                found[fingerprint] = same
        return found

    def find_jobs_by_name(self, names: Iterable[str]) -> dict[str, tuple[Job, ...]]:
        """Look up every job made for fine-tunes of these names, oldest first."""
        self._machines.look_up(None)
        return {
            name: tuple(sorted(map(self._read, runs), key=lambda job: (job.created_s, job.id)))
            for name, runs in runs_by_name(self._state, names).items()
        }

    def verify_job(self, request: TrainRequest, job_id: str) -> None:
        """Do nothing: a run names its whole fingerprint, and `find_jobs` compared it."""

    def submit(self, request: TrainRequest) -> Job:
        """Start the job of this fingerprint and attempt, or return the one that exists."""
        base = request.base_model
        run = run_of(self._state, request)
        hardware = self._machines.hardware(run, request.hardware)
        if hardware.machine is None:
            # A job that cannot start would count as failed. What is missing can be installed before.
            require_packages()
            require_quantization(request.hyperparameters)
        workers = self._machines.workers(hardware)
        jobs.require_devices(run, workers, hardware)
        if self._run(run.job_id) is None and not is_trained(base):
            base_models.require_obtainable(base)
        adapter, _ = continued_adapter(self._state, base, request.hyperparameters)
        started = start_merge(self._state, base)
        if adapter is not None:
            started = replace(started, adapter=str(adapter))
        run = create_run(self._state, replace(request, base_model=started))
        jobs.start(run, workers, hardware)
        return self._read(run)

    def take_over(self, request: TrainRequest, folder: Path) -> Job | None:
        """Record an adapter that another program trained as the result of a request."""
        return self._read(take_over(self._state, request, folder))

    def observe(self, job_ids: Iterable[str]) -> dict[str, Job]:
        """Return jobs by ID, without jobs that do not exist any more."""
        runs = {job_id: self._run(job_id) for job_id in job_ids}
        self._machines.follow([run for run in runs.values() if run is not None])
        return {job_id: self._read(run) for job_id, run in runs.items() if run is not None}

    def events(self, job_id: str) -> Iterator[Event]:
        """Yield the job's log so far, oldest first."""
        run = self._run(job_id)
        if run is None:
            return
        for line in read_lines(run.progress):
            yield event_of(line)
        job = self._read(run)
        if job.state in {JobState.FAILED, JobState.INTERRUPTED} and run.log.exists():
            for text in self._machines.workers_of(run).logs(run):
                yield Event(time_s=run.log.stat().st_mtime, message=text)
        if job.error is not None and job.finished_s is not None:
            yield Event(time_s=job.finished_s, message=f"{job.state}: {job.error}")

    def curve(self, job_id: str) -> Iterator[CurvePoint]:
        """Yield the job's losses so far, in order of the steps."""
        run = self._run(job_id)
        if run is not None:
            yield from curve_of(read_lines(run.progress))

    def cancel(self, job_id: str) -> None:
        """Ask a job to stop; a finished job stays what it is."""
        run = self._run(job_id)
        if run is not None:
            jobs.cancel(run, self._machines.workers_of(run))

    def pause(self, job_id: str) -> None:
        """Ask a job to save its work and stop; it is interrupted then, until submitted again."""
        run = self._run(job_id)
        if run is not None:
            jobs.pause(run, self._machines.workers_of(run))

    def complete(
        self,
        base_model: BaseModel,
        models: Sequence[str | None],
        prompts: Sequence[Prompt],
        sampling: Sampling,
        skip: Container[tuple[int, int]] = (),
    ) -> Generator[Completed, None, None]:
        """Yield the answer of every model to every prompt when it ends, model after model."""
        require_packages()
        base, model = behind(self._state, base_model)
        if model is not None and any(one is not None for one in models):
            # The models were trained from it.
            base, model = start_merge(self._state, base_model), None
        asked = [model if one is None else one for one in models]
        return engine.complete(self._state, base, asked, prompts, sampling, skip)

    def answers(self, base_model: BaseModel) -> bool:
        """Return True: every base model that is trained here can be asked."""
        del base_model
        return True

    def open_engine(self, base_model: BaseModel) -> Engine:
        """Load a base model and keep it, for models trained from it to be served together."""
        require_packages()
        base, model = behind(self._state, base_model)
        if is_start(self._state, base_model):
            base, model = start_merge(self._state, base_model), None
        return engine.open_engine(self._state, base, model)

    def export_model(self, request: ExportRequest) -> Generator[ExportStep, None, None]:
        """Write a model's weights into a folder in the form of another program."""
        require_packages()
        return export_model(self._state, request)

    def weights_folder(self, model_id: str) -> Path:
        """Return the folder of a model's weights."""
        return weights_folder(self._state, model_id)

    def model_files(self, model_id: str) -> ModelFiles:
        """Return the files of a model that another machine needs."""
        return moved_runs.model_files(self._state, model_id)

    def place_model(self, model_id: str, base_model: BaseModel, folder: Path) -> None:
        """Take over a model from another machine's files."""
        moved_runs.place_model(self._state, model_id, base_model, folder)

    def delete(self, model_id: str) -> None:
        """Delete a model and its run, so that the same spec may be trained again."""
        run = run_of_model(self._state, model_id)
        # Renamed first: a crash while deleting must not leave half a model under its name.
        doomed = run.path.with_name(f".deleted-{run.name}")
        run.path.replace(doomed)
        shutil.rmtree(doomed)

    def _read(self, run: RunDir) -> Job:
        return jobs.read_job(run, self._machines.workers_of(run))


def create(state: Path, _endpoint: Endpoint | None = None) -> LocalGpuBackend:
    """Return the backend that keeps its runs below a folder; it has no endpoints."""
    return LocalGpuBackend(state)


def _hub() -> ModuleType:
    return importlib.import_module("backends.local_gpu.hub.base_model")


def _require_fitting(base_model: BaseModel, settings: Mapping[str, Json]) -> None:
    """Require a base model that the settings can be used with.

    Raises:
        HyperparametersInvalid: With every setting that does not fit.
    """
    folder = base_models.model_folder(base_model)
    problems = packing_problems(folder, settings)
    # These fit every model, and are the most common settings.
    special = settings.get("lora_dropout") or settings.get("use_dora")
    if settings.get("target_modules", _EVERY) != _EVERY or special:
        layers = read_layers(folder)
        problems += [] if layers is None else problems_of(layers, settings)
    if not problems and chooses_more(settings):
        stored = read_stored(folder)
        problems += [] if stored is None else choice_problems(stored, settings)
    if problems:
        raise HyperparametersInvalid(problems)
