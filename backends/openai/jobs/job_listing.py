"""Reading the list of jobs page by page, and keeping it for all lookups of a pass."""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from backends.openai.api.protocol import Body, Rejected, next_cursor, objects
from backends.openai.jobs.job_matching import (
    FINGERPRINT,
    NAME,
    key_of,
    key_tag,
    metadata_of,
    tag_of,
)

if TYPE_CHECKING:
    from backends.openai.api.client import Client

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
        after = next_cursor(page, seen, PAGE)
        if after is None:
            return


@dataclass(slots=True)
class _Reading:
    """The part of a list that was read so far."""

    rest: Iterator[Body]
    jobs: list[Body] = field(default_factory=list)
    read_s: float = float("-inf")


class JobList:
    """The whole list of jobs, read lazily. Not thread-safe.

    Use it to plan a pass. Before a submission, read the list again: see `submit`.
    """

    def __init__(self, client: "Client", *, for_s: float) -> None:
        self._client = client
        self._for_s = for_s
        """Seconds for which the list, once read, answers further lookups."""
        self._reading: _Reading | None = None

    def __iter__(self) -> Iterator[Body]:
        reading = self._reading
        if reading is None or time.monotonic() - reading.read_s > self._for_s:
            reading = self._reading = _Reading(rest=read_jobs(self._client))
        number = 0
        while True:
            if number == len(reading.jobs):
                try:
                    job = next(reading.rest, None)
                except BaseException:
                    # The rest is not known, so the part that was read must not pass for the whole.
                    self.forget()
                    raise
                reading.read_s = time.monotonic()
                if job is None:
                    return
                reading.jobs.append(job)
            yield reading.jobs[number]
            number += 1

    def forget(self) -> None:
        """Discard the list, so that the next lookup reads it again. Call it after a change."""
        self._reading = None


def read_filtered(client: "Client", key: str, value: str) -> tuple[list[Body], bool]:
    """Return the jobs that the server lists for a pair of metadata, and whether it filtered.

    A server that ignores the filter answers with all its jobs.
    """
    try:
        jobs = list(read_jobs(client, {key: value}))
    except Rejected as error:
        # A server that does not know the filter may say so.
        if error.status not in {400, 422}:
            raise
        return list(read_jobs(client)), False
    foreign = any(metadata_of(job).get(key) != value for job in jobs)
    return jobs, not foreign


def find_by_fingerprint(
    client: "Client", listed: Iterable[Body], fingerprints: Iterable[str], *, trusted: bool
) -> dict[str, dict[str, tuple[int, Body]]]:
    """Find the jobs of fingerprints.

    Args:
        client: The server.
        listed: All jobs of the server.
        fingerprints: The fingerprints to find.
        trusted: True if an empty filtered list proves that there is no job with the fingerprint.

    Returns:
        Attempt and job, by fingerprint and then by job ID.
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
    _sort_in(listed, wanted, found)
    return found


def find_jobs_by_name(
    client: "Client", listed: Iterable[Body], names: Iterable[str], *, trusted: bool
) -> dict[str, dict[str, Body]]:
    """Find the jobs that carry our fingerprint and one of the names.

    Args:
        client: The server.
        listed: All jobs of the server.
        names: The names to find.
        trusted: True if an empty filtered list proves that there is no job with the name.

    Returns:
        Jobs, by name and then by job ID.
    """
    wanted = set(names)
    jobs: list[Body] = []
    if trusted and len(wanted) <= FEW:
        for name in sorted(wanted):
            some, filtered = read_filtered(client, NAME, name)
            jobs += some
            if not filtered:
                break
    elif wanted:
        jobs = list(listed)
    found: dict[str, dict[str, Body]] = {}
    for job in jobs:
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
