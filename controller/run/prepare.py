"""From the files of a repository to the plan of one pass: load → resolve → observe → plan."""

from collections.abc import Collection, Mapping, MutableMapping
from dataclasses import dataclass, field
from dataclasses import replace as with_changes

from controller.data.fetch.snapshot import Fetched
from controller.errors import InvalidInput, PolicyBroken
from controller.lockfile.model import Lockfile
from controller.lockfile.store import read_lockfile
from controller.plan.actions import Blocked, Desired, Obstacle
from controller.plan.observed import Observed
from controller.plan.plan import Plan, make_plan
from controller.project.project import Project
from controller.resolve.inputs import Readings
from controller.resolve.recipes import Elsewhere, Recorded
from controller.resolve.resolve import Resolved, resolve, without_settings
from controller.resolve.validate import OpenBackend
from controller.run.backends import OpenFor, backend_opener, recorded_backends
from controller.run.observe import observe
from controller.spec.load import read_specs
from controller.spec.settings import Settings, decided_by, known_endpoints, load_settings


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedRun:
    """A plan, and what carrying it out needs."""

    plan: Plan
    resolved: Resolved
    open_for: OpenFor
    open_backend: OpenBackend
    """Opens whatever specs and lockfile name."""
    fetched: MutableMapping[str, Fetched] = field(default_factory=dict)
    """What databases, URLs and hubs answered; the later passes of a run go by it."""
    settings_error: InvalidInput | None = None
    """What is wrong with `ftctl.yaml`. Jobs of this machine can be recorded all the same."""

    @property
    def desired(self) -> Mapping[str, Desired]:
        """What the specs ask for."""
        return self.resolved.desired


def prepare_run(
    project: Project,
    open_for: OpenFor | None = None,
    *,
    replace: Collection[str] = (),
    display_only: bool = False,
) -> PreparedRun:
    """Make the plan of a run's first pass. Writes only the cache of built datasets.

    Args:
        project: The repository.
        open_for: Opens backends; None for the installed backends.
        replace: Fine-tunes whose builds of an older recipe to replace.
        display_only: True if the plan is only displayed; see `observe`.

    Raises:
        InvalidInput: There is no folder of specs.
        LockfileInvalid: The lockfile cannot be read.
    """
    recorded = read_lockfile(project.root, project.state)
    opener = open_for or backend_opener(project)
    return _prepare(project, recorded, opener, {}, replace=replace, display_only=display_only)


def require_readable(prepared: PreparedRun) -> None:
    """Refuse to continue where not one spec can be read, and nothing else is to be done.

    Raises:
        InvalidInput: With every problem of every spec and data file.
    """
    actions, resolved = prepared.plan.actions, prepared.resolved
    blocked = [action for action in actions if isinstance(action, Blocked) and action.problems]
    if not blocked or resolved.desired or len(blocked) < len(actions):
        return
    if all(action.obstacle is Obstacle.POLICY for action in blocked):
        raise PolicyBroken(resolved.problems)
    raise InvalidInput(resolved.problems)


def prepare_pass(project: Project, recorded: Lockfile, earlier: PreparedRun) -> PreparedRun:
    """Make the plan of a run's next pass: specs and settings are read again.

    Args:
        project: The repository.
        recorded: The lockfile, which this run holds.
        earlier: The same run's first plan.
    """
    return _prepare(
        project,
        recorded,
        earlier.open_for,
        earlier.fetched,
        replace=earlier.plan.replace,
        display_only=False,
    )


def _prepare(
    project: Project,
    recorded: Lockfile,
    open_for: OpenFor,
    fetched: MutableMapping[str, Fetched],
    *,
    replace: Collection[str],
    display_only: bool,
) -> PreparedRun:
    specs, problems = read_specs(project.root, project.state / "specs.json")
    settings, settings_error, has_endpoints = _settings(project)
    open_backend = open_for(settings)
    open_recorded = recorded_backends(open_backend)

    def resolved_with(elsewhere: Elsewhere) -> Resolved:
        if settings_error is not None:
            return without_settings([*specs, *problems], settings_error)
        return resolve(
            specs,
            Recorded(lockfile=recorded, elsewhere=elsewhere, replace=replace),
            Readings(project=project, fetched=fetched),
            open_backend,
            policies=settings.policies,
            problems=problems,
        )

    def observed_for(resolved: Resolved) -> Observed:
        return observe(
            resolved,
            recorded,
            open_recorded,
            project,
            display_only=display_only,
            without_endpoints=not has_endpoints,
        )

    resolved = resolved_with({})
    observed = observed_for(resolved)
    if observed.elsewhere:
        # Entries lost from the lockfile may have used an older recipe.
        again = resolved_with(observed.elsewhere)
        if _wanted(again) != _wanted(resolved):
            resolved, observed = again, observed_for(again)
    plan = make_plan(
        resolved.desired,
        recorded,
        observed,
        settings.budget.max_usd,
        resolved.unresolved,
        decided_by(settings),
    )
    return PreparedRun(
        plan=with_changes(plan, replace=frozenset(replace)),
        resolved=resolved,
        open_for=open_for,
        open_backend=open_recorded,
        fetched=fetched,
        settings_error=settings_error,
    )


def _settings(project: Project) -> tuple[Settings, InvalidInput | None, bool]:
    """Return the settings, their errors, and True if the addresses of servers are known."""
    try:
        return load_settings(project.root), None, True
    except InvalidInput as error:
        endpoints = known_endpoints(project.root)
        return endpoints or Settings(), error, endpoints is not None


def _wanted(resolved: Resolved) -> dict[str, str]:
    return {name: desired.fingerprint for name, desired in resolved.desired.items()}
