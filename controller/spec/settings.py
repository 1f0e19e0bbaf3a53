"""The optional `ftctl.yaml` beside `finetunes/`: settings of a whole repository.

Read by the same strict loader as specs. Everything works without the file.
"""

import re
from collections import Counter
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationError, WithJsonSchema, field_validator
from pydantic_core import PydanticKnownError

from backends.contract.backend import Endpoint
from backends.contract.deployments import DeploySettings
from backends.contract.errors import BackendError
from backends.contract.recording import AnswerPrice
from backends.did_you_mean import did_you_mean, use_one_of
from backends.excerpt import clipped, excerpt
from backends.pydantic_errors import InvalidValue
from backends.registry import ENDPOINT_KINDS
from controller.canonical import digest
from controller.errors import InvalidInput, Problem
from controller.repository_files import CannotRead, read_inside
from controller.spec.asked import DEFAULT_ENDPOINT
from controller.spec.base import NonEmpty, Strict
from controller.spec.load import translate
from controller.spec.sections.hardware import Hardware
from controller.spec.sections.machines import MachineSettings, machine_problems
from controller.spec.sections.store import StoreSettings
from controller.spec.sections.trackers import Trackers
from controller.spec.yaml import MAX_BYTES, parse_yaml

FILE = "ftctl.yaml"
_VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
_PATH_PART = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"


def _known_kind(kind: str) -> str:
    """Refuse a kind of server without a profile, as pydantic refuses a word."""
    if kind not in ENDPOINT_KINDS:
        expected = ", ".join(f"'{known}'" for known in ENDPOINT_KINDS)
        raise PydanticKnownError("literal_error", {"expected": expected})
    return kind


def _is_a_day(day: str) -> str:
    """Refuse what is not a day of the calendar."""
    try:
        return date.fromisoformat(day).isoformat()
    except ValueError:
        raise InvalidValue(f"{excerpt(day)} is not a day", "Write it as YYYY-MM-DD.") from None


Day = Annotated[
    str, AfterValidator(_is_a_day), WithJsonSchema({"type": "string", "format": "date"})
]
"""A day, `YYYY-MM-DD`."""


Dollars = Annotated[float, Field(ge=0, le=1e9)]
"""A price. A negative one would raise what budgets allow, and a huge one is not a number any more once
it is multiplied by tokens."""


class AnswerPriceSettings(Strict):
    """Price of answers, in US dollars per million tokens."""

    input: Dollars
    """Of prompts."""
    output: Dollars
    """Of answers."""


class DeploymentSettings(Strict):
    """How `ftctl apply` deploys trained models, at services where only a deployed model answers."""

    subscription: str | None = Field(default=None, pattern=_PATH_PART)
    """ID of the Azure subscription; only at `azure`, which needs it."""
    resource_group: str | None = Field(default=None, pattern=_PATH_PART)
    """Resource group; only at `azure`, which needs it."""
    account: str | None = Field(default=None, pattern=_PATH_PART)
    """Name of the resource that holds the deployments; only at `azure`, which needs it."""
    sku: str | None = Field(default=None, pattern=_PATH_PART)
    """Kind of deployment; only at `azure`: `Standard` when absent, or `GlobalStandard`,
    `DeveloperTier`."""
    capacity: int = Field(default=1, ge=1)
    """Units of capacity; only at `azure`."""
    token_env: str | None = Field(default=None, pattern=_VARIABLE)
    """Name of the variable with a token for Azure's management; `AZURE_MANAGEMENT_TOKEN` when
    absent; only at `azure`."""
    base_url: NonEmpty | None = None
    """Address where deployments are made; the service's own when absent. `https`, or this machine."""
    usd_per_hour: Dollars | None = None
    """Price of one deployment in US dollars an hour, for the plan."""

    @field_validator("base_url")
    @classmethod
    def _is_safe(cls, url: str | None) -> str | None:
        if url is not None and not is_safe_address(url):
            remedy = "Write an address that starts with https://, or one of this machine."
            raise InvalidValue("a token would be sent there unprotected", remedy)
        return url


