import json
import struct

import pytest

from backends.contract.errors import BackendError
from backends.local_gpu.models.safetensors_headers import headers

TENSOR = {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}


def write(path, tensors, length=None):
    header = json.dumps(tensors).encode()
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header)


def test_each_file_s_tensors_are_read_in_the_order_of_the_files(tmp_path):
    write(tmp_path / "b.safetensors", {"second": TENSOR, "__metadata__": {"format": "pt"}})
    write(tmp_path / "a.safetensors", {"first": TENSOR})
    (tmp_path / "model.bin").write_bytes(b"a pickle")
    assert list(headers(tmp_path)) == [{"first": TENSOR}, {"second": TENSOR}]


def test_the_weights_are_not_read(tmp_path):
    path = tmp_path / "model.safetensors"
    write(path, {"large": TENSOR})
    with path.open("ab") as file:
        file.truncate(1 << 40)  # a hole: reading it would fill all memory
    assert list(headers(tmp_path)) == [{"large": TENSOR}]


def test_a_folder_without_weights_has_no_headers(tmp_path):
    assert list(headers(tmp_path)) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\1\2"),
        lambda path: path.write_bytes(b"pickle" * 10),
        lambda path: write(path, {"a": TENSOR}, length=5),
        lambda path: write(path, [1, 2]),
        lambda path: path.write_bytes(struct.pack("<Q", 4) + b"\xff\xfe\xfd\xfc"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, damage):
    path = tmp_path / "model.safetensors"
    damage(path)
    with pytest.raises(BackendError, match="is not a safetensors file") as caught:
        list(headers(tmp_path))
    assert str(path) in caught.value.message


def test_a_length_that_no_memory_could_hold_is_not_believed(tmp_path):
    write(tmp_path / "model.safetensors", {"a": TENSOR}, length=2**63)
    assert list(headers(tmp_path)) == [{"a": TENSOR}]
