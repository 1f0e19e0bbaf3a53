"""The memory of devices: of a GPU by its own program, of the CPU by its machine or container."""

import pytest

from backends.local_gpu.memory import room as rooms
from backends.local_gpu.memory.room import Room, least_room, room_of

MB = 2**20
ANSWERS = {
    "0": "81559, 9.0",
    "1": "15360, 7.5",
    "2": "24576, 8.0",
    "GPU-7f3a": "49140, 8.9",
    # What the program writes where a GPU shares the machine's memory, or an older driver answers.
    "3": "[N/A], 12.1",
    "4": "16384, [N/A]",
    "5": "16384",
    "6": "",
}


@pytest.fixture(autouse=True)
def asked_again():
    """Each test asks its own devices: the program keeps answers for as long as it runs."""
    room_of.cache_clear()
    yield
    room_of.cache_clear()


@pytest.fixture
def gpus(tmp_path, monkeypatch):
    """A program that answers like nvidia-smi, and keeps what it was asked."""
    cases = "".join(f"  --id={name}) echo '{text}';;\n" for name, text in ANSWERS.items())
    program = tmp_path / "nvidia-smi"
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\ncase "$1" in\n{cases}  *) exit 6;;\nesac\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return tmp_path / "asked"


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize(
    ("device", "size", "half"),
    [("0", 81559, True), ("1", 15360, False), ("2", 24576, True), ("GPU-7f3a", 49140, True)],
)
def test_a_gpu_tells_its_memory_and_whether_it_computes_in_bfloat16(device, size, half):
    assert room_of(device) == Room(device=device, size=size * MB, half=half)
    assert room_of(device).usable == (size - 600) * MB
    assert room_of(device).process == 600 * MB


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize("device", ["3", "4", "5", "6", "7"])
def test_a_gpu_that_tells_no_number_is_not_known(device):
    assert room_of(device) is None


def test_a_gpu_is_asked_once_and_without_words_around_numbers(gpus):
    assert room_of("0") is room_of("0")
    assert gpus.read_text() == (
        "--id=0 --query-gpu=memory.total,compute_cap --format=csv,noheader,nounits\n"
    )


def test_without_its_program_no_gpu_is_known(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert room_of("0") is None


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize(
    ("devices", "count", "least"),
    [
        (["0", "1", "2"], 3, "1"),
        (["0", "1", "2"], 2, "1"),
        # A job on one device runs on the first that is free: the first stands for all.
        (["0", "1", "2"], 1, "0"),
        (["2", "1"], 1, "2"),
        (["0", "7"], 2, None),
        (["7"], 1, None),
        (["0", "7"], 1, "0"),
    ],
)
def test_the_device_with_the_least_memory_decides_for_all(devices, count, least):
    found = least_room(devices, count)
    assert (None if found is None else found.device) == least


@pytest.mark.parametrize(
    ("sizes", "device", "mb"),
    [
        ("4096,2048", "cpu:0", 4096),
        ("4096,2048", "cpu:1", 2048),
        ("4096, 2048.5", "cpu:1", 2048.5),
        ("4096", "cpu:1", None),
        ("4096,", "cpu:1", None),
        ("many", "cpu:0", None),
        ("", "cpu:0", None),
    ],
)
def test_a_device_that_the_cpu_stands_for_has_what_it_was_given(monkeypatch, sizes, device, mb):
    monkeypatch.setenv("FTCTL_CPU_DEVICES", sizes)
    found = room_of(device)
    if mb is None:
        assert found is None
    else:
        assert found == Room(device=device, size=int(mb * MB), half=False)
        assert found.process == 450 * MB


@pytest.mark.parametrize(
    ("limits", "mb"),
    [
        ([f"{512 * MB}\n"], 512),
        (["max\n"], None),
        ([None, f"{768 * MB}"], 768),
        (["max", f"{256 * MB}"], 256),
        # Of both kinds of limits, the lower counts; the old kind writes a huge number for none.
        ([f"{512 * MB}", f"{256 * MB}"], 256),
        ([f"{256 * MB}", "9223372036854771712"], 256),
        (["9223372036854771712"], None),
        ([""], None),
    ],
)
def test_a_container_has_what_its_limit_leaves(monkeypatch, tmp_path, limits, mb):
    paths = [tmp_path / f"limit-{number}" for number in range(2)]
    for path, text in zip(paths, limits, strict=False):
        if text is not None:
            path.write_text(text)
    monkeypatch.setattr(rooms, "_CGROUPS", tuple(map(str, paths)))
    machine = rooms.os.sysconf("SC_PHYS_PAGES") * rooms.os.sysconf("SC_PAGE_SIZE")
    found = room_of("cpu")
    assert found == Room(device="cpu", size=machine if mb is None else mb * MB, half=False)
    assert found.usable == found.size - 450 * MB
