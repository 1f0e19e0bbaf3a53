"""Reading the list of jobs page by page, and keeping it for all lookups of a pass."""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from backends.openai.api.protocol import Body, Rejected, read_pages
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
"""Maximum number of jobs to request one by one; more jobs are read from the list."""
_ATTEMPTS: Final = range(1, 10)
"""Attempts whose tags are compared with jobs without metadata."""


def read_jobs(client: "Client", metadata: Mapping[str, str] | None = None) -> Iterator[Body]:
    """Yield jobs, newest first at most servers; the filter may be ignored by the server."""

    def fetch(after: str | None) -> Body:
        return client.list_jobs(limit=PAGE, after=after, metadata=metadata or {})

    return (job for job in read_pages(fetch, PAGE) if job.get("id"))


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
    """Return the jobs that the server lists for a pair of metadata, and True if it filtered."""
    try:
        jobs = list(read_jobs(client, {key: value}))
    except Rejected as error:
        # Some servers refuse a filter that they do not know; others ignore it.
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
        trusted: True if an empty filtered list proves that there is no such job.

    Returns:
        Attempt and job, by fingerprint and then by job ID.
    """
    wanted = set(fingerprints)
    tags = {key_tag(value, attempt): (value, attempt) for value in wanted for attempt in _ATTEMPTS}
    found: dict[str, dict[str, tuple[int, Body]]] = {}
    for job in _candidates(client, listed, FINGERPRINT, wanted, trusted=trusted):
        key = key_of(job)
        if key is None and not job.get("metadata"):
            key = tags.get(tag_of(job) or "")
        if key is not None and key[0] in wanted:
            found.setdefault(key[0], {})[str(job["id"])] = (key[1], job)
    return found


def find_jobs_by_name(
    client: "Client", listed: Iterable[Body], names: Iterable[str], *, trusted: bool
) -> dict[str, dict[str, Body]]:
    """Find the jobs that carry our fingerprint and a name; see `find_by_fingerprint`.

    Returns:
        Jobs, by name and then by job ID.
    """
    wanted = set(names)
    found: dict[str, dict[str, Body]] = {}
    for job in _candidates(client, listed, NAME, wanted, trusted=trusted):
        name = str(metadata_of(job).get(NAME))
        if name in wanted and key_of(job) is not None:
            found.setdefault(name, {})[str(job["id"])] = job
    return found


def _candidates(
    client: "Client", listed: Iterable[Body], key: str, values: set[str], *, trusted: bool
) -> Iterator[Body]:
    """Yield the jobs among which some values of metadata are to be found."""
    if values and not (trusted and len(values) <= FEW):
        yield from listed
        return
    for value in sorted(values):
        jobs, filtered = read_filtered(client, key, value)
        yield from jobs
        if not filtered:
            return
