import os
import threading

import pytest

from backends.local_gpu.jobs.devices import acquire, acquire_several, too_few, visible_devices


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


def close(held):
    for one in held:
        os.close(one.handle)


def test_several_devices_are_taken_at_once_or_not_at_all():
    busy = acquire(["21"], lambda: None)
    got, waited = [], threading.Event()
    wide = threading.Thread(
        target=lambda: got.append(acquire_several(["21", "22"], 2, waited.set)), daemon=True
    )
    wide.start()
    assert waited.wait(5)
    # It holds nothing, and others take nothing before it; other devices are as free as before.
    assert got == []
    late, passed = [], threading.Event()
    single = threading.Thread(
        target=lambda: late.append(acquire(["21", "22"], passed.set)), daemon=True
    )
    single.start()
    assert passed.wait(5)
    elsewhere = acquire(["22", "23"], lambda: None)
    assert elsewhere.device == "23"
    os.close(busy.handle)
    wide.join(5)
    (held,) = got
    assert [one.device for one in held] == ["21", "22"]
    assert late == []
    close(held)
    single.join(5)
    close([*late, elsewhere])


def test_jobs_that_want_each_other_s_devices_all_get_them():
    def take(devices):
        for _ in range(3):
            held = acquire_several(devices, 2, lambda: None)
            close(held)
            done.append(tuple(one.device for one in held))

    done: list[tuple[str, ...]] = []
    wanted = (["31", "32"], ["32", "31"], ["33", "32"])
    takers = [threading.Thread(target=take, args=(one,), daemon=True) for one in wanted]
    for taker in takers:
        taker.start()
    for taker in takers:
        taker.join(60)
    assert len(done) == 9


@pytest.mark.parametrize(
    ("gpus", "devices", "there"),
    [
        (2, ["0", "1"], None),
        (4, ["0", "1"], "has 2, which are 0, 1"),
        (2, ["3"], "has 1, which is 3"),
        (2, ["cpu"], "has no GPU that can be used"),
        (1, ["cpu"], None),
    ],
)
def test_too_few_devices_are_named(gpus, devices, there):
    found = too_few(gpus, devices)
    assert found is None if there is None else there in found[0]
