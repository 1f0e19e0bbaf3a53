"""The recorded build of a hosted model. Pure."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from backends.contract.inspector import Json
from backends.contract.inventory import HostedModel
from controller.adopt.hosted_spec import KeptFile
from controller.canonical import canonical_json
from controller.lockfile.model import ADOPTED, Build, Entry
from controller.plan.desired import Desired


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Known facts of the training of a hosted model."""

    verified: Sequence[str]
    """Sentences on what was seen at the service."""
    declared: Sequence[str]
    """Sentences on what is only said."""
    files: Sequence[KeptFile]
    """Files of examples in the repository."""
    submitted: str
    """Time of the job's start, as the lockfile writes times."""
    finished: str
    """Time of the job's end."""


def adopted_build(hosted: HostedModel, desired: Desired, provenance: Provenance) -> Build:
    """Return the build that stands for a hosted model, under the fingerprint of its spec.

    Args:
        hosted: The model.
        desired: Inputs of the spec that was written for it.
        provenance: What is known of its making.
    """
    adopted: dict[str, Json] = {
        "from": desired.spec.place,
        "verified": list(provenance.verified),
        "declared": list(provenance.declared),
    }
    if hosted.suffix:
        adopted["suffix"] = hosted.suffix
    if provenance.files:
        adopted["files"] = {
            kept.path: {"id": kept.file_id, "sha256": kept.sha256, "rows": kept.rows}
            for kept in provenance.files
        }
    facts: dict[str, Json] = {ADOPTED: adopted}
    if hosted.trained_tokens is not None:
        facts["trained_tokens"] = hosted.trained_tokens
    if hosted.created_s is not None and hosted.finished_s is not None:
        facts["seconds"] = hosted.finished_s - hosted.created_s
    if hosted.shutdown_date is not None:
        facts["shutdown_date"] = hosted.shutdown_date
    return Build(
        fingerprint=desired.fingerprint,
        attempt=1,
        backend=desired.spec.place,
        job=hosted.job_id or "",
        model_id=hosted.model_id or "",
        inputs=json.loads(canonical_json(desired.inputs)),
        base_model=desired.base_name,
        revision=desired.base_model.revision,
        data=desired.data,
        facts=json.loads(canonical_json(facts)),
        submitted=provenance.submitted,
        finished=provenance.finished,
    )


def with_adopted(entry: Entry, build: Build) -> Entry:
    """Return an entry that has an adopted build.

    It goes into production where nothing is, or where the same model is in production as another
    build: one whose data was found later.
    """
    current = entry.builds.get(entry.production or "")
    is_same = current is not None and current.is_adopted and current.model_id == build.model_id
    goes_live = current is None or is_same
    return entry.model_copy(
        update={
            "builds": {**entry.builds, build.fingerprint: build},
            "production": build.fingerprint if goes_live else entry.production,
        }
    )


def is_of_model(build: Build, hosted: HostedModel, place: str) -> bool:
    """Return whether a recorded build is a hosted model of a place."""
    return build.model_id == hosted.model_id and build.backend == place
