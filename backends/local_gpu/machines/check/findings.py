"""Findings of a job about its machine, as checks for people. Pure."""

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any, Final

from backends.contract.jobs import Machine, MachineCheck

_APART_S: Final = 60.0
"""Seconds by which clocks may differ: signs of life count for a minute and a half."""
_LITTLE_BYTES: Final = 5e9
"""A model of 0.6 thousand million weights, with its checkpoints, fits in that."""
_MAIN: Final = ("torch", "transformers", "peft")
_VERSION: Final = version("ftctl")


def findings(machine: Machine, answer: Mapping[str, Any], stamp_s: float) -> Iterator[MachineCheck]:
    """Yield what is right and wrong with a machine.

    Args:
        machine: The machine.
        answer: What its job wrote.
        stamp_s: Seconds by which an object that was written here afterwards is dated later.
    """
    host = str(answer.get("host"))
    yield _store(answer, host)
    yield _ftctl(answer, host)
    yield _packages(answer, host)
    yield _devices(machine, answer, host)
    yield _disk(answer)
    yield _clocks(answer, host, stamp_s)
    yield _hub(answer)


def apart(seconds: float) -> bool:
    """Return whether two clocks differ by more than they may."""
    return abs(seconds) > _APART_S


def clock_check(subject: str, which: str, seconds: float) -> MachineCheck:
    """Return the check for clocks that differ.

    Args:
        subject: Name of the check.
        which: The two clocks, in words.
        seconds: Seconds between them.
    """
    return MachineCheck(
        subject=subject,
        detail=f"the clocks of {which} differ by {_span(seconds)}",
        remedy="Let a time service such as chrony set them: signs of life would look too old.",
        ok=False,
    )


def _store(answer: Mapping[str, Any], host: str) -> MachineCheck:
    wrong, free = str(answer.get("store") or ""), answer.get("store_free_bytes")
    room = "" if free is None else f"; {free / 1e9:,.0f} GB free"
    if wrong:
        remedy = "Mount it so that this user may write, with the same options as here."
        return _sick("store there", f"on {host}, it {wrong}", remedy)
    if free is not None and free < _LITTLE_BYTES:
        remedy = "Make room there: models and checkpoints go into it."
        return _sick("store there", f"nearly full{room}", remedy)
    return _well("store there", f"created, replaced, listed and read from {host}{room}")


def _ftctl(answer: Mapping[str, Any], host: str) -> MachineCheck:
    there = answer.get("ftctl")
    if there != _VERSION:
        remedy = f"Install ftctl {_VERSION} there, or write `runtime: wheel` for the machine."
        return _sick("ftctl", f"{host} has {there}, and this machine {_VERSION}", remedy)
    return _well("ftctl", f"{there}, Python {answer.get('python')}")


def _packages(answer: Mapping[str, Any], host: str) -> MachineCheck:
    packages = dict(answer.get("packages") or {})
    missing = [name for name, found in packages.items() if found is None]
    if missing:
        remedy = f"Install them there: pip install {' '.join(missing)}"
        return _sick("packages", f"missing on {host}: {', '.join(missing)}", remedy)
    if answer.get("torch"):
        remedy = "Install torch there anew, in the build for its driver."
        return _sick("packages", f"torch cannot be loaded on {host}: {answer['torch']}", remedy)
    return _well("packages", ", ".join(f"{name} {packages.get(name)}" for name in _MAIN))


def _devices(machine: Machine, answer: Mapping[str, Any], host: str) -> MachineCheck:
    cpus = f"{answer.get('cpus')} CPUs"
    if not machine.has_gpus:
        return _well("device", f"{cpus}, as `devices: cpu` says")
    gpus = answer.get("gpus")
    if gpus is None:
        remedy = "Install torch there, and type this command again."
        return _sick("device", "not known: only torch can tell", remedy)
    if not gpus:
        remedy = (
            "Correct its driver, or what the scheduler gives to jobs; or write `devices: cpu` for "
            "the machine."
        )
        return _sick("device", f"torch sees no GPU on {host}, only {cpus}", remedy)
    shown = "; ".join(f"{name}, {size / 1e9:,.0f} GB" for name, size in gpus)
    return _well("device", shown)


def _disk(answer: Mapping[str, Any]) -> MachineCheck:
    scratch = dict(answer.get("scratch") or {})
    free = float(scratch.get("free_bytes") or 0)
    detail = f"{scratch.get('folder')}, {free / 1e9:,.0f} GB free"
    if free < _LITTLE_BYTES:
        remedy = "Make room, or name a larger disk there: `environment: {FTCTL_SCRATCH: FOLDER}`."
        return _sick("disk", detail, remedy)
    return _well("disk", detail)


def _clocks(answer: Mapping[str, Any], host: str, stamp_s: float) -> MachineCheck:
    there, store = answer.get("time_s"), answer.get("store_time_s")
    seconds = 0.0 if there is None or store is None else float(there) - float(store)
    if apart(seconds):
        return clock_check("clocks", f"{host} and the store", seconds)
    # A folder may date files by the clock of whoever writes them, and both then look right.
    if apart(stamp_s):
        return clock_check("clocks", f"{host} and this machine", stamp_s)
    return _well("clocks", f"those of {host}, the store and this machine agree")


def _hub(answer: Mapping[str, Any]) -> MachineCheck:
    wrong = str(answer.get("hub") or "")
    if not wrong:
        return _well("hub", "can be reached there")
    return _well("hub", f"not reached from there ({wrong}): base models have to be folders")


def _well(subject: str, detail: str) -> MachineCheck:
    return MachineCheck(subject=subject, detail=detail)


def _sick(subject: str, detail: str, remedy: str) -> MachineCheck:
    return MachineCheck(subject=subject, detail=detail, remedy=remedy, ok=False)


def _span(seconds: float) -> str:
    return f"{abs(seconds) / 60:,.1f} minutes"
