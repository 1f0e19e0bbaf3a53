"""TensorBoard: a folder of event files for each run."""

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from tensorboardX import SummaryWriter
from tensorboardX.summary import hparams

from controller.track.record import RunRecord

_FILES: Final = "events.out.tfevents.*"


def write(settings: Mapping[str, Any], records: Sequence[RunRecord], _: Path) -> dict[str, str]:
    """Write each run into a folder of its own, and remove the files of an earlier call."""
    links = {}
    for record in records:
        folder = Path(settings["folder"]) / record.name.replace(" ", "-")
        earlier = list(folder.glob(_FILES))
        _write_run(folder, record)
        for path in earlier:
            path.unlink(missing_ok=True)
        links[record.key] = str(folder)
    return links


def _write_run(folder: Path, record: RunRecord) -> None:
    finished, evaluated = map(_seconds, (record.finished, record.evaluated))
    # Names of files have whole seconds, and those of an earlier call are removed.
    with SummaryWriter(str(folder), filename_suffix=f".{os.getpid()}") as writer:
        for step, numbers in record.curve:
            for name, number in numbers.items():
                writer.add_scalar(name, number, step, walltime=finished)
        for name, number in record.scores.items():
            writer.add_scalar(name, number, 0, walltime=evaluated)
        # What `add_hparams` writes, in this run's folder instead of one below it.
        for summary in hparams(dict(record.parameters), dict.fromkeys(record.scores, 0.0)):
            writer.file_writer.add_summary(summary)
        for name, text in record.tags.items():
            writer.add_text(name, text, 0, walltime=evaluated)


def _seconds(when: str) -> float:
    return datetime.fromisoformat(when).timestamp()
