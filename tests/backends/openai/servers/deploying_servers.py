"""Stand-ins for the services' calls of deployments, as their references describe them."""

import re

from tests.backends.openai.servers.fault_server import Server

SUBSCRIPTION, GROUP, ACCOUNT = "0000-11", "acme", "acme-eu"
_ARM = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.CognitiveServices"
    f"/accounts/{ACCOUNT}/deployments"
)


class DeployingServer(Server):
    """Keeps deployments; each takes some looks until it answers."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.deployments = {}
        self.takes = 0
        """Number of looks for which a new deployment does not answer."""
        self.lags = 0
        """Number of requests for which a new deployment does not show."""
        self.ends = None
        """State in which a new deployment ends, if it is not the good one."""

    def _answers_soon(self, one):
        one["looks"] -= one["looks"] > 0
        return not one["looks"]


class AzureServer(DeployingServer):
    """Azure's management: deployments under names in the address."""

    kind = "azure"

    @property
    def settings(self):
        return {
            "subscription": SUBSCRIPTION,
            "resource_group": GROUP,
            "account": ACCOUNT,
            "token_env": "OPENAI_API_KEY",
            "base_url": self.url.removesuffix("/v1"),
        }

    def finish(self, job_id, **changes):
        model = super().finish(job_id, **changes)
        # Only a deployment of it answers.
        del self.models[model]
        return model

    def place(self, method, path):
        return (method, "/deployments") if path.startswith(_ARM) else (method, path)

    def route(self, method, path, query, body):
        found = re.fullmatch(f"{re.escape(_ARM)}/([A-Za-z0-9][A-Za-z0-9._-]{{1,63}})", path)
        if found is None:
            return super().route(method, path, query, body)
        if query != {"api-version": "2024-10-01"}:
            return 400, {"error": {"code": "MissingApiVersionParameter", "message": "no version"}}
        name = found[1]
        if method == "PUT":
            assert set(body) == {"sku", "properties"}, body
            self.deployments.setdefault(name, {"looks": self.takes, "from": self.count + self.lags})
            self.deployments[name] |= {"body": body}
            return 201, self._described(name)
        if name not in self.deployments or self.deployments[name]["from"] > self.count:
            message = f"The Resource '{name}' was not found."
            return 404, {"error": {"code": "ResourceNotFound", "message": message}}
        return 200, self._described(name)

    def _described(self, name):
        one = self.deployments[name]
        state = (self.ends or "Succeeded") if self._answers_soon(one) else "Creating"
        if state == "Succeeded":
            self.models[name] = {"id": name, "object": "model", "created": 1}
        properties = one["body"]["properties"] | {"provisioningState": state}
        return {
            "id": f"{_ARM}/{name}",
            "name": name,
            "sku": one["body"]["sku"],
            "properties": properties,
        }


class NebiusServer(DeployingServer):
    """Nebius: custom models, whose names the service completes."""

    kind = "nebius"

    @property
    def settings(self):
        return {}

    def place(self, method, path):
        return (method, "/deployments") if path == "/v0/models" else (method, path)

    def route(self, method, path, query, body):
        if path != "/v0/models":
            return super().route(method, path, query, body)
        if method == "GET":
            shown = [one for one in self.deployments.values() if one["from"] <= self.count]
            return 200, [self._described(one) for one in shown]
        if set(body) != {"name", "base_model", "source"}:
            return 422, {"detail": f"unknown fields in {sorted(body)}"}
        name = f"{body['base_model']}-LoRa:{body['name']}-{len(self.deployments):04d}"
        one = body | {"name": name, "looks": self.takes, "from": self.count + self.lags}
        self.deployments[name] = one
        return 200, {
            "name": name,
            "base_model": body["base_model"],
            "source": body["source"],
            "created_at": 1,
            "status": "validating",
        }

    def _described(self, one):
        job, _, checkpoint = one["source"].partition(":")
        status = (self.ends or "active") if self._answers_soon(one) else "validating"
        if status == "active":
            self.models[one["name"]] = {"id": one["name"], "object": "model", "created": 1}
        return {
            "type": "text2text",
            "name": one["name"],
            "status": status,
            "status_reason": "not an adapter" if status == "error" else "",
            "job_id": job,
            "checkpoint_id": checkpoint,
        }
