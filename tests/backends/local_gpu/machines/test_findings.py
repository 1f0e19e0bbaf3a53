"""What a job found out about its machine, in words: each kind of sickness is told."""

from importlib.metadata import version

import pytest

from backends.contract.jobs import Machine
from backends.local_gpu.machines.check.findings import findings

GIB = 1 << 30
WELL = {
    "host": "node7",
    "ftctl": version("ftctl"),
    "python": "3.12.1",
    "packages": {"torch": "2.13.0", "transformers": "5.0.0", "peft": "0.20.0"},
    "cpus": 8,
    "scratch": {"folder": "/scratch", "free_bytes": 100 * GIB},
    "hub": "",
    "gpus": [["NVIDIA H200", 140 * GIB]],
    "torch": "",
    "store": "",
    "store_free_bytes": 100 * GIB,
    "time_s": 1000.0,
    "store_time_s": 1001.0,
}


def look(stamp_s=0.0, devices="gpu", **changes):
    machine = Machine(name="hpc", launcher="slurm", runs="/shared", has_gpus=devices == "gpu")
    return {one.subject: one for one in findings(machine, {**WELL, **changes}, stamp_s)}


def test_a_healthy_machine():
    found = look()
    assert all(one.ok and not one.remedy for one in found.values())
    assert {name: one.detail for name, one in found.items()} == {
        "store there": "created, replaced, listed and read from node7; 107 GB free",
        "ftctl": f"{version('ftctl')}, Python 3.12.1",
        "packages": "torch 2.13.0, transformers 5.0.0, peft 0.20.0",
        "device": "NVIDIA H200, 150 GB",
        "disk": "/scratch, 107 GB free",
        "clocks": "those of node7, the store and this machine agree",
        "hub": "can be reached there",
    }


SICK = {
    "a store that ignores its conditions": (
        "store there",
        {"store": "does not replace objects"},
        "on node7, it does not replace objects",
        "Mount it so that this user may write, with the same options as here.",
    ),
    "a full store": (
        "store there",
        {"store_free_bytes": 4.99e9},
        "nearly full; 5 GB free",
        "Make room there: models and checkpoints go into it.",
    ),
    "an old ftctl": (
        "ftctl",
        {"ftctl": "0.0.1"},
        f"node7 has 0.0.1, and this machine {version('ftctl')}",
        f"Install ftctl {version('ftctl')} there, or write `runtime: wheel` for the machine.",
    ),
    "no ftctl": (
        "ftctl",
        {"ftctl": None},
        f"node7 has None, and this machine {version('ftctl')}",
        f"Install ftctl {version('ftctl')} there, or write `runtime: wheel` for the machine.",
    ),
    "packages that are missing": (
        "packages",
        {"packages": {"torch": None, "peft": "0.20.0", "transformers": None}},
        "missing on node7: torch, transformers",
        "Install them there: pip install torch transformers",
    ),
    "a torch that cannot be loaded": (
        "packages",
        {"torch": "libcudart.so: cannot open"},
        "torch cannot be loaded on node7: libcudart.so: cannot open",
        "Install torch there anew, in the build for its driver.",
    ),
    "no GPU": (
        "device",
        {"gpus": []},
        "torch sees no GPU on node7, only 8 CPUs",
        (
            "Correct its driver, or what the scheduler gives to jobs; or write `devices: cpu` for "
            "the machine."
        ),
    ),
    "nobody who could tell its GPUs": (
        "device",
        {"gpus": None, "torch": "it did not answer"},
        "not known: only torch can tell",
        "Install torch there, and type this command again.",
    ),
    "a full disk": (
        "disk",
        {"scratch": {"folder": "/scratch", "free_bytes": 4.99e9}},
        "/scratch, 5 GB free",
        "Make room, or name a larger disk there: `environment: {FTCTL_SCRATCH: FOLDER}`.",
    ),
    "a disk of which nothing is known": (
        "disk",
        {"scratch": None},
        "None, 0 GB free",
        "Make room, or name a larger disk there: `environment: {FTCTL_SCRATCH: FOLDER}`.",
    ),
    "a clock that is late": (
        "clocks",
        {"time_s": 700.0},
        "the clocks of node7 and the store differ by 5.0 minutes",
        "Let a time service such as chrony set them: signs of life would look too old.",
    ),
    "a clock of a folder that follows the writer": (
        "clocks",
        {"stamp_s": -240.0},
        "the clocks of node7 and this machine differ by 4.0 minutes",
        "Let a time service such as chrony set them: signs of life would look too old.",
    ),
}


@pytest.mark.parametrize("name", SICK)
def test_what_is_sick_is_told_with_its_remedy(name):
    subject, changes, detail, remedy = SICK[name]
    found = look(**changes)
    one = found.pop(subject)
    assert (one.detail, one.remedy, one.ok) == (detail, remedy, False)
    # One sickness is no other.
    known = {"device"} if subject == "packages" and "torch" in changes else {"packages"}
    assert all(other.ok for other in found.values() if other.subject not in known)


@pytest.mark.parametrize(
    ("subject", "changes"),
    [
        # Exactly so much is enough.
        ("store there", {"store_free_bytes": 5e9}),
        ("disk", {"scratch": {"folder": "/scratch", "free_bytes": 5e9}}),
        # Signs of life count for a minute and a half.
        ("clocks", {"time_s": 1061.0}),
        ("clocks", {"time_s": 941.0}),
        ("clocks", {"stamp_s": 60.0}),
        ("clocks", {"time_s": None}),
        ("clocks", {"store_time_s": None}),
    ],
)
def test_what_is_only_just_well_is_no_sickness(subject, changes):
    assert look(**changes)[subject].ok


def test_a_store_that_does_not_tell_its_room_may_be_large():
    found = look(store_free_bytes=None)["store there"]
    assert (found.ok, found.detail) == (True, "created, replaced, listed and read from node7")


def test_every_gpu_is_named():
    found = look(gpus=[["NVIDIA L4", 24 * GIB], ["NVIDIA T4", 16 * GIB]])["device"]
    assert found.detail == "NVIDIA L4, 26 GB; NVIDIA T4, 17 GB"


def test_a_machine_that_trains_on_cpus_needs_no_gpu():
    found = look(devices="cpu", gpus=[])["device"]
    assert (found.ok, found.detail) == (True, "8 CPUs, as `devices: cpu` says")


def test_a_hub_that_cannot_be_reached_is_only_told():
    found = look(hub="no route")["hub"]
    assert found.ok
    assert found.detail == "not reached from there (no route): base models have to be folders"
