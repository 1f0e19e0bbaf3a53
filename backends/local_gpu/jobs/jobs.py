"""Jobs as their run folders show them, and the few things that change one: start, go on, cancel."""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from backends.contract.jobs import BaseModel, Job, JobResult, JobState, Progress
from backends.local_gpu.jobs.device_queue import launch, lock_run
from backends.local_gpu.jobs.run_dir import (
    CANCEL_PATIENCE_S,
    RunDir,
    last_line,
    log_tail,
    read_json,
    read_request,
    write_end,
)
from backends.local_gpu.jobs.worker_process import Worker, alive, reap, recorded, stop

MAX_STARTS: Final = 3
"""Starts in a row without a new checkpoint, after which a run is given up."""
_LOG_LINES: Final = 5
_NOT_REAL: Final = "the result of this run is damaged or its model is gone"


def look(run: RunDir) -> Job:
    """Say where a run stands. Writes nothing but a line about a child that was killed."""
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
    worker = recorded(run)
    if worker is not None and _lives(run, worker):
        if worker.device is None:
            return replace(job, state=JobState.QUEUED, error="waiting for a free device")
        return replace(job, state=JobState.RUNNING)
    # The child may have written its result between the two looks.
    if run.result.exists():
        return _ended(job, run, trained)
    if run.cancel.exists():
        finished = run.cancel.stat().st_mtime
        return replace(job, state=JobState.CANCELLED, finished_s=finished, error="cancelled")
    return replace(job, error="its process is gone; it goes on when submitted")


def start(run: RunDir) -> None:
    """Start or continue a run that has no living child and no result; else do nothing."""
    if run.result.exists() or run.cancel.exists():
        return
    worker = recorded(run)
    if worker is not None and _lives(run, worker):
        return
    lock = lock_run(run)
    if lock is None:
        return
    try:
        # Asked again, now that nobody else can answer.
        if run.result.exists():
            return
        starts = _starts(run, recorded(run))
        if starts > MAX_STARTS:
            _give_up(run)
            return
        launch(run, lock, starts)
    finally:
        # The child has the lock open too, and keeps it.
        os.close(lock)


def cancel(run: RunDir) -> None:
    """Ask a run to stop for good; a finished one stays what it is."""
    if run.result.exists():
        return
    asked_s = run.cancel.stat().st_mtime if run.cancel.exists() else time.time()
    if not run.cancel.exists():
        run.cancel.touch()
    worker = recorded(run)
    if worker is not None and _lives(run, worker):
        patient = time.time() - asked_s < CANCEL_PATIENCE_S
        stop(worker, run.heartbeat, signal.SIGTERM if patient else signal.SIGKILL)
        return
    lock = lock_run(run)
    if lock is None:
        return
    try:
        if not run.result.exists():
            write_end(run, "cancelled", "cancelled")
    finally:
        os.close(lock)


def pause(run: RunDir) -> None:
    """Ask a run to save a checkpoint and stop; submitting it again goes on from there."""
    worker = recorded(run)
    if not run.result.exists() and worker is not None and _lives(run, worker):
        stop(worker, run.heartbeat, signal.SIGTERM)


def model_id(run: RunDir, base_model: BaseModel, name: str) -> str:
    """Return what a run's model is called."""
    return f"ft:{Path(base_model.reference).name}:{name}:{run.name}"


def _ended(job: Job, run: RunDir, trained: str) -> Job:
    """Return a job with what its result says."""
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


def _lives(run: RunDir, worker: Worker) -> bool:
    if alive(worker, run.heartbeat):
        return True
    killed_by = reap(worker.pid)
    if killed_by is not None:
        with run.log.open("a", encoding="utf-8") as log:
            log.write(f"ftctl: process {worker.pid} was ended by {killed_by}\n")
    return False


def _starts(run: RunDir, last: Worker | None) -> int:
    """Return the number of the start that comes now, counted since the last progress."""
    if last is None:
        return 1
    if last.device is None:
        return last.starts  # it only ever waited
    saved = [path.stat().st_mtime for path in run.checkpoints.glob("checkpoint-*")]
    return 1 if max(saved, default=0.0) > last.started_s else last.starts + 1


def _give_up(run: RunDir) -> None:
    tail = "\n".join(log_tail(run.log, _LOG_LINES))
    write_end(
        run,
        "failed",
        f"its process died {MAX_STARTS} times in a row before a checkpoint; its last words:\n{tail}",
        "most often memory ran out: halve `per_device_train_batch_size` and double "
        "`gradient_accumulation_steps`, then `ftctl retry NAME`",
    )


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
        tokens_per_s=reported.get("tokens_per_s"),
        eta_s=reported.get("eta_s"),
    )
