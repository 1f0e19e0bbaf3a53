"""The server and the key of an endpoint, from ftctl.yaml, the environment and a `.env` file.

The environment counts before the file. A blank variable counts as unset, because the SDK would use
a blank `OPENAI_BASE_URL`.
"""

import importlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from ipaddress import ip_address
from urllib.parse import SplitResult, urljoin, urlsplit

from backends.contract.backend import Endpoint
from backends.contract.deployments import DeploySettings
from backends.contract.errors import BackendError, CredentialsMissing
from backends.excerpt import excerpt
from backends.installation import install_command
from backends.openai.profiles.profile import profile_of

DEFAULT_URL = "https://api.openai.com/v1"
OPENAI_KEY = "OPENAI_API_KEY"
"""The variable with the key where an endpoint names none."""
EXTRA = "openai"
"""Name of the extra with the packages of this backend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of a client; the key never shows."""

    base_url: str
    api_key: str = field(repr=False)
    kind: str = "openai"
    organization: str | None = None
    project: str | None = None
    account: str | None = None
    """Account whose name is in the paths of the service."""


def base_url(endpoint: Endpoint, environment: Mapping[str, str]) -> str:
    """Return the server's address.

    Raises:
        BackendError: The address is not an http address, there is no such kind, or `.env` cannot
            be read.
    """
    url = endpoint.base_url or profile_of(endpoint.kind).base_url
    url = url or _variable("OPENAI_BASE_URL", endpoint, environment) or DEFAULT_URL
    _require_address(url, endpoint, "in ftctl.yaml or in OPENAI_BASE_URL")
    return url


def settings(endpoint: Endpoint, environment: Mapping[str, str]) -> Settings:
    """Return everything a client needs.

    Raises:
        BackendError: A part is missing.
    """
    url = base_url(endpoint, environment)
    if endpoint.base_url is None and profile_of(endpoint.kind).base_url is not None:
        _require_own_key(endpoint)
    key = _variable(endpoint.api_key_env, endpoint, environment)
    if key is None:
        place = f" or in {endpoint.env_file.name}" if endpoint.env_file else ""
        raise CredentialsMissing(
            f"endpoint {endpoint.name}: no key: the variable {endpoint.api_key_env} is not set",
            f"Set {endpoint.api_key_env} in the environment{place}.",
        )
    _require_header(key, endpoint.api_key_env, endpoint)
    _require_account(endpoint)
    require_deployable(endpoint)
    organization = endpoint.organization or _variable("OPENAI_ORG_ID", endpoint, environment)
    project = endpoint.project or _variable("OPENAI_PROJECT_ID", endpoint, environment)
    _require_name(organization, "organization", "OPENAI_ORG_ID", endpoint)
    _require_name(project, "project", "OPENAI_PROJECT_ID", endpoint)
    return Settings(
        base_url=url,
        api_key=key,
        kind=endpoint.kind,
        account=endpoint.account,
        organization=organization,
        project=project,
    )


def split_url(url: str) -> SplitResult:
    """Return the parts of an address; empty parts if the text is not an address."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def shown_url(url: str) -> str:
    """Return an address that is safe to show: without user, password and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def host_of(url: str) -> str:
    """Return the host of an address; empty if the address has no host."""
    return split_url(url).hostname or ""


def is_loopback(url: str) -> bool:
    """Return whether a server is on this machine."""
    host = host_of(url)
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def is_official(url: str) -> bool:
    """Return whether a server is OpenAI's own, whose prices and behaviour are known."""
    host = host_of(url)
    return host == "api.openai.com" or host.endswith(".api.openai.com")


def _require_address(url: str, endpoint: Endpoint, place: str) -> None:
    """Require an address that a request can be sent to.

    Raises:
        BackendError: The text is not an http address, or has a port, a host or characters that no
            client can use.
    """
    if not _is_address(url):
        raise BackendError(
            # The part before an @ may be a password.
            f"endpoint {endpoint.name}: {url.rpartition('@')[2][:100]!r} is not the address of a server",
            f"Write it like https://api.openai.com/v1, {place}.",
        )


def _is_address(url: str) -> bool:
    # Python's own parser drops line breaks, and reads hosts and ports that no client connects to.
    parts = split_url(url)
    try:
        host = (parts.hostname or "").encode("idna")
        has_port = parts.port != 0
    except ValueError:
        return False
    is_one_word = url.isprintable() and " " not in parts.netloc
    return is_one_word and has_port and bool(host) and parts.scheme in {"http", "https"}


def _require_name(value: str | None, key: str, variable: str, endpoint: Endpoint) -> None:
    """Refuse a name that cannot be sent in a header.

    Raises:
        BackendError: The name has blanks around it, a line break or a character that is not ASCII.
    """
    if value is None or (value == value.strip() and all(" " <= one <= "~" for one in value)):
        return
    raise BackendError(
        f"endpoint {endpoint.name}: {key} {excerpt(value)} cannot be sent in a request: it has blanks "
        "around it, a line break or no ASCII characters",
        f"Write the ID of the {key} as the service shows it, in ftctl.yaml or in {variable}.",
    )


def _require_header(value: str, variable: str, endpoint: Endpoint) -> None:
    """Refuse a key that cannot be sent in a header, without showing the key.

    Raises:
        BackendError: The key contains a blank, a line break or a character that is not ASCII.
    """
    wrong = next(
        (at for at, character in enumerate(value, start=1) if not "!" <= character <= "~"), None
    )
    if wrong is not None:
        raise BackendError(
            f"endpoint {endpoint.name}: the value of {variable} is not a key: its character {wrong} of "
            f"{len(value)} is a blank, a line break or no ASCII character",
            f"Set {variable} to the key alone, as the service shows it.",
        )