class EndpointSettings(Strict):
    """A server that speaks the OpenAI API."""

    kind: Annotated[
        str, AfterValidator(_known_kind), WithJsonSchema({"enum": list(ENDPOINT_KINDS)})
    ] = "openai"
    """How the server differs from api.openai.com; `ftctl help servers` tells about each kind."""
    base_url: NonEmpty | None = None
    """With `/v1`; when absent the service's own, for `openai`, `azure` and `compatible`
    `OPENAI_BASE_URL`, else api.openai.com."""
    api_key_env: str = Field(default="OPENAI_API_KEY", pattern=_VARIABLE)
    """Name of the environment variable with the key; never the key itself."""
    organization: NonEmpty | None = None
    """Organisation that pays, where a key belongs to several."""
    project: NonEmpty | None = None
    """Project within it."""
    account: str | None = Field(default=None, pattern=_PATH_PART)
    """Account at the service, where its addresses name one: at Fireworks."""
    deployments: dict[NonEmpty, NonEmpty] = Field(default_factory=dict)
    """Where models are deployed first: the name of the deployment that answers for a model ID."""
    deploy: DeploymentSettings | None = None
    """Deploy trained models; when absent, a person deploys them. `{}` is enough at `nebius`."""
    prices: dict[NonEmpty, Dollars] = Field(default_factory=dict)
    """US dollars per million trained tokens by base model, where the shipped table is wrong."""
    answer_prices: dict[NonEmpty, AnswerPriceSettings] = Field(default_factory=dict)
    """Prices of answers by model ID or base model, where the shipped table is wrong or has none:
    `{gpt-4o-mini-2024-07-18: {input: 0.3, output: 1.2}}`."""


class ServeSettings(Strict):
    """Settings of `ftctl serve`."""

    base_models: list[NonEmpty] = Field(default_factory=list)
    """Base models that jobs may start from: hub IDs, or folders relative to `finetunes/`."""
    shutdown_dates: dict[NonEmpty, Day] = Field(default_factory=dict)
    """Days on which models of this server are switched off, by the name that clients use. The date
    of a base model is also that of the models trained from it. Clients see it at `/v1/models`."""
    hardware: Hardware = Hardware()
    """Hardware of clients' jobs, with the keys of a spec's `hardware`: `{machine: cluster, gpus: 8}`
    places them on that machine."""


class ApplyBudget(Strict):
    """Most that all jobs of one apply may cost together."""

    max_usd: float | None = Field(default=None, ge=0)
    """US dollars, by the high end of the estimates, including jobs still open."""
    approve_above_usd: float | None = Field(default=None, ge=0)
    """US dollars that the jobs of one apply may cost, by the high end of the estimates, without an
    approval of the cost itself: `ftctl apply --approve-cost USD`."""


class LockfileSettings(Strict):
    """Home of the lockfile."""

    branch: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*$"
    )
    """Branch of records, where CI may push although the default branch is protected: `ftctl-records`.
    When absent, the lockfile is committed to the branch with the specs."""


class Policies(Strict):
    """Rules that every spec of the repository must keep."""

    require_license: bool = False
    """Refuse a data source without a licence."""
    licenses: list[NonEmpty] = Field(default_factory=list)
    """The only licences allowed, as SPDX identifiers; any when empty."""


class Settings(Strict):
    """Settings of a whole repository."""

    endpoints: dict[NonEmpty, EndpointSettings] = Field(default_factory=dict)
    """Servers that specs name with `endpoint:`."""
    serve: ServeSettings = ServeSettings()
    """Settings of `ftctl serve`."""
    budget: ApplyBudget = ApplyBudget()
    """Most that all jobs of one apply may cost together."""
    lockfile: LockfileSettings = LockfileSettings()
    """Home of the lockfile."""
    policies: Policies = Policies()
    """Rules that every spec of the repository must keep."""
    tracking: Trackers = Trackers()
    """Trackers that ftctl writes each evaluated build to."""
    store: StoreSettings | None = None
    """Store of trained models, so that they outlive the machine that trained them."""
    machines: dict[NonEmpty, MachineSettings] = Field(default_factory=dict)
    """Machines that specs name with `hardware.machine`: a Ray cluster, a Slurm partition."""


