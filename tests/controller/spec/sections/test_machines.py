"""`machines` and `hardware`: what backends get of them, and what is refused."""

import pytest

from backends.contract.jobs import Machine
from controller.errors import InvalidInput
from controller.spec.sections.hardware import Hardware
from controller.spec.sections.machines import machine_problems, machines_of
from controller.spec.settings import Settings, load_settings


def settings_of(root, text) -> Settings:
    (root / "ftctl.yaml").write_text(text, encoding="utf-8")
    return load_settings(root)


def problems_of(root, text):
    with pytest.raises(InvalidInput) as caught:
        settings_of(root, text)
    return [str(one) for one in caught.value.problems]


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("1MB", 10**6),
        ("512 MiB", 512 * 2**20),
        ("64GB", 64 * 10**9),
        ("64 GiB", 64 * 2**30),
        ("2TB", 2 * 10**12),
        ("2TiB", 2 * 2**40),
        ("999999 TiB", 999_999 * 2**40),
    ],
)
def test_a_memory_is_counted_in_bytes(written, size):
    assert Hardware(machine="m", memory=written).asked.memory_bytes == size


@pytest.mark.parametrize("written", ["64", "64gb", "0GB", "6.5GB", "64  GB", "64GB ", "64KB", "1000000GB"])  # fmt: skip
def test_a_memory_in_another_form_is_refused(tmp_path, written):
    text = f"serve: {{hardware: {{machine: m, memory: '{written}'}}}}"
    (problem,) = problems_of(tmp_path, text)
    assert problem.startswith("ftctl.yaml:1: serve.hardware.memory: must be of the form ")


def test_a_job_runs_on_one_gpu_of_this_machine_unless_a_spec_says_otherwise():
    asked = Hardware().asked
    assert (asked.gpus, asked.nodes, asked.machine, asked.memory_bytes) == (1, 1, None, None)
    asked = Hardware(gpus=8, nodes=4, machine="m").asked
    assert (asked.gpus, asked.nodes, asked.machine) == (8, 4, "m")


ALONE = "needs `machine`: this machine is one node, and gives a job all its memory"
UNEVEN = (
    "GPUs cannot be divided evenly among 2 nodes\n"
    "    Use a multiple: `gpus` counts those of all nodes."
)
NAME_ONE = "Name a machine of `ftctl.yaml`, or remove the field."


@pytest.mark.parametrize(
    ("written", "field", "said"),
    [
        ("{nodes: 2, gpus: 2}", "nodes", f"{ALONE}\n    {NAME_ONE}"),
        ("{memory: 8GB}", "memory", f"{ALONE}\n    {NAME_ONE}"),
        ("{gpus: 3, nodes: 2, machine: m}", "gpus", f"3 {UNEVEN}"),
        ("{gpus: 1, nodes: 2, machine: m}", "gpus", f"1 {UNEVEN}"),
        ("{gpus: 0}", "gpus", "must be at least 1, not 0"),
        ("{gpus: 65}", "gpus", "must be at most 64, not 65"),
        ("{nodes: 0, machine: m}", "nodes", "must be at least 1, not 0"),
        ("{nodes: 65, gpus: 65, machine: m}", "nodes", "must be at most 64, not 65"),
    ],
)  # fmt: skip
def test_hardware_that_does_not_exist_is_refused(tmp_path, written, field, said):
    found = problems_of(tmp_path, f"serve: {{hardware: {written}}}")
    assert f"ftctl.yaml:1: serve.hardware.{field}: {said}" in found


MACHINES = """
machines:
  a: {launcher: manual, runs: "s3://b/runs", runtime: wheel}
  b: {launcher: manual, runs: /nfs/runs, runtime: {venv: /opt/ftctl}, devices: cpu, private: true}
  c: {launcher: manual, runs: /nfs/runs, runtime: {image: "acme/ftctl:1"}, environment: {HF_HOME: /hf}}
"""


def test_machines_are_what_backends_place_jobs_on(tmp_path):
    found = machines_of(settings_of(tmp_path, MACHINES).machines)
    expected = Machine(
        name="a",
        launcher="manual",
        runs="s3://b/runs",
        venv=None,
        image=None,
        ships=True,
        has_gpus=True,
        is_private=False,
        environment={},
        settings={"runs": "s3://b/runs"},
    )
    assert found["a"] == expected
    b, c = found["b"], found["c"]
    assert (b.venv, b.image, b.ships) == ("/opt/ftctl", None, False)
    assert (b.has_gpus, b.is_private, b.settings) == (False, True, {"runs": "/nfs/runs"})
    assert (c.venv, c.image, c.ships) == (None, "acme/ftctl:1", False)
    assert c.environment == {"HF_HOME": "/hf"}


@pytest.mark.parametrize(
    ("written", "field", "said"),
    [
        ("environment: {1A: x}", "environment", "'1A' is not the name of a variable\n    Write letters, digits and _, as in HF_HOME."),
        ("environment: {A-B: x}", "environment", "'A-B' is not the name of a variable\n    Write letters, digits and _, as in HF_HOME."),
        ('environment: {"A\\n": x}', "environment", "'A\\n' is not the name of a variable\n    Write letters, digits and _, as in HF_HOME."),
        ("runtime: docker", "runtime", "must be wheel, not the text 'docker'"),
        ("devices: tpu", "devices", "must be one of gpu, cpu, not the text 'tpu'"),
    ],
)  # fmt: skip
def test_settings_of_a_machine_are_checked(tmp_path, written, field, said):
    text = f"machines: {{m: {{launcher: manual, runs: /nfs, {written}}}}}"
    assert problems_of(tmp_path, text) == [f"ftctl.yaml:1: machines.m.{field}: {said}"]


def test_a_launcher_checks_the_keys_that_are_its_own(tmp_path):
    text = """
machines:
  good: {launcher: slurm, runs: /nfs/runs, partition: gpu}
  bad: {launcher: slurm, runs: /nfs/runs, partitoin: gpu}
  odd: {launcher: slrum, runs: /nfs/runs}
"""
    (tmp_path / "ftctl.yaml").write_text(text)
    bad, odd = problems_of(tmp_path, text)
    assert bad.startswith("ftctl.yaml:4: machines.bad.partitoin: ")
    assert "`partition`" in bad
    assert odd.startswith("ftctl.yaml:5: machines.odd.launcher: ")
    assert "slurm" in odd
    assert machine_problems({}) == []
