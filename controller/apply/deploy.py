"""Handler that deploys a build's model, and records the deployment with the build."""

from controller.apply.context import ApplyContext, Result, with_changes
from controller.plan.actions import Deploy
from controller.plan.hosting import FACT, recorded_deployment, to_fact


def deploy(action: Deploy, context: ApplyContext) -> Result:
    """Deploy a build's model, or find its deployment, and record its name and price."""
    entry = context.entry(action.name)
    build = entry.builds[action.fingerprint]
    base_model = context.desired(action.name).base_model.reference
    made = context.open_backend(build.backend).deploy(build.model_id, base_model)
    fact = to_fact(made, action.hosting.usd_per_hour, context.timestamp())
    deployed = build.model_copy(update={"facts": {**build.facts, FACT: fact}})
    known = recorded_deployment(deployed)
    return Result(
        message=f"{build.model_id} answers as {known}",
        entries={
            action.name: with_changes(entry, builds={**entry.builds, build.fingerprint: deployed})
        },
    )
