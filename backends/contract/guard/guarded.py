"""A wall around each backend, so that a broken backend fails alone and by its name.

Each call goes through, its faults become `BackendError`, and its answer is compared with the
contract before the caller gets it. The protocols of the contract tell which methods there are and
which types their answers have; `answer_checks` has what types cannot tell.
"""

import inspect
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, ClassVar, Final, Protocol, cast, get_args, get_origin, runtime_checkable

from backends.contract.backend import Backend
from backends.contract.completions import Engine
from backends.contract.deployments import Deployment, DeploymentState
from backends.contract.errors import BackendError, NotOffered
from backends.contract.guard.answer_checks import CHECKS, STREAM_CHECKS, Given
from backends.contract.guard.faults import Call, Guard
from backends.contract.inspector import ExampleInspector

_RENAMED: Final = {
    "encoder": "inspector",
    "find": "find_jobs",
    "identify": "resolve_base_model",
    "verify": "verify_job",
}
"""Methods that had another name in an earlier contract, by that name."""


@dataclass(frozen=True, slots=True)
class Lacking:
    """Error of an optional method without a default answer."""

    words: str
    """Follows the backend's name: `offers no list of models`."""

    def error(self, name: str) -> NotOffered:
        """Return the error for a backend that lacks a method."""
        return NotOffered(f"backend {name} {self.words}", "Name an endpoint of another kind.")


OPTIONAL: Final[Mapping[str, Any]] = {
    "announced_shutdowns": {},
    "check_machine": (),
    "common_names": {},
    "curve": (),
    "download": Lacking("gives no files"),
    "estimate_answers": None,
    "deploy": Deployment(
        name="", state=DeploymentState.FAILED, detail="this backend deploys nothing"
    ),
    "deployments": {},
    "hardware_problems": (),
    "hosting": None,
    "export_model": (),
    "fetch_base_model": None,
    "inspector.all_pass": False,
    "inspector.longest": [],
    "inspector.thinks": False,
    "inventory": Lacking("offers no list of its models"),
    "look_up_base_model": None,
    "memory": None,
    "model_files": None,
    "place_model": None,
    "placed_command": Lacking("places no jobs on other machines"),
    "shipped_shutdowns": {},
    "stored_completions": (),
    "stored_messages": (),
    "take_over": None,
    "use_machines": None,
    "weights_folder": None,
}
"""Answers of what a backend's code may leave out, or the error in their place."""


@runtime_checkable
class Pausable(Protocol):
    """A backend that can stop a job, and continues it when it is submitted again."""

    def pause(self, job_id: str) -> None:
        """Ask a job to save its work and stop; it becomes interrupted. May be repeated."""


def guard(name: str, create: Callable[[], Backend], *, built_in: bool) -> Backend:
    """Create a backend and return it guarded.

    Args:
        name: The backend's name in specs.
        create: Imports and creates the backend.
        built_in: True for a backend of ftctl, whose inspectors and engines are not guarded.

    Raises:
        BackendError: The backend cannot be created, or lacks methods of the contract.
    """
    mine = Guard(name, built_in)
    with mine.call("create") as call:
        backend = create()
        _require_new_names(name, backend)
        call.expect_methods(backend, GuardedBackend.required, "a Backend")
    kind = GuardedPausable if isinstance(backend, Pausable) else GuardedBackend
    return cast("Backend", kind(mine, backend))


@dataclass(frozen=True)
class _Guarded:
    """Implements a protocol around an object of a backend's code."""

    required: ClassVar[tuple[str, ...]] = ()
    """Methods that the object must have."""
    guard: Guard
    inner: Any

    def __init_subclass__(cls, *, protocol: type, prefix: str = "") -> None:
        members = {
            name: each
            for part in reversed(protocol.__mro__)
            for name, each in vars(part).items()
            if not name.startswith("_")
        }
        for name, member in members.items():
            getter = member.fget if isinstance(member, property) else None
            guarded = _method(name, prefix + name, getter or member, is_property=bool(getter))
            setattr(cls, name, property(guarded) if getter else guarded)
        cls.required = tuple(
            name
            for name, member in members.items()
            if callable(member) and prefix + name not in OPTIONAL
        )


