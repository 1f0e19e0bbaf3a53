"""Adopted models whose record was lost, found again by the aliases of their specs."""

from collections.abc import Mapping

from backends.contract.backend import Backend
from backends.contract.inventory import HostedModel
from backends.contract.jobs import JobState
from controller.adopt.builds import Provenance, adopted_build
from controller.adopt.hosted_spec import KeptData, KeptFile, differences, hosted_spec
from controller.dates import timestamp
from controller.lockfile.model import Entry
from controller.plan.desired import Desired

_DATA = KeptData(train=KeptFile(path="", sha256="", rows=0, size_bytes=0))
"""Stands for data that is not compared."""


def find_adopted(backend: Backend, wanted: Mapping[str, Desired]) -> dict[str, Entry]:
    """Return the entries of specs whose aliases name a model that the service holds.

    A model counts if it was made with what the spec asks for; of its data nothing is known.

    Args:
        backend: The backend of the specs.
        wanted: Specs without a record, by fine-tune.

    Raises:
        NotOffered: The service has no list of its models.
        BackendError: It gave no answer.
    """
    of_alias = {alias: name for name, one in wanted.items() for alias in one.spec.aliases}
    found: dict[str, Entry] = {}
    if not of_alias:
        return found
    for hosted in backend.inventory():
        name = of_alias.get(hosted.model_id or "")
        if name is None or name in found or hosted.state is not JobState.SUCCEEDED:
            continue
        if hosted.is_listed is False or not _is_as_asked(hosted, wanted[name]):
            continue
        found[name] = _entry(hosted, wanted[name])
        if len(found) == len(of_alias):
            break
    return found


def _is_as_asked(hosted: HostedModel, desired: Desired) -> bool:
    made = hosted_spec(
        hosted,
        name=desired.name,
        endpoint=desired.spec.endpoint or "",
        data=_DATA,
        held_out="fraction",
    )
    return not any(differences(desired.spec, made))


def _entry(hosted: HostedModel, desired: Desired) -> Entry:
    provenance = Provenance(
        verified=[f"the service shows job {hosted.job_id} with base model and hyperparameters"],
        declared=["found again by the alias of the spec, after its record was lost"],
        files=(),
        submitted=timestamp(hosted.created_s or 0.0),
        finished=timestamp(hosted.finished_s or hosted.created_s or 0.0),
    )
    build = adopted_build(hosted, desired, provenance)
    return Entry(builds={build.fingerprint: build}, production=build.fingerprint)
