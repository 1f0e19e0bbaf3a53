"""A child process that writes runs to one tracker: JSON on standard input, JSON on standard output.

`python -m controller.track.worker`. Whatever the tracker's library prints goes to standard error.
"""

import json
import os
import sys
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from controller.data.extras import import_extra
from controller.errors import FtctlError
from controller.track.record import RunRecord


def main() -> None:
    """Write what standard input asks for, and answer with links or an error."""
    answer_to = os.dup(1)
    os.dup2(2, 1)
    sys.excepthook = partial(_answer_error, answer_to)
    asked = json.load(sys.stdin)
    tracker = asked["tracker"]
    if tracker == "tensorboard":
        # Its library imports torch where there is one, which takes seconds; it gets no tensors.
        cast(Any, sys.modules)["torch"] = None
    sink = import_extra(
        f"controller.track.sinks.{tracker}", extra=tracker, what=f"writing to {tracker}"
    )
    records = [RunRecord(**one) for one in asked["records"]]
    links = sink.write(asked["settings"], records, Path(asked["state"]))
    _answer(answer_to, {"links": links})


def _answer_error(
    answer_to: int, kind: type[BaseException], error: BaseException, _: TracebackType | None
) -> None:
    if isinstance(error, FtctlError):
        problem = error.problem()
        _answer(answer_to, {"error": problem.message, "remedy": problem.remedy})
    else:
        _answer(answer_to, {"error": f"{kind.__name__}: {error}"})


def _answer(answer_to: int, value: dict[str, object]) -> None:
    os.write(answer_to, json.dumps(value).encode() + b"\n")


if __name__ == "__main__":
    main()
