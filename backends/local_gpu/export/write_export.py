"""One export: what each format consists of, and which program is asked before it counts as done."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

from backends.contract.errors import BackendError
from backends.contract.inspector import Json
from backends.local_gpu.export import gguf_file
from backends.local_gpu.export.adapter_files import (
    is_adapter,
    require_adapter,
    require_vllm,
    vllm_command,
    vllm_rank,
)
from backends.local_gpu.export.consumers import (
    Expected,
    Findings,
    ask_peft,
    ask_transformers,
    compare_llama,
    expected,
    llama_note,
    prompt_note,
)
from backends.local_gpu.export.export_context import Export
from backends.local_gpu.export.modelfile import Form, form_of, modelfile
from backends.local_gpu.json_files import read_json
from backends.local_gpu.models.base_models import verify_unchanged
from backends.local_gpu.models.merging import require_unquantised, write_merged
from backends.local_gpu.models.model_files import weights_digest
from backends.local_gpu.models.model_folders import model_card

_LEFT_BEHIND: Final = ("adapter_", "README.md")
"""Files of an adapter's folder that a merged model does not get, by how they begin."""
_BESIDE: Final = (
    "LICENSE",
    "NOTICE",
    "generation_config.json",
    "metrics.json",
    "provenance.json",
)
"""Files beside a GGUF file."""
_PACKAGES: Final = ("torch", "transformers", "peft", "safetensors")
_PIECES: Final = "tokenizer.model"
_HALF: Final = 2
"""Bytes of a number in a GGUF file."""
_GB: Final = 1e9


def write_export(export: Export) -> dict[str, Json]:
    """Fill the folder of an export, and let its program answer.

    Returns:
        Facts for the manifest.

    Raises:
        BackendError: The model cannot be exported, or answers otherwise afterwards.
    """
    verify_unchanged(export.request.base_model, export.run.path.parent.parent)
    _require_unchanged(export)
    findings = Findings()
    facts = _WRITERS[export.format](export, findings)
    base = export.request.base_model
    return {
        "base_model": {
            "reference": base.reference,
            "revision": base.revision,
            "identity": base.identity,
        },
        "trained_weights": weights_digest(export.run.model),
        "questions": export.probes[1],
        "packages": {name: version(name) for name in _PACKAGES},
        "checks": [one.as_json() for one in findings.comparisons],
        "notes": list(dict.fromkeys(findings.notes)),
        **facts,
    }


def _write_adapter(export: Export, findings: Findings) -> dict[str, Json]:
    require_adapter(export.run.model, export.format)
    _require_room(export, _size(export.run.model))
    _copy(export.run.model, export.folder, ())
    export.say("asking the adapter in PEFT")
    wanted = expected(export)
    findings.comparisons.append(ask_peft(export, export.folder, wanted))
    _add_note(findings, prompt_note(export, export.folder))
    base = export.request.base_model
    if base.revision is None:
        findings.notes.append(
            f"adapter_config.json names the base model by a folder of this machine: {base.reference}"
        )
    return {"use": 'PeftModel.from_pretrained(base, "FOLDER")'}


def _write_vllm(export: Export, findings: Findings) -> dict[str, Json]:
    require_adapter(export.run.model, export.format)
    require_vllm(export.run.model)
    rank = vllm_rank(export.run.model)
    facts = _write_adapter(export, findings)
    facts["use"] = vllm_command(export.request.base_model, rank, export.name)
    return facts


def _write_merged(export: Export, findings: Findings) -> dict[str, Json]:
    _require_room(export, _whole_size(export))
    wanted, how = _write_whole(export, export.folder, findings)
    del wanted
    _write_card(export, "transformers")
    return {**how, "use": "vllm serve FOLDER"}


def _write_gguf(export: Export, findings: Findings) -> dict[str, Json]:
    _, facts = _write_file(export, findings)
    return {**facts, "use": f"llama-server --model FOLDER/{export.name}.gguf --jinja"}


def _write_ollama(export: Export, findings: Findings) -> dict[str, Json]:
    form, facts = _write_file(export, findings)
    stops = list(_texts(export).values())
    generation = read_json(export.run.model / "generation_config.json") or {}
    text = modelfile(f"{export.name}.gguf", form, stops, generation)
    (export.folder / "Modelfile").write_text(text, encoding="utf-8")
    if export.chat is not None and form is None:
        findings.notes.append(
            "The Modelfile has no TEMPLATE: the chat template could not be translated for Ollama."
        )
    return {**facts, "use": f"ollama create {export.name} -f FOLDER/Modelfile"}


_WRITERS: Final[Mapping[str, Callable[[Export, Findings], dict[str, Json]]]] = {
    "adapter": _write_adapter,
    "vllm": _write_vllm,
    "merged": _write_merged,
    "gguf": _write_gguf,
    "ollama": _write_ollama,
}


