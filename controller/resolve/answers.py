"""Answers of backends about specs, for one pass: one question for equal specs."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeAlias, TypeVar, cast

from backends.contract.backend import Backend
from backends.contract.capabilities import Capabilities
from backends.contract.errors import BackendError, FieldProblem
from backends.contract.inspector import ExampleInspector, Json
from backends.contract.jobs import BaseModel, Recipe
from backends.contract.methods import METHODS
from controller.spec.model import Spec

OpenBackend: TypeAlias = Callable[[str], Backend]
P = ParamSpec("P")
T = TypeVar("T")


class Answers:
    """Answers so far. Equal settings share an inspector, so that its files are read once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], Any] = {}

    def capabilities(self, backend: Backend, spec: Spec) -> Capabilities:
        """Return what a spec's backend can do."""
        return self.capabilities_of(spec.place, backend)

    def capabilities_of(self, place: str, backend: Backend) -> Capabilities:
        """Return what the backend of a place can do."""
        return self._once(place, backend.capabilities)

    def hyperparameters(self, backend: Backend, spec: Spec) -> Mapping[str, Json]:
        """Return a spec's hyperparameters complete, defaults written out.

        Raises:
            HyperparametersInvalid: With every problem found.
        """
        if not spec.trains:
            return {}
        raw = cast(Mapping[str, Json], spec.hyperparameters)
        return self._once(spec.place, backend.parse_hyperparameters, spec.method, raw)

    def hardware_problems(
        self, backend: Backend, spec: Spec, hyperparameters: Mapping[str, Json]
    ) -> Sequence[FieldProblem]:
        """Return why a spec cannot be trained on as many GPUs as it names."""
        gpus = spec.hardware.gpus
        return self._once(spec.place, backend.hardware_problems, spec.method, hyperparameters, gpus)

    def base_model(
        self, backend: Backend, place: str, model: str, revision: str | None, folder: Path
    ) -> BaseModel:
        """Return a base model, as the backend of a place identifies it.

        Raises:
            BackendError: The base model is not on this machine.
        """
        return self._once(place, backend.resolve_base_model, model, revision, folder)

    def look_up(
        self, backend: Backend, place: str, model: str, revision: str | None, folder: Path
    ) -> BaseModel | None:
        """Return a base model as its hub describes it; None if nobody must be asked.

        Raises:
            BackendError: The hub does not answer, or does not have it.
        """
        return self._once(place, backend.look_up_base_model, model, revision, folder)

    def identify(self, place: str, backend: Backend, model: str, folder: Path) -> BaseModel:
        """Return a model that is asked as it is, as its backend identifies it.

        Raises:
            BackendError: The model is not on this machine.
        """
        return self._once(place, backend.resolve_base_model, model, None, folder)

    def recipes(self, backend: Backend, spec: Spec, base_model: BaseModel) -> Sequence[Recipe]:
        """Return a spec's complete hyperparameters under each recipe of its backend, newest first.

        Raises:
            HyperparametersInvalid: With every problem found.
        """
        hyperparameters = self.hyperparameters(backend, spec)
        if not spec.trains:
            return [Recipe(hyperparameters=hyperparameters)]
        return self._once(spec.place, backend.recipes, base_model, spec.method, hyperparameters)

    def inspector(
        self,
        backend: Backend,
        spec: Spec,
        base_model: BaseModel,
        hyperparameters: Mapping[str, Json],
    ) -> ExampleInspector:
        """Return the inspector of a spec's examples."""
        method = METHODS[spec.method].read_as or spec.method
        if not spec.trains:
            hyperparameters = self._once(spec.place, backend.parse_hyperparameters, method, {})
        return self._once(spec.place, backend.inspector, base_model, method, hyperparameters)

    def _once(self, place: str, ask: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
        # Spelled as they were written: to a backend, 1 and 1.0 may be two things.
        key = (place, ask.__name__, *map(repr, given))
        if key not in self._known:
            try:
                self._known[key] = ask(*given, **named)
            except BackendError as error:
                # A hub that does not answer is waited for once.
                self._known[key] = error
        if isinstance(self._known[key], BackendError):
            raise self._known[key]
        return cast(T, self._known[key])
