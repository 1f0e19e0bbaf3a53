"""The first stage of a walk: specs and settings as they are now."""

from collections.abc import Collection, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field

from controller.data.sources.source_file import LocatedFile
from controller.errors import InvalidInput, Problem
from controller.project.project import Project
from controller.resolve.answers import OpenBackend
from controller.run.backends import OpenFor
from controller.spec.load import LoadedSpec, read_specs
from controller.spec.settings import Settings, known_endpoints, load_settings


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInputs:
    """Start of every pass of a run."""

    project: Project
    open_for: OpenFor
    replace: Collection[str] = ()
    """Fine-tunes whose builds of an older recipe to replace."""
    display_only: bool = False
    """True if the plan is only displayed; see `observe`."""
    fetched: MutableMapping[str, LocatedFile] = field(default_factory=dict)
    """Answers of databases, URLs and hubs; the later passes of a run use them again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Specs and settings at one moment."""

    inputs: RunInputs
    specs: Mapping[str, LoadedSpec]
    problems: Mapping[str, Sequence[Problem]]
    """Problems of invalid specs, by fine-tune."""
    settings: Settings
    settings_error: InvalidInput | None
    """Problems of `ftctl.yaml`. Jobs of this machine can be recorded all the same."""
    has_endpoints: bool
    """True if the addresses of servers are known."""
    open_backend: OpenBackend
    """Opens the backends that specs name."""


def load(inputs: RunInputs) -> Loaded:
    """Read specs and settings."""
    project = inputs.project
    specs, problems = read_specs(project.root, project.state / "specs.json")
    settings, error, has_endpoints = _load_settings(project)
    return Loaded(
        inputs=inputs,
        specs=specs,
        problems=problems,
        settings=settings,
        settings_error=error,
        has_endpoints=has_endpoints,
        open_backend=inputs.open_for(settings),
    )


def _load_settings(project: Project) -> tuple[Settings, InvalidInput | None, bool]:
    try:
        return load_settings(project.root), None, True
    except InvalidInput as error:
        endpoints = known_endpoints(project.root)
        return endpoints or Settings(), error, endpoints is not None