def _require_account(endpoint: Endpoint) -> None:
    """Require an account exactly where the service's paths name one.

    Raises:
        BackendError: The account is missing, or has no use.
    """
    if endpoint.account is None and profile_of(endpoint.kind).api is not None:
        raise BackendError(
            f"endpoint {endpoint.name}: servers of `kind: {endpoint.kind}` need an account",
            "Write `account: NAME` beside `kind` in ftctl.yaml, as the service calls your account.",
        )
    if endpoint.account is not None and profile_of(endpoint.kind).api is None:
        raise BackendError(
            f"endpoint {endpoint.name}: `account` has no use at a server of `kind: {endpoint.kind}`",
            "Remove `account` from the endpoint in ftctl.yaml.",
        )


def require_deployable(endpoint: Endpoint) -> None:
    """Require that `deploy` of an endpoint has what its kind needs, and nothing without use.

    Raises:
        BackendError: A setting is missing, or has no use.
    """
    if endpoint.deploy is None:
        return
    deploy, kind = profile_of(endpoint.kind).deploy, endpoint.kind
    if deploy is None or deploy.api is None:
        raise BackendError(
            f"endpoint {endpoint.name}: `deploy` has no use at a server of `kind: {kind}`",
            "Remove `deploy` from the endpoint in ftctl.yaml.",
        )
    usual = DeploySettings()
    written = {
        one.name
        for one in fields(usual)
        if getattr(endpoint.deploy, one.name) != getattr(usual, one.name)
    }
    missing = [name for name in deploy.api.needs if name not in written]
    if missing:
        raise BackendError(
            f"endpoint {endpoint.name}: `deploy` lacks {', '.join(missing)}",
            f"Write {', '.join(missing)} into `deploy` of the endpoint in ftctl.yaml.",
        )
    useless = sorted(written - {*deploy.api.needs, *deploy.api.takes, "usd_per_hour"})
    if useless:
        raise BackendError(
            f"endpoint {endpoint.name}: `deploy.{useless[0]}` has no use at a server of `kind: {kind}`",
            f"Remove {', '.join(useless)} from `deploy` of the endpoint in ftctl.yaml.",
        )


def deployment_settings(endpoint: Endpoint, environment: Mapping[str, str]) -> Settings:
    """Return everything that a client needs to deploy models; the URL is that of all deployments.

    Raises:
        BackendError: A part is missing.
    """
    require_deployable(endpoint)
    own, deploy = endpoint.deploy, profile_of(endpoint.kind).deploy
    if own is None or deploy is None or deploy.api is None:
        raise BackendError(f"endpoint {endpoint.name} deploys nothing")
    api = deploy.api
    if own.base_url is not None:
        _require_address(own.base_url, endpoint, "as `base_url` of `deploy` in ftctl.yaml")
    base = own.base_url or base_url(endpoint, environment)
    path = urljoin(f"{base.rstrip('/')}/", api.url)
    if own.base_url is not None and split_url(api.url).scheme:
        parts = split_url(api.url)
        path = f"{own.base_url.rstrip('/')}{parts.path}"
    url = path.format_map(asdict(own))
    variable = own.token_env or api.token_env or endpoint.api_key_env
    key = _variable(variable, endpoint, environment)
    if key is None:
        place = f" or in {endpoint.env_file.name}" if endpoint.env_file else ""
        raise CredentialsMissing(
            f"endpoint {endpoint.name}: no token for deployments: the variable {variable} is not set",
            f"Set {variable} in the environment{place}.",
        )
    _require_header(key, variable, endpoint)
    return Settings(base_url=url, api_key=key)


def _require_own_key(endpoint: Endpoint) -> None:
    """Refuse to send OpenAI's key to the address of another service.

    Raises:
        BackendError: The endpoint names no variable of its own.
    """
    if endpoint.api_key_env == OPENAI_KEY:
        raise BackendError(
            f"endpoint {endpoint.name}: {OPENAI_KEY} holds a key of OpenAI's, and the server is of "
            f"`kind: {endpoint.kind}`",
            f"Write `api_key_env: {endpoint.kind.upper()}_API_KEY` beside `kind` in ftctl.yaml.",
        )


def _variable(name: str, endpoint: Endpoint, environment: Mapping[str, str]) -> str | None:
    value = environment.get(name, "").strip()
    if not value and endpoint.env_file is not None and endpoint.env_file.is_file():
        value = (_env_file(endpoint).get(name) or "").strip()
    return value or None


def _env_file(endpoint: Endpoint) -> Mapping[str, str | None]:
    file = endpoint.env_file
    if file is not None and not file.resolve().is_relative_to(file.parent.resolve()):
        raise BackendError(
            f"{file.name} leaves the repository through a link",
            "Copy the file in its place, or set the variables in the environment.",
        )
    try:
        dotenv = importlib.import_module("dotenv")
    except ImportError:
        raise BackendError(
            f"reading {endpoint.env_file} needs the package python-dotenv", install_command(EXTRA)
        ) from None
    try:
        # No interpolation: a key may contain `$`.
        values: Mapping[str, str | None] = dotenv.dotenv_values(
            endpoint.env_file, interpolate=False
        )
    except (OSError, ValueError) as error:
        raise BackendError(f"{endpoint.env_file} cannot be read: {error}") from None
    return values
