"""Deploy a trained model, at a service where only a deployed model answers. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from backends.contract.deployments import Hosting
from backends.contract.inspector import Json
from controller.plan.actions.base import ActionStyle, BaseAction, Row, Turn
from controller.plan.actions.groups import JudgingAction
from controller.plan.hosting import per_hour


@dataclass(frozen=True, slots=True, kw_only=True)
class Deploy(JudgingAction):
    """Deploy a build's model, so that it answers.

    Needs approval, because a deployment costs by the hour: unless it costs nothing, is there already
    and is only recorded, or is the first of an approved job that announced its price.
    """

    deployment: str
    """Name of the deployment."""
    hosting: Hosting
    style = ActionStyle(
        "+", "will be deployed", "to deploy", 75, running="deploying", done="deployed"
    )
    turn = Turn.LAST

    def follows(self, seen: BaseAction) -> bool:
        """Return True for the same deployment, or an action that announced its price."""
        if not seen.covers_promotion or seen.hosting != self.hosting:
            return False
        return seen.wants(self.fingerprint)

    def wants(self, fingerprint: str) -> bool:
        """Return True if it deploys the build of these inputs."""
        return fingerprint == self.fingerprint

    def decisive(self) -> dict[str, Json]:
        """Return the build, the deployment and its price."""
        return {
            "fingerprint": self.fingerprint,
            "deployment": self.deployment,
            "usd_per_hour": self.hosting.usd_per_hour,
        }

    def rows(self) -> Iterator[Row]:
        """Yield the deployment, its price, and the build."""
        yield "deployment", self.deployment
        yield "cost", per_hour(self.hosting.usd_per_hour)
        # The base's own `rows`, by its name: a dataclass with slots breaks the short `super()`.
        yield from JudgingAction.rows(self)

    def remarks(self) -> Iterator[str]:
        """Yield what else a person should know."""
        if self.hosting.note:
            yield f"! {self.hosting.note}"
