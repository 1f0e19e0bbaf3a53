"""Jobs of a Ray cluster, over the REST API of its dashboard. Needs no package of Ray.

A job's ID is its name. Ray takes an ID once, and answers HTTP 500 to a second submission of it, as to
everything else that goes wrong. So a doubtful answer is followed by a look at the job, never by a
second submission.

Ray cannot kill a job at once. It sends SIGTERM to all processes of a job, and SIGKILL to those that
are left after RAY_JOB_STOP_WAIT_TIME_S, which it reads from the job's own variables. It takes no job
out of its queue either: a queued job that was stopped starts and is stopped in the same moment, or
fails after a quarter of an hour in the queue (RAY_JOB_START_TIMEOUT_SECONDS of the cluster).
"""

import hashlib
import json
import shlex
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import quote

from backends.contract.inspector import Json
from backends.launchers.launcher import (
    COMMENT_PREFIX,
    Capacity,
    Launcher,
    LauncherError,
    Placed,
    PlacedState,
    Placement,
    SubmissionLost,
    Unanswered,
)
from backends.launchers.ray.answers import (
    COMMENT,
    capacity,
    ended_s,
    log_lines,
    placed,
    placed_jobs,
)
from backends.launchers.ray.dashboard import Dashboard
from backends.launchers.ray.ends import DOLLAR
from backends.launchers.ray.failures import Refusal
from backends.launchers.ray.settings import RaySettings, parse

_JOBS: Final = "/api/jobs/"
_INVALID: Final = "status code 400"
"""Part of an HTTP 500 for a submission that was refused before a job was made."""
_NODES: Final = "backends.launchers.ray.nodes"
_LOG_BYTES: Final = 4 << 20
"""Bytes at the end of a job's output in which its last lines are."""
_LARGEST_CODE: Final = 100 << 20
"""Bytes that a dashboard takes in one request."""
_SETTLE_S: Final = 4.0
"""Seconds after a job's end in which Ray still follows it: it looks once a second."""
_REPORT_S: Final = 30.0
"""Seconds from SIGKILL until Ray reports the end of a job."""
_CLOCKS_S: Final = 120.0
"""Seconds by which the clocks here and there may differ."""
_ALIVE: Final = "detail=1&limit=10000&filter_keys=state&filter_predicates=%3D&filter_values=ALIVE"


def create(settings: Mapping[str, Json], environment: Mapping[str, str]) -> Launcher:
    """Return the launcher of a Ray cluster.

    Args:
        settings: Settings of `settings.RaySettings`.
        environment: Variables, of which `token_env` names one. A missing one is an error of the first
            request, not of this function: settings are also checked where the token is not set.

    Raises:
        InvalidInput: With every problem of the settings; `field` is a key.
    """
    parsed = parse(settings)
    dashboard = Dashboard(
        address=parsed.address,
        token=environment.get(parsed.token_env) if parsed.token_env else None,
        token_env=parsed.token_env,
        timeout_s=parsed.timeout_s,
    )
    return RayJobs(settings=parsed, dashboard=dashboard)


