"""Profiles: what differs between the kinds of servers, read from one file of data for each.

A new kind is a new file beside this module; its name is what `kind:` in `ftctl.yaml` says. What a
service does not document is listed in its file, and the plan tells it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from backends.contract.errors import BackendError
from backends.contract.methods import DPO, REINFORCEMENT, SUPERVISED
from backends.did_you_mean import did_you_mean, use_one_of
from backends.excerpt import excerpt
from backends.openai.profiles.resource_api import ResourceApi, Template

_FOLDER: Final = Path(__file__).parent
_EVERY_METHOD: Final = frozenset({SUPERVISED.name, DPO.name, REINFORCEMENT.name})


class _Data(BaseModel):
    """Base of the parts of a profile."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLimits:
    """Limits of one kind of endpoint; None where no limit is published."""

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    examples: int
    """Minimum number of training examples."""
    suffix: int
    """Maximum number of characters of a suffix."""
    images: int | None = None
    """Maximum number of images in an example."""
    image_bytes: int | None = None
    """Maximum size of an image, in bytes."""
    graded: int | None = None
    """Maximum number of training examples of reinforcement."""
    graded_held_out: int | None = None
    """Maximum number of held-out examples of reinforcement."""
    file_bytes: int | None = None
    """Maximum size of a file, in bytes."""


class OwnSetting(_Data):
    """A hyperparameter that only servers of this kind have."""

    type: Literal["whole", "number", "flag", "choice"]
    about: str
    """Its text in the help."""
    auto: bool = False
    """True if the server chooses where the spec does not: the word `auto`."""
    choices: tuple[str, ...] = ()
    """The words that a `choice` may be."""
    least: float | None = None
    """Smallest value."""
    above: float | None = None
    """Largest value that is too small."""
    most: float | None = None
    """Largest value."""
    default: bool | int | float | str | None = None
    """Value that is sent where the spec has none; None sends nothing."""
    place: Literal["hyperparameters", "body"] = "hyperparameters"
    """Place in the create call: among the hyperparameters, or beside them."""
    sent_as: str = ""
    """Its name at a service with paths of its own; empty: the same name."""


class CheckpointResult(_Data):
    """Result of a job that names no model: its newest checkpoint is the result."""

    model: str
    """The model's ID, made from `{job}` and texts of the checkpoint, such as `{id}`."""
    files: str
    """Key of the checkpoint with the IDs of the files that hold the weights."""

    def model_of(self, job_id: str, checkpoint: Mapping[str, object]) -> str | None:
        """Return the ID of the model that a checkpoint is; None if the checkpoint lacks a part."""
        parts = {
            key: value for key, value in checkpoint.items() if isinstance(value, str) and value
        }
        try:
            return self.model.format_map({**parts, "job": job_id})
        except KeyError:
            return None


class DeployApi(_Data):
    """Calls that make and find the deployment of a trained model."""

    url: str
    """Address of the deployments, relative to the endpoint's; `{…}` for settings of `deploy`."""
    query: Mapping[str, str] = Field(default_factory=dict)
    """Query of each call."""
    create: Literal["PUT", "POST"]
    """`PUT`: at `URL/NAME`, which may be repeated. `POST`: at the URL, which lists them, too."""
    body: Mapping[str, Template]
    """Body of the call, with `{name}`, `{model}`, `{base_model}`, `{sku}`; `{capacity}` alone is a
    number."""
    name: str
    """Where the answer names the deployment; a dot leads into an object."""
    source: str
    """What it was made from, out of `{…}` for keys of the answer."""
    status: str
    """Where the answer holds its state; a dot leads into an object."""
    detail: str
    """Where the answer says why it failed."""
    ready: tuple[str, ...]
    """States, in lower case, in which it answers."""
    failed: tuple[str, ...]
    """States, in lower case, in which it never will."""
    needs: tuple[str, ...] = ()
    """Settings of `deploy` without which nothing can be deployed."""
    takes: tuple[str, ...] = ()
    """Further settings of `deploy` that have a use."""
    token_env: str | None = None
    """Variable with the token; None: the endpoint's key."""
    sku: str = ""
    """Kind of deployment where none is written."""
    usd_per_hour: float | None = None
    """Price of a deployment in US dollars an hour; None if it is not known."""
    free_skus: tuple[str, ...] = ()
    """Kinds, in lower case, that cost nothing by the hour."""
    note: str = ""
    """What else the plan says."""