def load_settings(root: Path) -> Settings:
    """Read a repository's settings.

    Raises:
        InvalidInput: With every problem of the file.
    """
    try:
        text = read_inside(root, root / FILE, limit=MAX_BYTES)
    except FileNotFoundError:
        return Settings()
    except CannotRead as error:
        raise InvalidInput([error.problem(file=FILE)]) from None
    if not re.sub(rb"#[^\n]*", b"", text).strip():
        return Settings()
    document, problems = parse_yaml(text, FILE)
    if document is None:
        raise InvalidInput(problems)
    try:
        settings = Settings.model_validate(document.value)
    except ValidationError as error:
        raise InvalidInput(translate(error, document, FILE, Settings)) from None
    if problems := [*machine_problems(settings.machines), *_serve_problems(settings)]:
        placed = [
            replace(one, file=FILE, line=document.line(tuple(one.field.split("."))))
            for one in problems
        ]
        raise InvalidInput(placed)
    named = Counter(public_id(written) for written in settings.serve.base_models)
    twice = [name for name, count in named.items() if count > 1]
    if twice:
        line = document.line(("serve", "base_models"))
        message = f"two base models would be called {excerpt(twice[0])}"
        remedy = "Keep one of them, or rename a folder."
        field = "serve.base_models"
        problem = Problem(file=FILE, line=line, field=field, message=message, remedy=remedy)
        raise InvalidInput([problem])
    return settings


def _serve_problems(settings: Settings) -> list[Problem]:
    """Return why jobs of clients cannot be placed where `serve` says."""
    machine, known = settings.serve.hardware.machine, tuple(settings.machines)
    if machine is None or machine in known:
        return []
    add = "Declare it under `machines`: `ftctl help machines`."
    remedy = did_you_mean(machine, known) or (use_one_of(known) if known else add)
    message = f"no machine is called {excerpt(machine)}"
    return [Problem(field="serve.hardware.machine", message=message, remedy=remedy)]


def is_safe_address(url: str) -> bool:
    """Return whether a secret may be sent to an address: by https, or to this machine."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    near = parts.hostname in {"localhost", "127.0.0.1", "::1"}
    return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and near))


def public_id(base_model: str) -> str:
    """Return what clients call a base model: its folder's name, or its hub ID."""
    if base_model.startswith(("./", "../", "/")):
        return Path(base_model).name
    return base_model


def known_endpoints(root: Path) -> Settings | None:
    """Return the endpoints alone of an `ftctl.yaml` that has problems elsewhere.

    None where these cannot be read either: then nobody knows where a server is.
    """
    return _part(root, "endpoints")


def records_branch(root: Path) -> str | None:
    """Return the branch of the lockfile, also of an `ftctl.yaml` that has problems elsewhere."""
    settings = _part(root, "lockfile")
    return None if settings is None else settings.lockfile.branch


def _part(root: Path, key: str) -> Settings | None:
    """Return settings with one key of `ftctl.yaml`; None if that key cannot be read."""
    try:
        document, _ = parse_yaml(read_inside(root, root / FILE, limit=MAX_BYTES), FILE)
    except (CannotRead, FileNotFoundError):
        return None
    if document is None or not isinstance(document.value, dict):
        return None
    try:
        return Settings.model_validate({key: document.value.get(key, {})})
    except ValidationError:
        return None


def decided_by(settings: Settings) -> str:
    """Return the digest of what approvals depend on: the budget, and which servers are meant."""
    value = settings.model_dump(mode="json", include={"budget", "endpoints"})
    if settings.budget.approve_above_usd is None:
        # Absent, as before the setting existed: plans that were approved then stay approved.
        del value["budget"]["approve_above_usd"]
    return digest(value)


def endpoint_of(settings: Settings, root: Path, name: str) -> Endpoint:
    """Return an endpoint of a repository's settings; the default one needs no name.

    Raises:
        BackendError: They name no such endpoint.
    """
    wanted = name or DEFAULT_ENDPOINT
    endpoints = settings.endpoints
    if wanted in endpoints:
        declared = endpoints[wanted]
        prices = {
            model: AnswerPrice(input=price.input, output=price.output)
            for model, price in declared.answer_prices.items()
        }
        deploy = None
        if declared.deploy is not None:
            deploy = DeploySettings(**declared.deploy.model_dump())
        given = declared.model_dump(exclude={"answer_prices", "deploy"})
        return Endpoint(
            name=wanted, env_file=root / ".env", answer_prices=prices, deploy=deploy, **given
        )
    if wanted == DEFAULT_ENDPOINT:
        return Endpoint(name=wanted, env_file=root / ".env")
    known = ", ".join([DEFAULT_ENDPOINT, *endpoints])
    remedy = f"Use one of: {known}. Add others to {FILE}: `endpoints: {{{clipped(wanted)}: {{base_url: …}}}}`"
    raise BackendError(f"no endpoint is called {excerpt(wanted)}", remedy)
