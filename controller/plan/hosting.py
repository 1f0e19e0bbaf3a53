"""Costs of deployments for people, and deployments that no build in use needs. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from backends.contract.deployments import Deployment, DeploymentState, Hosting
from backends.contract.inspector import Json
from controller.lockfile.model import Build, Entry, Lockfile
from controller.plan.desired import Desired
from controller.plan.fingerprint import short_id
from controller.render.text import dollars

FACT: Final = "deployment"
"""Key of a build's facts with its deployment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedDeployment:
    """A deployment as a build's facts name it."""

    name: str
    usd_per_hour: float | None

    def __str__(self) -> str:
        """Return the name and the price: `ftctl-cafe-1f2e, $1.70 per hour`."""
        usd = self.usd_per_hour
        return (
            f"{self.name}, {'at an unknown price' if usd is None else dollars(usd, usd)} per hour"
        )


def per_hour(usd: float | None) -> str:
    """Return the price of a deployment by the hour, for a plan."""
    if usd is None:
        return "not known by the hour; write `usd_per_hour` into `deploy` of the endpoint in ftctl.yaml"
    if not usd:
        return "nothing by the hour; requests are billed by token"
    return f"{dollars(usd, usd)} per hour, used or not, until you delete the deployment"


def to_fact(deployment: Deployment, usd_per_hour: float | None, since: str) -> Json:
    """Return what a build's facts keep of its deployment."""
    return {"name": deployment.name, "usd_per_hour": usd_per_hour, "since": since}


def hosting_origin(hosting: Hosting) -> dict[str, Json]:
    """Return the part of a job's origin with the price that was approved with the job."""
    return {"hosting": {"usd_per_hour": hosting.usd_per_hour}}


def recorded_deployment(build: Build) -> RecordedDeployment | None:
    """Return the deployment in a build's facts; None without one."""
    fact = build.facts.get(FACT)
    name = fact.get("name") if isinstance(fact, dict) else None
    usd = fact.get("usd_per_hour") if isinstance(fact, dict) else None
    if not isinstance(name, str):
        return None
    is_known = isinstance(usd, int | float) and not isinstance(usd, bool)
    return RecordedDeployment(name=name, usd_per_hour=float(str(usd)) if is_known else None)


def billed(entry: Entry) -> tuple[RecordedDeployment, ...]:
    """Return the deployments of an entry's builds that cost by the hour, as recorded."""
    found = (recorded_deployment(build) for build in entry.builds.values())
    return tuple(one for one in found if one is not None and one.usd_per_hour != 0)


def hosting_notes(
    desired: Mapping[str, Desired],
    recorded: Lockfile,
    observed: Mapping[tuple[str, str], Deployment],
) -> Iterator[str]:
    """Yield a line for each deployment that costs by the hour and serves no build in use.

    Args:
        desired: What the specs ask for, by name.
        recorded: The lockfile.
        observed: Deployments as the services have them, by place and model ID.
    """
    for name, entry in recorded.finetunes.items():
        if name not in desired:
            continue
        in_use = {entry.production, entry.candidate, desired[name].fingerprint}
        for fingerprint, build in entry.builds.items():
            known = recorded_deployment(build)
            if known is None or fingerprint in in_use or known.usd_per_hour == 0:
                continue
            seen = observed.get((build.backend, build.model_id))
            if seen is not None and seen.state is DeploymentState.MISSING:
                continue
            yield (
                f"{name}: build {short_id(fingerprint)} is not in use, and its deployment at "
                f"{build.backend} still costs: {known}. ftctl deletes no deployment: delete it there."
            )
