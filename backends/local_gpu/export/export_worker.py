"""The process of one export: writes the weights, and lets their program answer.

`python -m backends.local_gpu.export.export_worker DIR`, started by `export_process`, which has written
`request.json` there. Output has one JSON object per line: `{"message"}`, the last with `facts`, or
`{"error"}`. The process ends when its input ends.
"""

import gc
import json
import os
import sys
import traceback
from pathlib import Path

import torch

from backends.contract.errors import BackendError
from backends.contract.inspector import Json
from backends.local_gpu.export.export_context import Export
from backends.local_gpu.export.input_end import end_with_input
from backends.local_gpu.export.write_export import write_export
from backends.local_gpu.inference.wire import Message, describe_error, line
from backends.local_gpu.jobs.run_dir import RunDir
from backends.local_gpu.models.model_folders import device


def main(folder: Path) -> int:
    """Carry out the request of a folder."""
    # Output of a library must not be read as a step: it goes to the log.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    # What was imported stays: later searches for cycles leave it out.
    gc.freeze()

    def tell(message: Message) -> None:
        out.write(line(message))
        out.flush()

    request = json.loads((folder / "request.json").read_bytes())
    try:
        export = Export(
            run=RunDir(path=Path(request["run"])),
            name=request["name"],
            format=request["format"],
            folder=Path(request["folder"]),
            work=folder,
            where=device(),
            say=lambda text: tell({"message": text}),
        )
        facts: dict[str, Json] = write_export(export)
    except Exception as error:  # noqa: BLE001 - the parent only reads lines: this is the border
        traceback.print_exc()
        tell({"error": describe_error(_described(error))})
        return 1
    tell({"message": "checked", "facts": facts})
    return 0


def _described(error: Exception) -> BackendError:
    if isinstance(error, BackendError):
        return error
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate" in text:
        return BackendError(
            f"out of memory while exporting ({text.splitlines()[0]})",
            "Export on a machine with more memory.",
        )
    if isinstance(error, OSError):
        return BackendError(f"the export cannot be written: {error}", "Check the disk.")
    return BackendError(
        f"the model cannot be exported: {text}", "Report this as a defect of ftctl."
    )


if __name__ == "__main__":
    end_with_input()
    status = main(Path(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    # Everything is written, and taking torch down would keep the device for longer.
    os._exit(status)
