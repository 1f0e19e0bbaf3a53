"""Every setting of the openai backend changes what the server is asked, or what is expected of it."""

from contextlib import suppress
from dataclasses import asdict, fields, replace

import pytest
from pydantic import BaseModel

from backends.contract.backend import Endpoint
from backends.contract.completions import Prompt, Sampling
from backends.contract.deployments import DeploySettings
from backends.contract.errors import BackendError
from backends.contract.recording import AnswerPrice
from backends.openai import hyperparameters
from backends.openai.api.endpoints import deployment_settings, settings
from backends.openai.backend import OpenAIBackend
from backends.openai.jobs.create_call import expected_job
from controller.spec.model import Wandb
from controller.spec.settings import DeploymentSettings, EndpointSettings
from tests.asking import complete
from tests.backends.openai.openai_helpers import MODEL, QUICK, QUICK_CHAT, write_request
from tests.backends.openai.servers.deploying_servers import ACCOUNT as AZURE_ACCOUNT
from tests.backends.openai.servers.deploying_servers import GROUP, SUBSCRIPTION, AzureServer
from tests.backends.openai.servers.fault_server import KEY
from tests.backends.openai.servers.fireworks_server import ACCOUNT, FireworksServer
from tests.backends.openai.servers.servers_by_kind import changes_for

CREATE = ("POST", "/fine_tuning/jobs")
PROMPT = Prompt(messages=[{"role": "user", "content": "?"}])
WANDB = {"name": "run", "entity": "team", "tags": ["cafe"]}
ENDPOINT = {
    "kind": "compatible",
    "base_url": "http://127.0.0.1:9/v1",
    "api_key_env": "OTHER_KEY",
    "organization": "org-1",
    "project": "proj_1",
    "account": "acme",
    "deployments": {MODEL: "own-deployment"},
    "prices": {MODEL: 250.0},
    "answer_prices": {MODEL: AnswerPrice(input=1.0, output=2.0)},
    "deploy": DeploySettings(),
}
AZURE = {"subscription": SUBSCRIPTION, "resource_group": GROUP, "account": AZURE_ACCOUNT}
DEPLOY = {
    "subscription": "other",
    "resource_group": "other",
    "account": "other",
    "sku": "GlobalStandard",
    "capacity": 5,
    "token_env": "OTHER_KEY",
    "base_url": "https://management.example",
    "usd_per_hour": 2.5,
}
SETTINGS = {
    "supervised": {"n_epochs": 7, "batch_size": 2, "learning_rate_multiplier": 0.5},
    "dpo": {"beta": 0.5},
    "reinforcement": {
        "compute_multiplier": 2.0,
        "eval_interval": 3,
        "eval_samples": 4,
        "reasoning_effort": "low",
    },
}
GRADER = {"type": "string_check", "name": "n", "operation": "eq", "input": "a", "reference": "b"}


def test_every_setting_has_a_case():
    assert set(EndpointSettings.model_fields) == ENDPOINT.keys()
    assert set(DeploymentSettings.model_fields) == DEPLOY.keys()
    assert DEPLOY.keys() == {one.name for one in fields(DeploySettings)}
    assert set(Wandb.model_fields) == {"project", *WANDB}
    models = (one for one in vars(hyperparameters).values() if isinstance(one, type))
    own = [one for one in models if issubclass(one, BaseModel) and one is not BaseModel]
    known = {name for model in own for name in model.model_fields}
    assert known == {"trainingType"}.union(*SETTINGS.values())


def test_an_account_is_in_the_address_of_a_job(open_backend, tmp_path):
    service = FireworksServer()
    try:
        for account in (ACCOUNT, "other"):
            backend = open_backend(url=service.url, kind="fireworks", account=account)
            changes = changes_for("fireworks", backend.parse_hyperparameters)
            with suppress(BackendError):
                backend.submit(write_request(tmp_path / "data", **changes))
        paths = {path.split("/")[2] for _, path, _, _ in service.requests}
    finally:
        service.close()
    assert paths == {ACCOUNT, "other"}