def _method(
    name: str, what: str, declared: Callable[..., Any], *, is_property: bool
) -> Callable[..., Any]:
    """Return the guarded form of a method or of a property's getter.

    Args:
        name: Its name.
        what: Its name in messages.
        declared: The method of the protocol.
        is_property: True if the object has an attribute of this name, not a method.
    """

    def ask(self: _Guarded, *args: object) -> Any:  # noqa: ANN401 - whatever the code returns
        if what in OPTIONAL and not hasattr(self.inner, name):
            answer = OPTIONAL[what]
            if isinstance(answer, Lacking):
                raise answer.error(self.guard.name)
            return answer
        found = getattr(self.inner, name)
        return found if is_property else found(*args)

    streams = get_origin(inspect.signature(declared).return_annotation) in {Iterator, Generator}
    make = _streaming if streams else _calling
    return wraps(declared)(make(what, declared, ask))


def _calling(
    what: str, declared: Callable[..., Any], ask: Callable[..., Any]
) -> Callable[..., Any]:
    """Return the guarded form of a method that answers at once."""
    signature = inspect.signature(declared)
    wanted = signature.return_annotation
    check = CHECKS.get(what)
    lists = [
        parameter.name
        for parameter in signature.parameters.values()
        if get_origin(parameter.annotation) is Iterable
    ]

    def call_checked(self: _Guarded, *args: object, **named: object) -> Any:  # noqa: ANN401
        given = signature.bind(self, *args, **named)
        # An iterator is empty once the backend has read it.
        given.arguments |= {key: list(given.arguments[key]) for key in lists}
        with self.guard.call(what) as call:
            answer = ask(*given.args)
            if wanted in _GUARDED:
                call.expect_methods(answer, _GUARDED[wanted].required, f"an {wanted.__name__}")
            elif wanted is not None:
                call.expect(answer, wanted)
            if check is not None:
                check(call, answer, given.arguments)
        guarded = None if self.guard.built_in else _GUARDED.get(wanted)
        return guarded(self.guard, answer) if guarded else answer

    return call_checked


def _streaming(
    what: str, declared: Callable[..., Any], ask: Callable[..., Any]
) -> Callable[..., Any]:
    """Return the guarded form of a method that answers piece by piece.

    Closing the iterator closes the backend's own at once, not when it is collected.
    """
    signature = inspect.signature(declared)
    wanted = get_args(signature.return_annotation)[0]
    start = STREAM_CHECKS.get(what, _NoCheck)

    def stream_checked(self: _Guarded, *args: object, **named: object) -> Iterator[Any]:
        given = signature.bind(self, *args, **named)
        given.apply_defaults()
        with self.guard.call(what) as call:
            check = start(call, given.arguments)
            pieces = ask(*given.args)
            check.begin(pieces)
            try:
                for piece in pieces:
                    call.expect(piece, wanted)
                    check.add(piece)
                    yield piece
                check.end()
            finally:
                close = getattr(pieces, "close", None)
                if callable(close):
                    close()

    return stream_checked


class _NoCheck:
    """Checks nothing but types."""

    def __init__(self, call: Call, given: Given) -> None:
        """Take what other checks need."""

    def begin(self, found: object) -> None:
        """Accept the iterator."""

    def add(self, piece: object) -> None:
        """Accept the piece."""

    def end(self) -> None:
        """Accept the end."""


_GUARDED: Final[dict[Any, type[_Guarded]]] = {}
"""Guards of what backends return, by protocol."""


class GuardedBackend(_Guarded, protocol=Backend):
    """Implements `Backend` around another backend."""

    @property
    def name(self) -> str:
        """The backend's name in specs."""
        return self.guard.name


class GuardedPausable(GuardedBackend, protocol=Pausable):
    """Implements `Backend` around a backend that can pause its jobs."""


class GuardedInspector(_Guarded, protocol=ExampleInspector, prefix="inspector."):
    """Implements `ExampleInspector` around another inspector; goes to other processes with it."""


class GuardedEngine(_Guarded, protocol=Engine, prefix="engine."):
    """Implements `Engine` around another engine."""


_GUARDED.update({ExampleInspector: GuardedInspector, Engine: GuardedEngine})


def _require_new_names(name: str, backend: object) -> None:
    former = {
        old: new
        for old, new in _RENAMED.items()
        if hasattr(backend, old) and not hasattr(backend, new)
    }
    if former:
        raise BackendError(
            f"backend {name} was written for an earlier contract: it has {', '.join(former)}",
            f"Rename its methods: {', '.join(f'{old} to {new}' for old, new in former.items())}.",
        )