@dataclass(frozen=True, slots=True, kw_only=True)
class RayJobs:
    """Launcher of one Ray cluster. Thread-safe."""

    settings: RaySettings
    dashboard: Dashboard

    def find(self, names: Collection[str]) -> Mapping[str, Placed]:
        """Return the jobs of these names."""
        if not names:
            return {}
        answer = self.dashboard.json("GET", _JOBS)
        jobs = placed_jobs(answer)
        if jobs is None:
            raise self.dashboard.unexpected(answer)
        return {name: jobs[name] for name in {*names} if name in jobs}

    def submit(self, placement: Placement) -> None:
        """Place a job, unless it is placed. An ended job of ours with its name is deleted first.

        Raises:
            SubmissionLost: No clear answer came, and the job is not there (yet).
        """
        job = self._job(placement.name)
        known = placed(job)
        if known is not None:
            _require_ours(placement, known)
            if known.state is not PlacedState.ENDED:
                return
            _let_settle(ended_s(job))
            with _absence_ignored():
                self.dashboard.json("DELETE", _path(placement.name))
        body = self._submission(placement)
        try:
            self.dashboard.json("POST", _JOBS, body)
        except (Refusal, Unanswered) as error:
            self._look_again(placement, error)

    def stop(self, name: str, *, at_once: bool) -> None:
        """Send SIGTERM to a job, and SIGKILL after `stop_wait_s`, whether `at_once` or not."""
        del at_once
        known = placed(self._job(name))
        if known is None or known.state is PlacedState.ENDED:
            return
        if not known.comment.startswith(COMMENT_PREFIX):
            raise _not_ours(name, known)
        with _absence_ignored():
            self.dashboard.json("POST", f"{_path(name)}/stop")

    def ending_s(self) -> float:
        """Return the seconds until Ray has killed a job, and reports its end."""
        return self.settings.stop_wait_s + _REPORT_S

    def logs(self, name: str, lines: int) -> list[str]:
        """Return the last lines of a job's output."""
        answer = b""
        with _absence_ignored():
            answer = self.dashboard.read("GET", f"{_path(name)}/logs", tail=_LOG_BYTES)
        return log_lines(answer, lines)

    def capacity(self) -> Capacity:
        """Return what the nodes have that are there now; an autoscaler may add others."""
        answer: Json = None
        # An old dashboard does not list nodes.
        with _absence_ignored():
            answer = self.dashboard.json("GET", f"/api/v0/nodes?{_ALIVE}")
        return capacity(answer)

    def _job(self, name: str) -> Json:
        """Return a job; None if there is none, or the address is wrong, which a submission tells."""
        answer: Json = None
        with _absence_ignored():
            answer = self.dashboard.json("GET", _path(name))
            if placed(answer) is None:
                raise self.dashboard.unexpected(answer)
        return answer

    def _look_again(self, placement: Placement, error: Refusal | Unanswered) -> None:
        """Return if a job is there after a doubtful answer.

        Raises:
            LauncherError: The cluster refused the job, or has another one of that name.
            SubmissionLost: It is not known whether the job is there.
        """
        if isinstance(error, Refusal) and not error.is_doubtful:
            raise error
        try:
            known = placed(self._job(placement.name))
        except LauncherError:
            raise _lost(placement, error) from None
        if known is not None:
            _require_ours(placement, known)
        elif isinstance(error, Refusal) and _INVALID in error.text:
            raise LauncherError(
                f"Ray refuses the job {placement.name}: {error.said}",
                "Check `runtime_env` and `resources` in the machine's settings.",
            ) from None
        else:
            raise _lost(placement, error) from None

    def _submission(self, placement: Placement) -> dict[str, Json]:
        variables: dict[str, Json] = {
            **{name: value.replace("$", DOLLAR) for name, value in placement.environment.items()},
            # A cluster may stop its jobs with SIGINT, on which a worker saves nothing.
            "RAY_JOB_STOP_SIGNAL": "SIGTERM",
            "RAY_JOB_STOP_WAIT_TIME_S": str(self.settings.stop_wait_s),
        }
        runtime: dict[str, Json] = {**self.settings.runtime_env, "env_vars": variables}
        if placement.code is not None:
            runtime["working_dir"] = self._ship(placement.code)
        if placement.image is not None:
            runtime["image_uri"] = placement.image
        body: dict[str, Json] = {
            "submission_id": placement.name,
            "metadata": {COMMENT: placement.comment},
            "runtime_env": runtime,
        }
        if placement.nodes > 1:
            # The process of the entrypoint only follows the others. Without resources, it is on the head.
            return body | {"entrypoint": self._on_several_nodes(placement)}
        return body | {
            "entrypoint": f"{_dollars(placement.environment)}exec {shlex.join(placement.command)}",
            "entrypoint_num_cpus": self.settings.cpus,
            "entrypoint_num_gpus": placement.gpus,
            "entrypoint_memory": placement.memory_bytes,
            "entrypoint_resources": {**self.settings.resources},
        }

    def _on_several_nodes(self, placement: Placement) -> str:
        """Return the command that runs the placement's command on each of its nodes."""
        bundle: dict[str, float] = {"CPU": self.settings.cpus, **self.settings.resources}
        if placement.gpus:
            bundle["GPU"] = placement.gpus
        if placement.memory_bytes:
            bundle["memory"] = placement.memory_bytes
        program = placement.command[0]
        python = program if Path(program).name.startswith("python") else "python3"
        wait = str(self.settings.stop_wait_s)
        reserved = ["--nodes", str(placement.nodes), "--bundle", json.dumps(bundle), "--wait", wait]
        return (
            f"exec {shlex.join([python, '-P', '-m', _NODES, *reserved, '--', *placement.command])}"
        )

    def _ship(self, code: Path) -> str:
        """Bring a zip file to the cluster, unless it has the same; return its address there."""
        content = code.read_bytes()
        if len(content) >= _LARGEST_CODE:
            raise LauncherError(
                f"{code.name} has {len(content) >> 20} MB; Ray takes less than {_LARGEST_CODE >> 20}",
                "Install ftctl on the cluster, and write `runtime: {venv: PATH}`.",
            )
        package = f"_ray_pkg_{hashlib.sha256(content).hexdigest()}.zip"
        path = f"/api/packages/gcs/{package}"
        try:
            # Asking for a package also keeps it for ten minutes, until the job has hold of it.
            self.dashboard.read("GET", path)
        except Refusal as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            self.dashboard.read("PUT", path, content)
        return f"gcs://{package}"


def _dollars(environment: Mapping[str, str]) -> str:
    """Return shell commands that put the dollars back into variables, which Ray would expand."""
    return "".join(
        f'{name}=$(printf %s. "${name}" | tr "\\001" "\\044"); export {name}="${{{name}%.}}"; '
        for name, value in environment.items()
        if "$" in value
    )


def _let_settle(ended_s: float | None) -> None:
    """Wait until Ray has closed the files on a job that has just ended.

    Before that, it takes the end of the old job for that of a new one of the same ID, and calls the new
    one failed while it runs.
    """
    if ended_s is None or time.time() - ended_s < _CLOCKS_S:
        time.sleep(_SETTLE_S)


def _path(name: str) -> str:
    return f"{_JOBS}{quote(name, safe='')}"


def _require_ours(placement: Placement, known: Placed) -> None:
    if known.comment != placement.comment:
        raise _not_ours(placement.name, known)


def _not_ours(name: str, known: Placed) -> LauncherError:
    comment = known.comment or "no comment"
    return LauncherError(
        f"Ray has a job {name} that is not ours: {comment}, {known.words}",
        f"If nobody needs it: ray job stop {name}; ray job delete {name}",
    )


def _lost(placement: Placement, error: LauncherError) -> SubmissionLost:
    return SubmissionLost(
        f"it is not known whether Ray has the job {placement.name}: {error.message}",
        "Run the same command again: it looks for the job first.",
    )


@contextmanager
def _absence_ignored() -> Iterator[None]:
    """Ignore HTTP 404: there is no such job."""
    try:
        yield
    except Refusal as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
