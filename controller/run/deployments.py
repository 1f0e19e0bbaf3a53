"""Deployments of recorded builds, at services where only a deployed model answers."""

from collections.abc import Collection, Iterator

from backends.contract.errors import BackendError
from controller.lockfile.model import Lockfile
from controller.plan.hosting import recorded_deployment
from controller.plan.observed import Observed
from controller.resolve.answers import OpenBackend
from controller.resolve.resolve import Resolved


def find_deployments(
    resolved: Resolved,
    recorded: Lockfile,
    open_backend: OpenBackend,
    *,
    offline: bool = False,
    silent: Collection[str] = (),
) -> Iterator[Observed]:
    """Yield what deployments cost at each place, and which of them there are.

    Args:
        resolved: What the specs ask for.
        recorded: The lockfile.
        open_backend: Opens a backend by its place.
        offline: Whether no server is asked.
        silent: Places that gave no answer just now, and are not asked again.
    """
    models = _models(resolved, recorded)
    for place in sorted({*models, *(one.spec.place for one in resolved.desired.values())}):
        try:
            backend = open_backend(place)
            hosting = backend.hosting()
            if hosting is None:
                continue
            yield Observed(hosting={place: hosting})
            if not offline and place not in silent and models.get(place):
                found = backend.deployments(sorted(models[place]))
                yield Observed(deployments={(place, model): one for model, one in found.items()})
        except BackendError as error:
            if place not in silent:
                yield Observed(remarks={f"deployments at {place}": error.one_line})


def _models(resolved: Resolved, recorded: Lockfile) -> dict[str, set[str]]:
    """Return the model IDs of builds that are in use, or that were deployed, by place."""
    models: dict[str, set[str]] = {}
    for name, entry in recorded.finetunes.items():
        desired = resolved.desired.get(name)
        wanted = None if desired is None else desired.fingerprint
        for fingerprint, build in entry.builds.items():
            in_use = fingerprint in {entry.production, entry.candidate, wanted}
            if build.prompt is not None:
                continue
            if in_use or recorded_deployment(build) is not None:
                models.setdefault(build.backend, set()).add(build.model_id)
    return models
