"""Opening the backends that specs, settings and the lockfile name, each once."""

from collections.abc import Callable
from functools import cache
from typing import TypeAlias

from backends.contract.backend import Backend
from backends.contract.errors import BackendUnknown
from backends.registry import open_backend, require_backend
from controller.project.project import Project
from controller.resolve.answers import OpenBackend
from controller.spec.sections.machines import machines_of
from controller.spec.settings import Settings, endpoint_of, load_settings
from controller.store.fetching import Fetcher, fetching

OpenFor: TypeAlias = Callable[[Settings], OpenBackend]
"""Returns what opens backends by a spec's `place`, under the settings of the moment."""


def backend_opener(project: Project, *, fetches: bool = False) -> OpenFor:
    """Return a function that opens each backend, at each endpoint, once for the same settings.

    Args:
        project: The repository.
        fetches: True for a command that uses models: those that are not here come from the store.

    What it returns raises BackendUnknown, and BackendError for an endpoint that `ftctl.yaml` does not
    name.
    """
    opened: dict[str, Backend] = {}

    def open_for(settings: Settings) -> OpenBackend:
        @cache
        def open_place(place: str) -> Backend:
            name, _, endpoint_name = place.partition("@")
            require_backend(name)
            endpoint = endpoint_of(settings, project.root, endpoint_name)
            key = f"{name} {endpoint!r} {settings.store!r} {settings.machines!r}"
            if key not in opened:
                backend = open_backend(name, project.state, endpoint)
                backend.use_machines(machines_of(settings.machines))
                opened[key] = with_store(backend, project, settings, place, fetches=fetches)
            return opened[key]

        return open_place

    return open_for


def with_store(
    backend: Backend, project: Project, settings: Settings, place: str, *, fetches: bool
) -> Backend:
    """Return a backend whose models come from the store where they are not on this machine."""
    return fetching(
        Fetcher(
            project=project,
            settings=settings.store,
            place=place,
            backend=backend,
            fetches=fetches,
        )
    )


def backends_of(project: Project, *, fetches: bool = False) -> OpenBackend:
    """Return a function that opens each backend, at each endpoint, once.

    It takes a spec's `place`; `ftctl.yaml` is read when the first one is opened. The arguments are
    those of `backend_opener`.
    """
    open_for = backend_opener(project, fetches=fetches)

    @cache
    def read() -> OpenBackend:
        return open_for(load_settings(project.root))

    def open_place(place: str) -> Backend:
        return read()(place)

    return open_place


def recorded_backends(open_backend: OpenBackend) -> OpenBackend:
    """Return a function that opens what the lockfile names, which need not be installed here.

    It raises BackendUnknown where the backend is not installed.
    """

    def open_recorded(place: str) -> Backend:
        try:
            return open_backend(place)
        except BackendUnknown:
            name = place.partition("@")[0]
            message = f"the lockfile names the backend {name!r}, which is not installed here"
            raise BackendUnknown(message, "Install it, and run the command again.") from None

    return open_recorded
