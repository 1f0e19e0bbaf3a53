"""Models that this machine should have, and that are neither here nor in the store."""

from collections.abc import Collection, Mapping

from controller.errors import FtctlError
from controller.lockfile.model import Build, Entry
from controller.resolve.answers import OpenBackend
from controller.store.builds import is_here
from controller.store.fetching import on_this_machine
from controller.store.privacy import named_builds

_DECLARE = "declare a `store`, and type `ftctl store push` there"
_PUSH = "type `ftctl store push` there"


def find_absent(
    entries: Mapping[str, Entry],
    open_backend: OpenBackend,
    wanted: Collection[str] = (),
    *,
    has_store: bool,
) -> dict[tuple[str, str], str]:
    """Return the models in production that commands on this machine cannot use, by place and ID.

    Args:
        entries: What is recorded.
        open_backend: Opens what it names.
        wanted: Fingerprints of further builds to look for.
        has_store: True if a store is declared.

    Returns:
        What a person can do about each.
    """
    absent: dict[tuple[str, str], str] = {}
    for name, build in named_builds(entries):
        if build.fingerprint != entries[name].production and build.fingerprint not in wanted:
            continue
        if not _is_usable(build, open_backend, has_store=has_store):
            absent[build.backend, build.model_id] = _PUSH if has_store else _DECLARE
    return absent


def _is_usable(build: Build, open_backend: OpenBackend, *, has_store: bool) -> bool:
    if has_store and build.stored is not None and build.stored.model is not None:
        return True
    try:
        return is_here(build, on_this_machine(open_backend(build.backend))) is not False
    except FtctlError:
        return True  # nobody knows
