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
    assert found["device"].detail == "NVIDIA H200, 150 GB"


@pytest.mark.parametrize(
    ("subject", "changes", "words"),
    [
        ("store there", {"store": "does not replace objects"}, "does not replace"),
        ("store there", {"store_free_bytes": GIB}, "nearly full"),
        ("ftctl", {"ftctl": "0.0.1"}, "0.0.1"),
        ("packages", {"torch": "libcudart.so: cannot open"}, "libcudart"),
        ("packages", {"packages": {"torch": None}}, "missing on node7: torch"),
        ("device", {"gpus": []}, "no GPU on node7, only 8 CPUs"),
        ("device", {"gpus": None, "torch": "it did not answer"}, "not known"),
        ("disk", {"scratch": {"folder": "/scratch", "free_bytes": GIB}}, "1 GB free"),
        ("clocks", {"time_s": 700.0}, "node7 and the store differ by 5.0 minutes"),
        ("clocks", {"stamp_s": -240.0}, "node7 and this machine differ by 4.0 minutes"),
    ],
)
def test_what_is_sick_is_told_with_its_remedy(subject, changes, words):
    found = look(**changes)[subject]
    assert not found.ok
    assert words in found.detail
    assert found.remedy


def test_a_machine_that_trains_on_cpus_needs_no_gpu():
    assert look(devices="cpu", gpus=[])["device"].ok


def test_a_hub_that_cannot_be_reached_is_only_told():
    found = look(hub="no route")["hub"]
    assert found.ok
    assert "no route" in found.detail