class Deploy(_Data):
    """Servers where a trained model answers only after it was deployed."""

    how: str
    """Remedy, up to the entry of `deployments:` that follows."""
    base_models: bool = False
    """True if base models need a deployment too."""
    api: DeployApi | None = None
    """None: only a person can deploy."""


class States(_Data):
    """The server's words for the states of a job."""

    queued: tuple[str, ...]
    running: tuple[str, ...]
    succeeded: tuple[str, ...]
    failed: tuple[str, ...]
    cancelled: tuple[str, ...]
    paused: tuple[str, ...] = ()
    """Still open, and waiting for a person."""


class Profile(_Data):
    """One kind of server."""

    kind: str
    """The file's name."""
    about: str
    """The service, in the help."""
    base_url: str | None = None
    """Address that holds where `ftctl.yaml` names none; None: `OPENAI_BASE_URL`, else OpenAI."""
    methods: frozenset[str] = _EVERY_METHOD
    """Training methods."""
    rules: Literal["openai", "none"]
    """Rules that examples are checked by before they are uploaded."""
    hyperparameters: Literal["published", "open", "own"]
    """The protocol's settings in OpenAI's ranges, without upper limits, or only those below."""
    settings: Mapping[str, OwnSetting] = Field(default_factory=dict)
    """Hyperparameters that only this kind has."""
    sent_in: Literal["method", "both", "top"] = "method"
    """Place of the hyperparameters: in `method`, also beside it, or only beside it."""
    metadata: bool = True
    """False: a job is recognised by file, model, seed, settings and suffix."""
    tracking: bool = True
    """True if a job takes `integrations`."""
    strict_chat: Literal["always", "far", "never"]
    """Servers whose chat takes only OpenAI's fields: `far` is not on this machine."""
    limits: ServiceLimits
    states: States
    api: ResourceApi | None = None
    """Paths and fields of a service that does not speak the protocol; None: it does."""
    result: CheckpointResult | None = None
    """None: the job names its model."""
    deploy: Deploy | None = None
    """None: a trained model answers at once."""
    undocumented: tuple[str, ...] = Field(default=())
    """Undocumented behaviour of the service, each a part of a sentence."""

    @property
    def takes_rate(self) -> bool:
        """True if the learning rate is absolute, and not a multiplier of the server's own."""
        return "learning_rate" in self.settings

    @property
    def body_settings(self) -> tuple[str, ...]:
        """The settings that lie beside the hyperparameters in a create call."""
        return tuple(name for name, own in self.settings.items() if own.place == "body")

    @property
    def note(self) -> str | None:
        """Undocumented behaviour as a sentence for the plan; None if there is none."""
        if not self.undocumented:
            return None
        return f"not documented by servers of `kind: {self.kind}`: {'; '.join(self.undocumented)}"


def read_profile(path: Path) -> Profile:
    """Read the file of one kind."""
    return Profile.model_validate({"kind": path.stem, **yaml.safe_load(path.read_bytes())})


PROFILES: Final[Mapping[str, Profile]] = {
    path.stem: read_profile(path) for path in sorted(_FOLDER.glob("*.yaml"))
}
"""Every kind of server, by its name."""


def profile_of(kind: str) -> Profile:
    """Return the profile of a kind.

    Raises:
        BackendError: There is no such kind.
    """
    if kind not in PROFILES:
        raise BackendError(
            f"no kind of endpoint is called {excerpt(kind)}",
            did_you_mean(kind, PROFILES) or use_one_of(list(PROFILES)),
        )
    return PROFILES[kind]


def states_by_word() -> dict[str, str]:
    """Return the states by the words of all servers: a word means the same everywhere."""
    return {
        word: state
        for profile in PROFILES.values()
        for state, words in profile.states
        for word in words
    }
