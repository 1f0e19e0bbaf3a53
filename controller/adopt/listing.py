"""Rows of a service's models; and one of its models, by ID."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from backends.contract.inventory import HostedFile, HostedModel
from backends.contract.jobs import JobState
from backends.did_you_mean import did_you_mean
from backends.excerpt import excerpt
from controller.adopt.context import Adopting
from controller.adopt.names import hosted_name
from controller.dates import days_until
from controller.errors import FtctlError
from controller.lockfile.store import read_lockfile
from controller.render.hosted import HostedRow
from controller.spec.load import spec_names

_CHECKPOINT: Final = ":ckpt-step-"
_MOST_KNOWN: Final = 1000
"""IDs among which a similar one is looked for."""


def rows_of(adopting: Adopting, inventory: Iterable[HostedModel]) -> list[HostedRow]:
    """Return every job and model of a service as a row."""
    project = adopting.project
    lockfile = read_lockfile(project.root, project.records)
    declared = set(spec_names(project.root))
    recorded = {
        build.model_id: name
        for name, entry in lockfile.finetunes.items()
        if name in declared
        for build in entry.builds.values()
        if build.backend == adopting.place
    }
    taken = {*declared, *lockfile.finetunes}
    rows = []
    for hosted in inventory:
        name = recorded.get(hosted.model_id or "")
        if name is None and hosted.model_id is not None:
            name = hosted_name(hosted.model_id, hosted.suffix, taken, hosted.base_model)
            taken.add(name)
        rows.append(_row(hosted, name or "-", adopted=hosted.model_id in recorded))
    # Jobs without a model are of no use here, so they come last.
    rows.sort(key=lambda row: row.model_id is None)
    return list(_with_days(adopting, rows))


def missing_hint(adopting: Adopting, count: int, organizations: Iterable[str]) -> str:
    """Return a sentence on what a key may not see; empty if there is nothing to say."""
    endpoint = adopting.settings.endpoints.get(adopting.endpoint or "default")
    wanted = endpoint.organization if endpoint is not None else None
    seen = sorted({*organizations})
    if wanted is not None and seen and wanted not in seen:
        return (
            f"The endpoint names the organization {excerpt(wanted)}, but the jobs here belong to "
            f"{', '.join(map(excerpt, seen[:3]))}: the key sees another one."
        )
    if count == 0:
        return (
            "A key sees the jobs of one project. If you miss some, check `project` and "
            "`organization` of the endpoint in ftctl.yaml, and which project the key is for."
        )
    return ""


def find_hosted(adopting: Adopting, wanted: str) -> HostedModel:
    """Return the job or model of an ID.

    Raises:
        FtctlError: The service shows none of that ID to this key.
    """
    known: list[str] = []
    organizations: set[str] = set()
    jobs = 0
    for hosted in adopting.backend.inventory():
        if wanted in {hosted.job_id, hosted.model_id}:
            return hosted
        jobs += 1
        organizations |= {hosted.organization} if hosted.organization else set()
        if hosted.model_id is not None and wanted.startswith(hosted.model_id + _CHECKPOINT):
            message = f"{wanted} is a checkpoint of {hosted.model_id}"
            raise FtctlError(message, f"Type `ftctl adopt {hosted.model_id}`.")
        if len(known) < _MOST_KNOWN:
            known += filter(None, [hosted.job_id, hosted.model_id])
    what = f"{jobs:,} job{'' if jobs == 1 else 's'}"
    seen = f" of {', '.join(map(excerpt, sorted(organizations)[:3]))}" if organizations else ""
    message = (
        f"{adopting.place} shows no job or model {excerpt(wanted)} to this key, but {what}{seen}"
    )
    remedy = did_you_mean(wanted, known) or (
        "Check the ID; and `project` and `organization` of the endpoint, and which project the key "
        "is for: a key sees the jobs of one project."
    )
    raise FtctlError(message, remedy)


def _row(hosted: HostedModel, name: str, *, adopted: bool) -> HostedRow:
    state = str(hosted.state)
    if hosted.model_id is not None and hosted.state is JobState.SUCCEEDED:
        state = "adopted" if adopted else "not adopted"
        if hosted.is_listed is False:
            state = "adopted, gone" if adopted else "gone"
    seconds, train = hosted.finished_s or hosted.created_s, hosted.training_file
    return HostedRow(
        name=name,
        adopted=adopted,
        model_id=hosted.model_id,
        job_id=hosted.job_id,
        base_model=hosted.base_model,
        method=hosted.method,
        state=state,
        date=None if seconds is None else datetime.fromtimestamp(seconds, UTC).date().isoformat(),
        trained_tokens=hosted.trained_tokens,
        shutdown_date=hosted.shutdown_date,
        days_left=None,
        training_file=_file_word(train, hosted),
        training_file_id=None if train is None else train.id,
        training_file_bytes=None if train is None else train.size_bytes,
        validation_file=_file_word(hosted.validation_file, hosted),
        organization=hosted.organization,
    )


def _file_word(file: HostedFile | None, hosted: HostedModel) -> str:
    if file is None:
        return "none" if hosted.job_id else "unknown"
    return {True: "kept", False: "gone", None: "unknown"}[file.available]


def _with_days(adopting: Adopting, rows: Sequence[HostedRow]) -> Iterator[HostedRow]:
    """Yield rows with the days left: by the service, else by the table of the backend."""
    models = {row.model_id: row.base_model or row.model_id for row in rows if row.model_id}
    shipped = adopting.backend.shipped_shutdowns(models)
    for row in rows:
        notice = shipped.get(row.model_id or "")
        day = row.shutdown_date or (notice.date if notice is not None else None)
        left = None if day is None or row.model_id is None else days_until(day)
        yield replace(row, shutdown_date=day, days_left=left)
