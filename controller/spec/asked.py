"""Settings of a model that answers where it is: a rival, a judge."""

from typing import Final

from pydantic import Field

from backends.registry import OF_ENDPOINTS
from controller.spec.base import MOST, NonEmpty, Strict

DEFAULT_ENDPOINT: Final = "default"


def place_of(backend: str, endpoint: str | None) -> str:
    """Return a backend and, where it is not the default one, its endpoint: `openai@eu`."""
    return backend if endpoint in {None, DEFAULT_ENDPOINT} else f"{backend}@{endpoint}"


class AskedModel(Strict):
    """A model that is asked where it is, without training it."""

    backend: NonEmpty | None = None
    """Backend that asks the model; when absent, the one that `endpoint` belongs to, or else the
    spec's."""
    endpoint: NonEmpty | None = None
    """Server of the model, by its name in `ftctl.yaml`; `default` is api.openai.com."""

    def place(self, of_spec: str) -> str:
        """Return the backend and endpoint that ask the model.

        Args:
            of_spec: Backend and endpoint of the spec.
        """
        if self.backend is None and self.endpoint is None:
            return of_spec
        return place_of(self.backend or OF_ENDPOINTS, self.endpoint)


class JudgeModel(AskedModel):
    """A model that is asked for its opinion on answers."""

    model: NonEmpty
    """Name of the model."""
    max_tokens: int = Field(default=1024, ge=16, le=MOST)
    """Longest opinion, in tokens; a model that thinks needs more."""
