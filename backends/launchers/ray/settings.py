"""The settings of a machine with `launcher: ray`."""

from collections.abc import Collection, Mapping
from ipaddress import ip_address
from typing import Annotated, Final
from urllib.parse import SplitResult, urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from backends.contract.errors import InvalidInput
from backends.contract.inspector import Json
from backends.pydantic_errors import InvalidValue, in_our_words, shown

_PLAIN: Final = "http"
_OWN_RESOURCES: Final[Mapping[str, str]] = {
    "CPU": "Write `cpus: N` beside `resources`.",
    "GPU": "Remove it: the spec says `hardware: {gpus: N}`.",
    "memory": "Remove it: the spec says `hardware: {memory: SIZE}`.",
    "object_store_memory": "Remove it: a training stores nothing there.",
}
"""Resources of Ray's own, with what to do instead of writing them."""
_OWN_ENTRIES: Final[Mapping[str, str]] = {
    "env_vars": "Write `environment: {NAME: VALUE}` in the machine's settings.",
    "working_dir": "Remove it: ftctl ships its code there; further code goes into `py_modules`.",
    "image_uri": "Write `runtime: {image: NAME}` in the machine's settings.",
}
"""Entries of a runtime environment that ftctl sets, with what to do instead."""


class RaySettings(BaseModel):
    """Settings of a Ray cluster."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, use_attribute_docstrings=True
    )

    runs: str | None = None
    """The machine's `runs`, where it is a folder. Ray keeps the output of jobs itself."""
    address: str
    """Address of the cluster's dashboard: http://head:8265"""
    token_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    """Variable with the token of a cluster that asks for one."""
    cpus: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1
    """CPUs that a job reserves on each node."""
    resources: Mapping[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = {}
    """Further resources that a job reserves on each node, by the cluster's own names."""
    runtime_env: Mapping[str, JsonValue] = {}
    """Further entries of the jobs' runtime environment, as Ray documents them."""
    stop_wait_s: Annotated[int, Field(ge=1, le=86_400)] = 120
    """Seconds from SIGTERM until Ray kills a job that is to stop; it saves its work meanwhile."""
    timeout_s: Annotated[float, Field(gt=0, le=600, allow_inf_nan=False)] = 30
    """Seconds that an answer of the cluster may take."""

    @field_validator("address")
    @classmethod
    def _is_an_address(cls, given: str) -> str:
        remedy = "Write the address of the dashboard: `address: http://head:8265`."
        parts = _split(given)
        if parts.scheme not in {_PLAIN, "https"} or not parts.hostname or _has_blanks(given):
            message = f"must be an http or https address, not {shown(given)}"
            raise InvalidValue(message, remedy)
        if "@" in parts.netloc:
            # The part before the @ may be a password: it is not repeated.
            message = f"must not hold a user or password before {shown(parts.hostname)}"
            raise InvalidValue(message, "Write `token_env: NAME`, and set that variable.")
        if parts.query or parts.fragment:
            raise InvalidValue(f"must end with host, port or path, not {shown(given)}", remedy)
        return given.rstrip("/")

    @field_validator("token_env")
    @classmethod
    def _goes_over_no_open_line(cls, given: str | None, info: ValidationInfo) -> str | None:
        parts = _split(info.data.get("address", ""))
        if given and parts.scheme == _PLAIN and not is_loopback(parts.hostname or ""):
            raise InvalidValue(
                f"would send the token to {parts.hostname} unencrypted",
                "Write an https address, or tunnel the port (ssh -L 8265:localhost:8265 HEAD) and write "
                "`address: http://127.0.0.1:8265`.",
            )
        return given

    @field_validator("resources")
    @classmethod
    def _are_further_resources(cls, given: Mapping[str, float]) -> Mapping[str, float]:
        _refuse(given, _OWN_RESOURCES, "is a resource of Ray's own")
        return given

    @field_validator("runtime_env")
    @classmethod
    def _are_further_entries(cls, given: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
        _refuse(given, _OWN_ENTRIES, "is set by ftctl")
        return given


def parse(raw: Mapping[str, Json]) -> RaySettings:
    """Check the settings of a machine, and write out every default.

    Raises:
        InvalidInput: With every problem found; `field` is a key.
    """
    try:
        return RaySettings.model_validate(dict(raw))
    except ValidationError as error:
        wrongs = in_our_words(error, raw, [RaySettings])
        raise InvalidInput([wrong.problem() for wrong in wrongs]) from None


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, so that nothing sent to it leaves the machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _split(url: str) -> SplitResult:
    """Return the parts of an address; empty parts if the text is not an address."""
    try:
        parts = urlsplit(url)
        # A host that has no name, or a part that is too long for one, shows only when it is looked up;
        # a port that is not a number, only when it is read.
        (parts.hostname or "").encode("idna")
        return parts if parts.port is None or parts.port else urlsplit("")
    except ValueError:
        return urlsplit("")


def _has_blanks(text: str) -> bool:
    return any(letter.isspace() or not letter.isprintable() for letter in text)


def _refuse(given: Collection[str], own: Mapping[str, str], why: str) -> None:
    for key, remedy in own.items():
        if key in given:
            raise InvalidValue(why, remedy, key)
