"""Reading the list of jobs, page by page."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from backends.openai.matching import FINGERPRINT, NAME, key_of, key_tag, metadata_of, tag_of
from backends.openai.wire import Body, Refused, follow, objects

if TYPE_CHECKING:
    from backends.openai.client import Client

PAGE: Final = 100
FEW: Final = 4
"""Up to this many, jobs are asked for one by one."""
_ATTEMPTS: Final = range(1, 10)
"""Attempts whose tags are tried where a job has no metadata."""


def read_jobs(client: "Client", metadata: Mapping[str, str] | None = None) -> Iterator[Body]:
    """Yield jobs, newest first at most servers; the filter may be ignored by the server."""
    after: str | None = None
    seen: set[str] = set()
    while True:
        page = client.list_jobs(limit=PAGE, after=after, metadata=metadata or {})
        for job in objects(page):
            if job.get("id"):
                yield job
        after = follow(page, seen, PAGE)
        if after is None:
            return


def read_filtered(client: "Client", key: str, value: str) -> tuple[list[Body], bool]:
    """Return the jobs that the server lists for a pair of metadata, and whether it filtered.

    A server that ignores the filter answers with all its jobs.
    """
    try:
        jobs = list(read_jobs(client, {key: value}))
    except Refused as error:
        # A server that does not know the filter may say so.
        if error.status not in {400, 422}:
            raise
        return list(read_jobs(client)), False
    foreign = any(metadata_of(job).get(key) != value for job in jobs)
    return jobs, not foreign


def find_by_fingerprint(
    client: "Client", fingerprints: Iterable[str], *, trusted: bool
) -> dict[str, dict[str, tuple[int, Body]]]:
    """Find the jobs of fingerprints.

    Args:
        client: The server.
        fingerprints: What to look for.
        trusted: Whether an empty answer to a filtered list means that there is no such job.

    Returns:
        By fingerprint, then by job ID: the attempt and the job.
    """
    wanted = set(fingerprints)
    found: dict[str, dict[str, tuple[int, Body]]] = {}
    if not wanted:
        return found
    if trusted and len(wanted) <= FEW:
        for fingerprint in sorted(wanted):
            jobs, filtered = read_filtered(client, FINGERPRINT, fingerprint)
            _sort_in(jobs, wanted, found)
            if not filtered:
                break
        return found
    _sort_in(read_jobs(client), wanted, found)
    return found


def find_by_name(
    client: "Client", names: Iterable[str], *, trusted: bool
) -> dict[str, dict[str, Body]]:
    """Find the jobs that carry our fingerprint and one of some names.

    Args:
        client: The server.
        names: What to look for.
        trusted: Whether an empty answer to a filtered list means that there is no such job.

    Returns:
        By name, then by job ID.
    """
    wanted = set(names)
    listed: list[Body] = []
    if trusted and len(wanted) <= FEW:
        for name in sorted(wanted):
            jobs, filtered = read_filtered(client, NAME, name)
            listed += jobs
            if not filtered:
                break
    elif wanted:
        listed = list(read_jobs(client))
    found: dict[str, dict[str, Body]] = {}
    for job in listed:
        name = str(metadata_of(job).get(NAME))
        if name in wanted and key_of(job) is not None:
            found.setdefault(name, {})[str(job["id"])] = job
    return found


def _sort_in(
    jobs: Iterable[Body], wanted: set[str], found: dict[str, dict[str, tuple[int, Body]]]
) -> None:
    tags = {key_tag(one, attempt): (one, attempt) for one in wanted for attempt in _ATTEMPTS}
    for job in jobs:
        key = key_of(job)
        if key is None and not job.get("metadata"):
            key = tags.get(tag_of(job) or "")
        if key is not None and key[0] in wanted:
            found.setdefault(key[0], {})[str(job["id"])] = (key[1], job)
