"""A backend that raises, or answers what the contract does not have, is named and fails alone."""

import errno
from asyncio import CancelledError
from pathlib import Path

import pytest

from backends.contract.backend import Endpoint
from backends.contract.errors import (
    BackendError,
    FieldProblem,
    HyperparametersInvalid,
    MachineFailed,
    ModelMissing,
)
from backends.contract.guard.guarded import Pausable, guard
from backends.registry import BUILT_IN, open_backend
from backends.testing import Crash, ScriptedBackend, check_backend
from tests.backends.contract.guard.acme import CALLS, KEY, REMEDY, REQUEST, acme


def test_a_guarded_backend_keeps_the_contract(tmp_path: Path):
    check_backend(acme(tmp_path), REQUEST, poll_s=0.0)


@pytest.mark.parametrize("method", CALLS)
def test_whatever_a_method_raises_names_backend_method_and_place(tmp_path: Path, method: str):
    def broken(*_):
        raise ValueError("no\n table " + "x" * 1000)

    with pytest.raises(BackendError) as caught:
        CALLS[method](acme(tmp_path, **{method: broken}))
    message = caught.value.message
    assert message.startswith(f"backend acme: {method} failed: ValueError: no table xxx")
    line = broken.__code__.co_firstlineno + 1
    assert message.endswith(f"(test_guarded.py:{line})")
    assert len(message) < 400
    assert caught.value.remedy == REMEDY
    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize("method", CALLS)
@pytest.mark.parametrize("stop", [SystemExit, CancelledError])
def test_what_would_end_or_cancel_the_caller_is_a_fault(tmp_path: Path, method: str, stop: type):
    def broken(*_):
        raise stop

    with pytest.raises(BackendError, match=f"backend acme: {method} failed"):
        CALLS[method](acme(tmp_path, **{method: broken}))


@pytest.mark.parametrize("method", CALLS)
@pytest.mark.parametrize("stop", [KeyboardInterrupt, Crash])
def test_what_ends_the_process_passes(tmp_path: Path, method: str, stop: type):
    def broken(*_):
        raise stop

    with pytest.raises(stop):
        CALLS[method](acme(tmp_path, **{method: broken}))


@pytest.mark.parametrize("method", CALLS)
def test_what_a_backend_means_to_say_passes(tmp_path: Path, method: str):
    problems = HyperparametersInvalid([FieldProblem(field="lr", message="is not known")])
    for meant in (ModelMissing("gone", "train it"), problems):

        def says(*_, meant=meant):
            raise meant

        with pytest.raises(type(meant)) as caught:
            CALLS[method](acme(tmp_path, **{method: says}))
        assert caught.value is meant


class Wordless(BackendError):
    def __init__(self) -> None:
        pass


@pytest.mark.parametrize(
    "error", [BackendError("no", None), BackendError(ValueError("no")), Wordless()]
)
def test_an_error_that_nobody_could_print_is_a_fault(tmp_path: Path, error: BackendError):
    def says(*_):
        raise error

    with pytest.raises(BackendError, match=r"backend acme: find_jobs failed: .*test_guarded"):
        acme(tmp_path, find_jobs=says).find_jobs([KEY])


def test_what_the_machine_refuses_is_told_apart(tmp_path: Path):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "/data/run")

    with pytest.raises(MachineFailed) as caught:
        acme(tmp_path, submit=full).submit(REQUEST)
    # Whoever tries again after an OSError does so; whoever shows a BackendError can.
    assert isinstance(caught.value, OSError)
    assert "OSError: [Errno 28] No space left on device: '/data/run'" in str(caught.value)
    assert caught.value.remedy.startswith("Free some space, then run the same command again.")


class Former(ScriptedBackend):
    """A backend from before methods were renamed."""

    find = ScriptedBackend.find_jobs
    identify = ScriptedBackend.resolve_base_model
    find_jobs = resolve_base_model = property()


def test_a_backend_of_an_earlier_contract_is_refused_with_the_new_names(tmp_path: Path):
    with pytest.raises(BackendError) as caught:
        guard("acme", lambda: Former(tmp_path), built_in=False)
    assert caught.value.message == (
        "backend acme was written for an earlier contract: it has find, identify"
    )
    assert caught.value.remedy == (
        "Rename its methods: find to find_jobs, identify to resolve_base_model."
    )


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_ours_are_guarded_too_and_pause_where_they_can(tmp_path: Path, name: str):
    url = "http://127.0.0.1:9/v1"
    opened = open_backend(name, tmp_path, Endpoint(name="default", base_url=url))
    assert opened.name == name
    assert isinstance(opened, Pausable)
    with pytest.raises(BackendError) as caught:
        opened.parse_hyperparameters([], {})
    assert caught.value.message.startswith(f"backend {name}: parse_hyperparameters failed: ")
    assert caught.value.remedy == "Please report this as a defect of ftctl."


def test_a_backend_that_cannot_pause_is_not_said_to(tmp_path: Path):
    assert not isinstance(acme(tmp_path), Pausable)
    paused = []
    backend = acme(tmp_path, pause=lambda _, job_id: paused.append(job_id))
    assert isinstance(backend, Pausable)
    backend.pause("job-1")
    assert paused == ["job-1"]
