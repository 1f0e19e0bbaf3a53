"""Build a repository's dataset as `ftctl plan` does, and say how long that alone took.

    python with_ftctl.py REPOSITORY

The last line of the output is JSON. Starting Python and importing is not in the seconds; starting
workers, and what is imported only when an example is counted, is.
"""

import json
import os
import sys
import time
from pathlib import Path

from controller.lockfile.model import Lockfile
from controller.project.project import open_project
from controller.resolve.inputs import Readings
from controller.resolve.recipes import Recorded
from controller.resolve.resolve import resolve
from controller.run.backends import backends_of
from controller.spec.settings import Policies
from tests.specs import load_specs


def main() -> None:
    """Build, and print what came out."""
    project = open_project(Path(sys.argv[1]))
    specs = load_specs(project.root)
    opened = backends_of(project)
    started, used = time.perf_counter(), sum(os.times()[:4])
    resolved = resolve(
        specs, Recorded(lockfile=Lockfile()), Readings(project=project), opened, policies=Policies()
    )
    seconds, cpu_s = time.perf_counter() - started, sum(os.times()[:4]) - used
    (dataset,) = resolved.datasets.values()
    parts = (dataset.train, dataset.held_out)
    counted = [part.tokens for part in parts if part.tokens is not None]
    print(
        json.dumps(
            {
                "seconds": seconds,
                "cpu_s": cpu_s,
                "examples": sum(part.examples for part in parts),
                "tokens": sum(counted) if counted else None,
            }
        )
    )


if __name__ == "__main__":
    main()
