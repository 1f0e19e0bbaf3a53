"""Where hosted models are taken over from, and where to."""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from backends.contract.backend import Backend
from backends.contract.inventory import HostedModel
from backends.registry import OF_ENDPOINTS
from controller.project.project import Project
from controller.resolve.answers import OpenBackend
from controller.spec.asked import place_of
from controller.spec.data import SplitName
from controller.spec.load import LoadedSpec
from controller.spec.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopting:
    """Where models are taken over from, and where to."""

    project: Project
    settings: Settings
    open_backend: OpenBackend
    endpoint: str
    """Name of the endpoint; empty for the default one."""
    lock_timeout_s: float
    specs: dict[str, LoadedSpec] = field(default_factory=dict)
    """The repository's specs, with those that this run wrote."""
    unread: Collection[str] = ()
    """Names of specs that cannot be read."""

    @property
    def place(self) -> str:
        """The backend and its endpoint, as a spec has them."""
        return place_of(OF_ENDPOINTS, self.endpoint or None)

    @property
    def backend(self) -> Backend:
        """The backend at the endpoint."""
        return self.open_backend(self.place)


@dataclass(slots=True, kw_only=True)
class Work:
    """One model while it is taken over."""

    hosted: HostedModel
    name: str
    written: list[Path] = field(default_factory=list)
    """Data files that this run put into the repository; removed if the model is refused."""
    fetched: list[Path] = field(default_factory=list)
    """Downloaded files, where they wait."""
    is_declared: bool = False
    """True if the spec exists already."""
    paths: dict[SplitName, str] = field(default_factory=dict)
    """Files of an existing spec, relative to the folder of specs; of splits with one file each."""
    remarks: list[str] = field(default_factory=list)