@pytest.mark.parametrize("key", DEPLOY)
def test_a_setting_of_deployments_changes_the_call_or_its_price(open_backend, key):
    seen = []
    environment = {"AZURE_MANAGEMENT_TOKEN": "two", "OTHER_KEY": "three"}
    for more in ({}, {key: DEPLOY[key]}):
        own = DeploySettings(**{**AZURE, **more})
        service = AzureServer()
        near = replace(own, base_url=service.url.removesuffix("/v1"), token_env="OPENAI_API_KEY")
        try:
            with suppress(BackendError):
                open_backend(kind="azure", deploy=near).deploy("ft:cafe", "base")
            sent = [body for method, _, _, body in service.requests if method == "PUT"]
        finally:
            service.close()
        found = deployment_settings(Endpoint(name="own", kind="azure", deploy=own), environment)
        price = open_backend(kind="azure", deploy=own).hosting()
        seen.append(repr((found.base_url, found.api_key, price, sent)))
    assert KEY not in seen[0]
    assert seen[0] != seen[1]


@pytest.mark.parametrize("key", WANDB)
def test_tracking_is_sent_with_the_job(server, open_backend, tmp_path, key):
    for number, more in enumerate(({}, {key: WANDB[key]}, {"project": "other"})):
        tracking = {"wandb": {"project": "cafe"} | more}
        request = write_request(
            tmp_path / "data", fingerprint=f"ft1:{number}" + "a" * 63, tracking=tracking
        )
        open_backend().submit(request)
    sent = [
        body["integrations"]
        for method, path, _, body in server.requests
        if (method, path) == CREATE
    ]
    assert len({repr(one) for one in sent}) == 3


@pytest.mark.parametrize(
    ("method", "key"), [(method, key) for method, own in SETTINGS.items() for key in own]
)
def test_a_hyperparameter_is_sent_with_the_job(tmp_path, method, key):
    grader = {"grader": GRADER} if method == "reinforcement" else {}
    request = write_request(tmp_path / "data", method=method)
    asked = [
        expected_job(
            replace(request, hyperparameters=hyperparameters.parse(method, grader | more)), "openai"
        ).method
        for more in ({}, {key: SETTINGS[method][key]})
    ]
    assert asked[0] != asked[1]
    assert asked[1][method]["hyperparameters"][key] == SETTINGS[method][key]


def test_where_azure_trains_is_sent_with_the_job(server, open_backend, make_request):
    parsed = hyperparameters.parse("supervised", {"trainingType": "Developer"}, "azure")
    backend = open_backend(kind="azure")
    backend.submit(make_request(hyperparameters=parsed))
    (sent,) = [body for method, path, _, body in server.requests if (method, path) == CREATE]
    assert sent["trainingType"] == "Developer"


@pytest.mark.parametrize("key", ENDPOINT)
def test_a_setting_of_an_endpoint_changes_what_is_asked(server, tmp_path, key):
    request = write_request(tmp_path / "data")
    seen = []
    # An account is of use where paths name one.
    base = {"kind": "fireworks", "account": "other"} if key == "account" else {}
    base |= {"kind": "nebius", "api_key_env": "OTHER_KEY"} if key == "deploy" else {}
    for more in ({}, {key: ENDPOINT[key]}):
        endpoint = Endpoint(name="own", **{"base_url": server.url, **base, **more})
        environment = {"OPENAI_API_KEY": "one", "OTHER_KEY": "two"}
        backend = OpenAIBackend(
            tmp_path / "state",
            endpoint,
            environment=environment,
            retry_policy=QUICK,
            retry_settings=replace(QUICK_CHAT, total_s=0.0),
        )
        far = OpenAIBackend(
            tmp_path / "state", replace(endpoint, base_url="https://far.example/v1")
        )
        server.requests.clear()
        try:
            complete(backend, request.base_model, [None], [PROMPT], Sampling(max_tokens=1))
        except BackendError as error:
            seen.append(str(error))
        seen.append(
            repr(
                (
                    asdict(settings(endpoint, environment)),
                    backend.inspector(request.base_model, "supervised", {}).identity,
                    far.estimate(request, 10, 1_000).usd,
                    far.estimate_answers(request.base_model, "ft:x", [PROMPT], Sampling()),
                    far.hosting(),
                    [body["model"] for _, _, _, body in server.requests if body],
                    seen.pop() if len(seen) % 2 else "",
                )
            )
        )
    assert seen[0] != seen[1]
