"""Folders of base models, made complete when a process opens them: downloaded, or merged.

A base model may be the adapter of another fine-tune merged into its own base. `start_merge` names
that folder, and the first process that opens it merges.
"""

import os
import shutil
from pathlib import Path
from typing import Final

from backends.atomic_files import publish_dir
from backends.contract.errors import BackendError
from backends.contract.jobs import BaseModel
from backends.local_gpu.hub.base_model import fetch
from backends.local_gpu.hub.download import unreported
from backends.local_gpu.jobs.run_dir import RunDir, read_request
from backends.local_gpu.json_files import read_json
from backends.local_gpu.models.base_models import merge_note, model_folder
from backends.local_gpu.models.merging import write_merged
from backends.local_gpu.models.model_files import copy_tokenizer

_OF_THE_TRAINED: Final = ("chat_template.jinja", "generation_config.json")


def base_folder(base_model: BaseModel) -> Path:
    """Return the folder of a base model, after downloading or merging what is not there.

    Raises:
        BackendError: The model is not on this machine and cannot be brought here.
    """
    folder = model_folder(base_model)
    if base_model.revision is None and not folder.exists() and merge_note(folder).exists():
        _merge(folder)
    fetch(base_model, unreported)
    return folder


def _merge(merged: Path) -> None:
    """Write the folder of a trained adapter merged into its base model, whole or not at all."""
    note = read_json(merge_note(merged)) or {}
    run = RunDir(path=merged.parent.parent / "runs" / str(note.get("run")))
    request = read_request(run)
    base = base_folder(request.base_model)
    _require_room(merged, sum(path.stat().st_size for path in base.glob("*.safetensors")))
    partial = merged.with_name(f".{merged.name}.{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir()
        write_merged(run.model, base, partial)
        copy_tokenizer(run.model, partial)
        for name in _OF_THE_TRAINED:
            if (run.model / name).exists():
                shutil.copyfile(run.model / name, partial / name)
        publish_dir(partial, merged)
    except OSError:
        # Another process may have merged the same in the meantime.
        if not merged.exists():
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _require_room(merged: Path, size: int) -> None:
    free = shutil.disk_usage(merged.parent).free
    if free < size:
        raise BackendError(
            f"the merged model needs {size / 1e9:.1f} GB, and the disk of {merged.parent} has "
            f"{free / 1e9:.1f} GB left",
            "Make room, then `ftctl retry NAME`; or write `adapter: continue`, which needs no copy.",
        )
