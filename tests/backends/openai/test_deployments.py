"""Deployments of trained models: found first, made at most once, and asked by their names."""

import json
from dataclasses import replace

import pytest

from backends.contract.backend import Endpoint
from backends.contract.completions import Prompt, Sampling
from backends.contract.deployments import DeploymentState, DeploySettings
from backends.contract.errors import BackendError, CredentialsMissing, ModelMissing
from backends.contract.jobs import BaseModel
from backends.openai.api.endpoints import deployment_settings
from backends.openai.backend import OpenAIBackend
from backends.openai.deployments import name_of
from tests.asking import complete
from tests.backends.openai.openai_helpers import QUICK
from tests.backends.openai.servers.deploying_servers import (
    ACCOUNT,
    GROUP,
    SUBSCRIPTION,
    AzureServer,
    NebiusServer,
)
from tests.backends.openai.servers.fault_server import KEY, Fault

MODELS = {
    "azure": "gpt-4.1-mini-2025-04-14.ft-0e208cf33a6a466994aff31a08aba678-cafe-9c7ff47404",
    "nebius": "ftjob-000000:ftckpt_6",
}
BASE = "meta-llama/Llama-3.1-8B-Instruct"
PLACE = "/deployments"
CREATES = {"azure": "PUT", "nebius": "POST"}
LOST = ["drop", "500", "408", "409", "html"]


@pytest.fixture(params=["azure", "nebius"])
def kind(request):
    return request.param


@pytest.fixture
def server(kind):
    started = {"azure": AzureServer, "nebius": NebiusServer}[kind]()
    yield started
    started.close()


@pytest.fixture
def open_here(open_backend, server, kind):
    def make(state=None, *, deploy=None, **more):
        settings = DeploySettings(**(server.settings if deploy is None else deploy))
        return open_backend(state, kind=kind, deploy=settings, **more)

    return make


def sent(server, method):
    return [
        body
        for verb, path, _, body in server.requests
        if server.place(verb, path) == (method, PLACE)
    ]


def test_a_model_is_deployed_once_and_answers_under_its_name(server, open_here, kind, golden):
    model = MODELS[kind]
    server.takes = 2
    backend = open_here()
    assert backend.deployments([model])[model].state is DeploymentState.MISSING

    made = backend.deploy(model, BASE)
    again = open_here().deploy(model, BASE)

    assert made == again
    assert made.state is DeploymentState.READY
    assert name_of(model) in made.name
    (body,) = sent(server, CREATES[kind])
    for asking in (backend, open_here()):
        base = BaseModel(reference=BASE, revision=None, identity="model:x")
        prompt = Prompt(messages=[{"role": "user", "content": "?"}])
        complete(asking, base, [model], [prompt], Sampling(max_tokens=1))
        assert server.requests[-1][3]["model"] == made.name
    golden(f"openai/deployment-{kind}.txt", json.dumps(body, indent=1))


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("fault", LOST)
def test_a_lost_answer_never_makes_a_second_deployment(server, open_here, kind, fault, after):
    model = MODELS[kind]
    server.put_fault(CREATES[kind], PLACE, Fault(fault, after=after))
    unknown = not after and kind == "nebius"
    state = None
    if unknown:
        with pytest.raises(BackendError, match="it is not known whether") as caught:
            open_here().deploy(model, BASE)
        assert "makes no second one" in caught.value.remedy
    else:
        state = open_here().deploy(model, BASE).state

    made = open_here().deploy(model, BASE)

    assert made.state is DeploymentState.READY
    assert state in {None, DeploymentState.READY}
    assert len(server.deployments) == 1


