"""Opening the backends that specs, settings and the lockfile name, each once."""

from collections.abc import Callable
from functools import cache
from typing import TypeAlias

from backends.contract.backend import Backend
from backends.contract.errors import BackendUnknown
from backends.registry import open_backend, require_backend
from controller.project.project import Project
from controller.resolve.answers import OpenBackend
from controller.spec.settings import Settings, endpoint_of, load_settings

OpenFor: TypeAlias = Callable[[Settings], OpenBackend]
"""Returns what opens backends by a spec's `place`, under the settings of the moment."""


def backend_opener(project: Project) -> OpenFor:
    """Return a function that opens each backend, at each endpoint, once for the same settings.

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
            key = f"{name} {endpoint!r}"
            if key not in opened:
                opened[key] = open_backend(name, project.state, endpoint)
            return opened[key]

        return open_place

    return open_for


def backends_of(project: Project) -> OpenBackend:
    """Return a function that opens each backend, at each endpoint, once.

    It takes a spec's `place`; `ftctl.yaml` is read when the first one is opened.
    """
    open_for = backend_opener(project)

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
