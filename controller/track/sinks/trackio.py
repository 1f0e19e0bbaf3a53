"""trackio: a run of a project on this machine."""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import trackio

from controller.errors import FtctlError
from controller.track.record import RunRecord

_SERVERS: Final = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL")


def write(settings: Mapping[str, Any], records: Sequence[RunRecord], _: Path) -> dict[str, str]:
    """Write each run, and remove what an earlier call wrote of it.

    Raises:
        FtctlError: The environment names a server.
    """
    project = settings["project"]
    for name in _SERVERS:
        if os.environ.get(name):
            raise FtctlError(
                f"{name} is set, and ftctl writes to trackio on this machine only",
                "Remove it from the environment, and copy the runs with "
                f"`trackio sync --project {project} --space-id SPACE`.",
            )
    return {record.key: _write_run(project, record) for record in records}


def _write_run(project: str, record: RunRecord) -> str:
    name = f"{record.name} {record.key[:8]}"
    # There is no other way to learn that a project does not exist yet.
    with suppress(ValueError):
        for earlier in list(trackio.Api().runs(project)):
            if earlier.name == name:
                earlier.delete()
    run = trackio.init(
        project=project,
        name=name,
        config={**record.parameters, **record.tags},
        embed=False,
        auto_log_gpu=False,
        auto_log_cpu=False,
    )
    for step, numbers in record.curve:
        run.log(dict(numbers), step=step)
    run.log(dict(record.scores), step=0)
    run.finish()
    return f"{name} in the project {project}: trackio show --project {project}"