def test_a_list_that_lags_makes_no_second_deployment(server, open_here, kind, tmp_path):
    model, state = MODELS[kind], tmp_path / "kept"
    server.lags = 10_000
    server.put_fault(CREATES[kind], PLACE, Fault("drop", after=True), Fault("drop", after=True))
    with pytest.raises(BackendError, match="it is not known whether"):
        open_here(state).deploy(model, BASE)

    for one in server.deployments.values():
        one["from"] = server.count + 3
    made = open_here(state, retry_policy=replace(QUICK, window_s=30.0)).deploy(model, BASE)

    assert made.state is DeploymentState.READY
    assert len(server.deployments) == 1


def test_a_rate_limit_is_waited_for(server, open_here, kind):
    server.put_fault(CREATES[kind], PLACE, Fault("429", headers={"retry-after": "0.05"}))
    assert open_here().deploy(MODELS[kind], BASE).state is DeploymentState.READY
    assert len(sent(server, CREATES[kind])) == 2


def test_a_refusal_is_reported_and_leaves_nothing_behind(server, open_here, kind, tmp_path):
    server.put_fault(CREATES[kind], PLACE, Fault("403"))
    with pytest.raises(BackendError, match="fault 403"):
        open_here(tmp_path / "kept").deploy(MODELS[kind], BASE)
    assert not list((tmp_path / "kept").rglob("ftctl-*.json"))
    assert not server.deployments


def test_a_deployment_that_fails_says_what_to_do(server, open_here, kind):
    server.ends = {"azure": "Failed", "nebius": "error"}[kind]
    with pytest.raises(BackendError, match="did not deploy") as caught:
        open_here().deploy(MODELS[kind], BASE)
    assert "Delete the deployment" in caught.value.remedy
    found = open_here().deployments([MODELS[kind]])[MODELS[kind]]
    assert found.state is DeploymentState.FAILED


def test_a_deployment_that_takes_long_is_left_to_the_next_run(server, open_here, kind):
    server.takes = 10_000
    slow = replace(QUICK, deployed_s=0.1)
    for _ in range(2):
        with pytest.raises(BackendError, match="is still making the deployment"):
            open_here(retry_policy=slow).deploy(MODELS[kind], BASE)
    assert len(server.deployments) == 1
    found = open_here().deployments([MODELS[kind]])[MODELS[kind]]
    assert found.state is DeploymentState.STARTING


def test_a_service_that_gives_no_answer_leaves_the_state_unknown(server, open_here, kind):
    server.put_fault("GET", PLACE, *[Fault("500")] * 3)
    found = open_here().deployments([MODELS[kind]])[MODELS[kind]]
    assert (found.state, found.detail) == (DeploymentState.UNKNOWN, "HTTP 500: fault 500")


def test_what_a_person_wrote_comes_first(server, open_here, kind):
    model = MODELS[kind]
    backend = open_here(deployments={model: "by-hand"})
    found = backend.deployments([model])[model]
    assert (found.name, found.state, found.is_written) == ("by-hand", DeploymentState.READY, True)
    assert backend.deploy(model, BASE) == found
    assert not server.deployments


def test_without_settings_a_person_deploys(server, open_backend, kind):
    backend = open_backend(kind=kind)
    assert backend.hosting() is None
    assert backend.deployments([MODELS[kind]]) == {}
    with pytest.raises(BackendError, match="deploys nothing"):
        backend.deploy(MODELS[kind], BASE)
    assert not server.requests


def test_a_model_that_is_not_deployed_is_reported_with_the_command(open_here, kind):
    base = BaseModel(reference=BASE, revision=None, identity="model:x")
    prompt = Prompt(messages=[{"role": "user", "content": "?"}])
    with pytest.raises(ModelMissing) as caught:
        complete(open_here(), base, [MODELS[kind]], [prompt], Sampling(max_tokens=1))
    assert caught.value.remedy.startswith("Type `ftctl apply`, which deploys it")


@pytest.mark.parametrize("kind", ["azure"], indirect=True)
def test_a_name_that_answers_for_another_model_is_not_taken_over(server, open_here):
    model = MODELS["azure"]
    open_here().deploy(model, BASE)
    server.deployments[name_of(model)]["body"]["properties"]["model"]["name"] = "other"
    with pytest.raises(BackendError, match="answers for another model, other"):
        open_here().deploy(model, BASE)
    assert len(sent(server, "PUT")) == 1


