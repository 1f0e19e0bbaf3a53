"""The known backends, by name. A third party adds one in the entry-point group `ftctl.backends`.

An entry names a function `create(state: Path, endpoint: Endpoint) -> Backend`; its module is
imported only when a spec uses it. A backend without endpoints ignores the second argument.
"""

import sys
from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from pathlib import Path

from backends.contract.backend import Backend, Endpoint
from backends.contract.errors import BackendUnknown
from backends.contract.guard.guarded import guard
from backends.did_you_mean import did_you_mean, use_one_of
from backends.excerpt import excerpt

LOCAL = "local-gpu"
"""The backend of this machine: `ftctl serve` trains and answers with it."""
OF_ENDPOINTS = "openai"
"""The backend that talks to the endpoints of `ftctl.yaml`, unless another is named."""
BUILT_IN = {
    LOCAL: "backends.local_gpu.backend:create",
    OF_ENDPOINTS: "backends.openai.backend:create",
}
GROUP = "ftctl.backends"
_PROFILES = Path(__file__).parent / OF_ENDPOINTS / "profiles"
ENDPOINT_KINDS = tuple(sorted(path.stem for path in _PROFILES.glob("*.yaml")))
"""The kinds of servers that an endpoint of `ftctl.yaml` may be: a file of data each."""
SMALL_BASE_MAKER = "backends.local_gpu.models.small_base"
"""Program that makes a small base model without a download: `python -m … FOLDER`."""


def known_backends() -> tuple[str, ...]:
    """Return the names a spec may use, sorted."""
    return tuple(sorted({*BUILT_IN, *_plug_ins().names}))


def require_backend(name: str) -> None:
    """Require that a backend of this name is installed, without importing it.

    Raises:
        BackendUnknown: No installed backend has that name.
    """
    _entry(name)


def open_backend(name: str, state: Path, endpoint: Endpoint) -> Backend:
    """Return a backend that keeps its local state below a folder; faults in it name it.

    Args:
        name: One of `known_backends`.
        state: The repository's state folder on this machine.
        endpoint: The server it is to talk to.

    Raises:
        BackendUnknown: No installed backend has that name.
        BackendError: It cannot be imported or created.
    """
    entry = _entry(name)

    def create() -> Backend:
        make: Callable[[Path, Endpoint], Backend] = entry.load()
        return make(state, endpoint)

    return guard(name, create, built_in=name in BUILT_IN)


def _entry(name: str) -> EntryPoint:
    if name in BUILT_IN:
        return EntryPoint(name=name, value=BUILT_IN[name], group=GROUP)
    for entry in _plug_ins().select(name=name):
        return entry
    known = known_backends()
    message = f"no backend is called {excerpt(name)}"
    raise BackendUnknown(message, did_you_mean(name, known) or use_one_of(known))


def _plug_ins() -> EntryPoints:
    """Return the entries of all installed packages.

    A plan asks for each of its backends, several times, and reading them takes milliseconds: what
    was found holds until a package is added to one of the folders, or removed.
    """
    return _found(tuple((folder, _changed_ns(folder)) for folder in sys.path))


@lru_cache(maxsize=4)
def _found(_: tuple[tuple[str, int], ...]) -> EntryPoints:
    return entry_points(group=GROUP)


def _changed_ns(folder: str) -> int:
    try:
        return Path(folder or ".").stat().st_mtime_ns
    except OSError:
        return 0
