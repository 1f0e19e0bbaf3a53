"""The client of a server: of the protocol, or of a service with paths of its own."""

from backends.openai.api.client import Client
from backends.openai.api.endpoints import Settings
from backends.openai.api.resource_client import ResourceClient
from backends.openai.api.waiting import Waiting
from backends.openai.profiles.profile import profile_of


def opened(settings: Settings, waiting: Waiting) -> Client:
    """Return a client that speaks to a server as its kind wants."""
    if profile_of(settings.kind).api is None:
        return Client(settings, waiting)
    return ResourceClient(settings, waiting)