@pytest.mark.parametrize("kind", ["azure"], indirect=True)
@pytest.mark.parametrize(
    ("key", "value", "place"),
    [
        ("sku", "DeveloperTier", ("sku", "name")),
        ("capacity", 5, ("sku", "capacity")),
    ],
)
def test_a_setting_of_azure_is_sent(server, open_here, key, value, place):
    open_here(deploy={**server.settings, key: value}).deploy(MODELS["azure"], BASE)
    (body,) = sent(server, "PUT")
    assert body[place[0]][place[1]] == value


AZURE = {"subscription": SUBSCRIPTION, "resource_group": GROUP, "account": ACCOUNT}


@pytest.mark.parametrize(
    ("kind", "deploy", "usd"),
    [
        ("azure", AZURE, None),
        ("azure", AZURE | {"usd_per_hour": 1.7}, 1.7),
        ("azure", AZURE | {"sku": "DeveloperTier"}, 0.0),
        ("nebius", {}, 0.0),
        ("nebius", {"usd_per_hour": 2.0}, 2.0),
    ],
)
def test_the_price_is_written_or_known(tmp_path, kind, deploy, usd):
    endpoint = Endpoint(name="x", kind=kind, deploy=DeploySettings(**deploy))
    assert OpenAIBackend(tmp_path, endpoint, environment={}).hosting().usd_per_hour == usd


@pytest.mark.parametrize(
    ("kind", "deploy", "message"),
    [
        ("azure", {"account": "a"}, "`deploy` lacks subscription, resource_group"),
        ("nebius", {"sku": "Standard"}, "`deploy.sku` has no use at a server of `kind: nebius`"),
        ("nebius", {"token_env": "X"}, "`deploy.token_env` has no use"),
        ("crusoe", {}, "`deploy` has no use at a server of `kind: crusoe`"),
        ("openai", {}, "`deploy` has no use at a server of `kind: openai`"),
    ],
)
def test_settings_that_are_missing_or_useless_are_named(tmp_path, kind, deploy, message):
    endpoint = Endpoint(name="x", kind=kind, deploy=DeploySettings(**deploy))
    with pytest.raises(BackendError) as caught:
        OpenAIBackend(tmp_path, endpoint, environment={}).hosting()
    assert message in caught.value.message


def test_a_token_of_its_own_is_asked_for():
    endpoint = Endpoint(name="az", kind="azure", deploy=DeploySettings(**AZURE))
    environment = {"AZURE_MANAGEMENT_TOKEN": "token", "OTHER": "two"}
    found = deployment_settings(endpoint, environment)
    assert found.api_key == "token"
    assert found.base_url == (
        "https://management.azure.com/subscriptions/0000-11/resourceGroups/acme/providers/"
        "Microsoft.CognitiveServices/accounts/acme-eu/deployments"
    )
    other = replace(endpoint, deploy=DeploySettings(**AZURE, token_env="OTHER"))
    assert deployment_settings(other, environment).api_key == "two"
    with pytest.raises(CredentialsMissing, match="the variable AZURE_MANAGEMENT_TOKEN is not set"):
        deployment_settings(endpoint, {"OPENAI_API_KEY": KEY})


def test_nebius_deploys_beside_its_other_addresses():
    endpoint = Endpoint(name="eu", kind="nebius", api_key_env="N", deploy=DeploySettings())
    found = deployment_settings(endpoint, {"N": "key"})
    assert found.base_url == "https://api.tokenfactory.nebius.com/v0/models"
    own = replace(endpoint, deploy=DeploySettings(base_url="http://127.0.0.1:9/v1"))
    assert deployment_settings(own, {"N": "key"}).base_url == "http://127.0.0.1:9/v0/models"