def _write_whole(
    export: Export, target: Path, findings: Findings
) -> tuple[Expected, dict[str, Json]]:
    """Write the whole model and ask it; return the expected answers and how it was merged."""
    export.say("asking the trained model")
    adapter = is_adapter(export.run.model)
    if adapter:
        require_unquantised(export.base)
    wanted = expected(export)
    how: dict[str, Json] = {}
    if adapter:
        export.say("merging in float32")
        how = {"merged": write_merged(export.run.model, export.base, target)}
    _copy(export.run.model, target, _LEFT_BEHIND if adapter else ("README.md",))
    export.say("asking the merged model in transformers")
    findings.comparisons.append(ask_transformers(export, target, wanted))
    _add_note(findings, prompt_note(export, target))
    how["dtype"] = str(export.stored).removeprefix("torch.")
    return wanted, how


def _write_file(export: Export, findings: Findings) -> tuple[Form | None, dict[str, Json]]:
    """Write a GGUF file and ask it; return the form of its prompts, and facts."""
    whole = _whole_size(export)
    _require_room(export, whole + whole * _HALF // export.stored.itemsize)
    merged = export.folder / "merged"
    merged.mkdir()
    wanted, facts = _write_whole(export, merged, findings)
    # The converter reads it where there is one; models trained earlier have no copy.
    if (export.base / _PIECES).exists():
        shutil.copyfile(export.base / _PIECES, merged / _PIECES)
    export.say("converting for llama.cpp")
    file = export.folder / f"{export.name}.gguf"
    facts["converter"] = gguf_file.convert(merged, file, export.name, export.work)
    export.say("asking llama.cpp")
    found = gguf_file.ask(file, export.probes[0], export.work)
    findings.comparisons.append(compare_llama(export, found, wanted, merged))
    # Users of this file see what llama.cpp does, not what transformers would do.
    findings.notes.clear()
    _add_note(findings, llama_note(export, found))
    for name in _BESIDE:
        if (merged / name).exists():
            shutil.copyfile(merged / name, export.folder / name)
    shutil.rmtree(merged)
    _write_card(export, "gguf")
    return _form(export, found.starts), facts


def _form(export: Export, starts: Sequence[int]) -> Form | None:
    chat = export.chat
    if chat is None:
        return None
    bos = chat.tokenizer.decode(list(starts), skip_special_tokens=False) if starts else ""
    return form_of(
        lambda messages: chat.template.prompt({"messages": messages}),
        bos,
        list(_texts(export).values()),
    )


def _texts(export: Export) -> dict[int, str]:
    """Return the tokens that end an answer, as text."""
    chat = export.chat
    if chat is None:
        return {}
    found = {number: chat.tokenizer.id_to_token(number) for number in sorted(export.stops)}
    # A program that stops at a text must not stop at a word.
    return {number: token for number, token in found.items() if token in chat.special}


def _write_card(export: Export, library: str) -> None:
    facts = read_json(export.run.model / "metrics.json") or _facts(export)
    card = model_card(export.request, facts, adapter=False, library=library)
    (export.folder / "README.md").write_text(card, encoding="utf-8")


def _facts(export: Export) -> Mapping[str, Json]:
    """Return the recorded facts of the training, or of the adoption."""
    facts: Mapping[str, Json] = (read_json(export.run.result) or {}).get("facts", {})
    return facts


def _add_note(findings: Findings, note: str | None) -> None:
    if note is not None:
        findings.notes.append(note)


def _copy(source: Path, target: Path, without: tuple[str, ...]) -> None:
    """Copy the files of a folder, but those whose names begin in some way."""
    for path in sorted(source.iterdir()):
        if path.is_file() and not path.name.startswith(without or ("\0",)):
            shutil.copyfile(path, target / path.name)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def _whole_size(export: Export) -> int:
    """Return the bytes of the whole model."""
    folder = export.base if is_adapter(export.run.model) else export.run.model
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def _require_room(export: Export, needed: int) -> None:
    """Require that the disk has room.

    Raises:
        BackendError: The disk has too little room.
    """
    left = shutil.disk_usage(export.folder).free
    if left < needed:
        raise BackendError(
            f"the export needs {needed / _GB:.2f} GB, and the disk of {export.folder.parent} has "
            f"{left / _GB:.2f} GB left",
            "Make room, or name a folder on another disk.",
        )


def _require_unchanged(export: Export) -> None:
    """Require that the weights are those that the training wrote.

    Raises:
        BackendError: Somebody changed them.
    """
    recorded = _facts(export).get("weights_digest")
    if recorded is not None and weights_digest(export.run.model) != recorded:
        raise BackendError(
            f"the weights in {export.run.model} have changed since they were trained",
            "Restore the folder, or train the model again with `ftctl retry NAME`.",
        )
