"""Answers of the backends and of git, as rules read them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from backends.contract.deployments import Deployment, Hosting
from backends.contract.inspector import Json
from backends.contract.jobs import Job
from controller.errors import Problem
from controller.lockfile.early import EarlyBuild
from controller.lockfile.model import Entry
from controller.plan.desired import Shutdown


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """Record of a fine-tune that the lockfile does not name."""

    entry: Entry
    source: str
    """Origin of the record: `finetunes/ftctl.lock of commit 1f24dc2a55b1`, or a backend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """Answers of the backends and of git."""

    jobs: Mapping[str, Job] = field(default_factory=dict)
    """Recorded open jobs by ID; one that a backend does not know any more is absent."""
    found: Mapping[str, tuple[Job, ...]] = field(default_factory=dict)
    """Jobs found by fingerprint, oldest first."""
    lost: Mapping[str, Lost] = field(default_factory=dict)
    """Fine-tunes without an entry of which git or a backend knows builds, by name."""
    elsewhere: Mapping[str, tuple[Mapping[str, Json], ...]] = field(default_factory=dict)
    """Inputs of jobs and builds in git or at a backend, by name of a fine-tune without an entry."""
    early: Mapping[str, EarlyBuild] = field(default_factory=dict)
    """Builds that were trained for pull requests, by fingerprint."""
    unavailable_bases: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Reason why a base model cannot answer, by its place and reference."""
    shutdowns: Mapping[str, Shutdown] = field(default_factory=dict)
    """Ends of models in production, by name of the fine-tune."""
    base_shutdowns: Mapping[str, Shutdown] = field(default_factory=dict)
    """Ends of base models that are to be trained, by name of the fine-tune."""
    hosting: Mapping[str, Hosting] = field(default_factory=dict)
    """Price of a deployment, by place; absent where ftctl deploys nothing."""
    deployments: Mapping[tuple[str, str], Deployment] = field(default_factory=dict)
    """Deployments by place and model ID; absent where none was asked for."""
    absent: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Models that are neither on this machine nor in the store, by place and ID: what follows."""
    remarks: Mapping[str, str] = field(default_factory=dict)
    """Why ends of models or deployments are not known, for people, by place or fine-tune."""
    skipped: Mapping[str, str] = field(default_factory=dict)
    """Backends that were not queried, with the reason. A displayed plan may do without them."""
    unreachable: Mapping[str, Problem] = field(default_factory=dict)
    """Backends that gave no answer. Nothing that needs an answer of theirs is done."""


def absent_in_production(
    entries: Mapping[str, Entry], absent: Mapping[tuple[str, str], str]
) -> dict[str, str]:
    """Return a remark for each fine-tune whose model in production is only at another machine.

    Args:
        entries: What is recorded.
        absent: What to do about each such model, by place and ID.
    """
    remarks = {}
    for name, entry in sorted(entries.items()):
        build = entry.builds.get(entry.production or "")
        remedy = None if build is None else absent.get((build.backend, build.model_id))
        if remedy is not None:
            remarks[name] = f"in production at another machine; {remedy}"
    return remarks
