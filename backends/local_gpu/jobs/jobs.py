"""Jobs as their run folders show them, and what changes a job: start, continue, pause, cancel."""

import os
import time
from dataclasses import replace
from typing import Final

from backends.contract.errors import BackendError
from backends.contract.jobs import Hardware, Job, JobResult, JobState, Progress
from backends.local_gpu.jobs.devices import too_few, visible_devices
from backends.local_gpu.jobs.run_dir import (
    CANCEL_PATIENCE_S,
    RunDir,
    model_id,
    read_request,
    set_hardware,
    write_end,
)
from backends.local_gpu.jobs.worker_record import Worker
from backends.local_gpu.jobs.workers.workers import MAX_STARTS, Workers, WorkerState
from backends.local_gpu.json_files import last_line, read_json
from backends.lock_files import try_lock

HERE: Final = Hardware()
"""One device of this machine."""
_LOG_LINES: Final = 5
_DYING_S: Final = 5.0
_LOOK_S: Final = 0.05
_NOT_REAL: Final = "the result of this run is damaged or its model is gone"


def read_job(run: RunDir, workers: Workers) -> Job:
    """Return the job of a run. Only `workers` may write, and only to the run's log."""
    request = read_request(run)
    raw = read_json(run.request) or {}
    job = Job(
        id=run.job_id,
        fingerprint=request.fingerprint,
        attempt=request.attempt,
        state=JobState.INTERRUPTED,
        created_s=float(raw.get("created_s", 0.0)),
        progress=_progress(run),
        origin=request.origin,
    )
    trained = model_id(run, request.base_model, request.name)
    if run.result.exists():
        return _ended(job, run, trained)
    state = workers.state(run)
    # The worker may have written its result meanwhile, whatever a scheduler says of it.
    if run.result.exists():
        return _ended(job, run, trained)
    if state is WorkerState.WAITING:
        return replace(job, state=JobState.QUEUED, error=workers.words(run))
    if state is WorkerState.WORKING:
        return replace(job, state=JobState.RUNNING)
    if run.cancel.exists():
        finished = run.cancel.stat().st_mtime
        return replace(job, state=JobState.CANCELLED, finished_s=finished, error="cancelled")
    return replace(job, error=workers.words(run))


def require_devices(run: RunDir, workers: Workers, hardware: Hardware) -> None:
    """Require enough devices on this machine for a run that would start here now.

    Raises:
        BackendError: There are too few.
    """
    if hardware.machine is not None:
        return
    lacking = too_few(hardware.gpus, visible_devices(os.environ))
    if lacking is not None and _can_start(run, workers):
        raise BackendError(*lacking)


def start(run: RunDir, workers: Workers, hardware: Hardware = HERE) -> None:
    """Start or continue a run without a living worker; leave any other run as it is.

    Args:
        run: The run.
        workers: Starts its worker.
        hardware: Hardware to train on, whatever an earlier start had.
    """
    lock = _lock(run, workers)
    if lock is None:
        return
    try:
        # Only now can no other process write the result.
        if run.result.exists():
            return
        starts = _next_start(run, workers.find(run))
        if starts > MAX_STARTS:
            _give_up(run, workers)
            return
        set_hardware(run, hardware)
        workers.submit(run, lock, starts)
    finally:
        # A worker on this machine has the lock open too, and keeps it.
        os.close(lock)


def cancel(run: RunDir, workers: Workers) -> None:
    """Ask a run to stop for good; a finished run stays as it is."""
    if run.result.exists():
        return
    asked_s = run.cancel.stat().st_mtime if run.cancel.exists() else time.time()
    if not run.cancel.exists():
        run.cancel.touch()
    state = workers.state(run)
    # Told also where no worker lives: another machine must not start one.
    workers.stop(run, at_once=time.time() - asked_s >= CANCEL_PATIENCE_S)
    if state is not WorkerState.GONE:
        return
    lock = try_lock(run.lock)
    if lock is None:
        return
    try:
        if not run.result.exists():
            write_end(run, "cancelled", "cancelled")
            workers.ended(run)
    finally:
        os.close(lock)


def pause(run: RunDir, workers: Workers) -> None:
    """Ask a run to save a checkpoint and stop; submitting it again continues it from there."""
    if not run.result.exists():
        workers.stop(run, at_once=False)


def _lock(run: RunDir, workers: Workers) -> int | None:
    """Lock a run that can start; None if it cannot, or another process is starting it."""
    deadline = time.monotonic() + _DYING_S
    while _can_start(run, workers):
        lock = try_lock(run.lock)
        if lock is not None or time.monotonic() > deadline:
            return lock
        # A process that was killed is gone before the kernel has released what it held.
        time.sleep(_LOOK_S)
    return None


def _can_start(run: RunDir, workers: Workers) -> bool:
    """Return True if a run has neither ended nor a living worker."""
    if run.result.exists() or run.cancel.exists():
        return False
    return workers.state(run) is WorkerState.GONE


def _ended(job: Job, run: RunDir, trained: str) -> Job:
    """Return an ended job with its result."""
    raw = read_json(run.result) or {}
    job = replace(job, finished_s=raw.get("finished_s") or run.result.stat().st_mtime)
    state = raw.get("state")
    if state == "succeeded" and run.model.is_dir():
        result = JobResult(model_id=trained, facts=raw.get("facts") or {})
        return replace(job, state=JobState.SUCCEEDED, result=result)
    if state == "cancelled":
        return replace(job, state=JobState.CANCELLED, error="cancelled")
    error = raw.get("error") or {"message": f"{_NOT_REAL}: {run.path}", "remedy": ""}
    remedy = "".join(f"\n    {line}" for line in error["remedy"].splitlines())
    return replace(job, state=JobState.FAILED, error=error["message"] + remedy)


def _next_start(run: RunDir, last: Worker | None) -> int:
    """Return the number of the next start, counted since the newest checkpoint."""
    if last is None:
        return 1
    if last.device is None:
        return last.starts  # it only waited
    saved = [path.stat().st_mtime for path in run.checkpoints.glob("checkpoint-*")]
    return 1 if max(saved, default=0.0) > last.started_s else last.starts + 1


def _give_up(run: RunDir, workers: Workers) -> None:
    tail = "\n".join(workers.logs(run, _LOG_LINES))
    write_end(
        run,
        "failed",
        f"its process died {MAX_STARTS} times in a row before a checkpoint; its last words:\n{tail}",
        "most often memory ran out: halve `per_device_train_batch_size` or "
        "`max_tokens_per_batch`, double `gradient_accumulation_steps`, then `ftctl retry NAME`",
    )
    workers.ended(run)


def _progress(run: RunDir) -> Progress | None:
    line = last_line(run.progress, "step")
    if line is None:
        return None
    measured = last_line(run.progress, "held_out_loss") or {}
    reported = line if "loss" in line else (last_line(run.progress, "loss") or line)
    return Progress(
        step=int(line["step"]),
        total_steps=int(line["total_steps"]),
        epoch=float(line["epoch"]),
        loss=reported.get("loss"),
        learning_rate=reported.get("learning_rate"),
        held_out_loss=measured.get("held_out_loss"),
        reward_accuracy=reported.get("reward_accuracy"),
        reward_margin=reported.get("reward_margin"),
        tokens_per_s=reported.get("tokens_per_s"),
        eta_s=reported.get("eta_s"),
    )
