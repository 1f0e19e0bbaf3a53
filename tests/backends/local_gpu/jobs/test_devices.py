import os
import threading

import pytest

from backends.local_gpu.jobs.devices import acquire, visible_devices


@pytest.mark.parametrize(
    ("chosen", "devices"),
    [
        ("0", ["0"]),
        ("0,2", ["0", "2"]),
        (" 1 , 3 ", ["1", "3"]),
        ("GPU-ab12,1", ["GPU-ab12", "1"]),
        ("", ["cpu"]),
        ("-1", ["cpu"]),
        ("0,-1,1", ["0"]),
    ],
)
def test_the_visible_devices_are_read_as_cuda_does(chosen, devices):
    assert visible_devices({"CUDA_VISIBLE_DEVICES": chosen}) == devices


def test_gpus_are_asked_of_the_driver_and_without_one_there_is_the_cpu(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_devices({}) == ["cpu"]
    program = tmp_path / "nvidia-smi"
    program.write_text(
        "#!/bin/sh\necho 'GPU 0: NVIDIA H200 (UUID: GPU-1)'\n"
        "echo '  MIG 1g.18gb Device 0: (UUID: MIG-1)'\necho 'GPU 1: NVIDIA H200 (UUID: GPU-2)'\n"
    )
    program.chmod(0o755)
    assert visible_devices({}) == ["0", "1"]
    program.write_text("#!/bin/sh\nexit 9\n")
    assert visible_devices({}) == ["cpu"]


def test_a_device_works_for_one_at_a_time():
    first = acquire(["7"], lambda: None)
    second = acquire(["7", "8"], lambda: None)
    assert (first.device, second.device) == ("7", "8")
    waited = threading.Event()
    got = []
    waiting = threading.Thread(target=lambda: got.append(acquire(["7"], waited.set)), daemon=True)
    waiting.start()
    assert waited.wait(5)
    assert got == []
    os.close(first.handle)
    waiting.join(5)
    assert [held.device for held in got] == ["7"]
    for held in (second, *got):
        os.close(held.handle)
