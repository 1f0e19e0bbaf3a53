"""Validation of a job's files: each is checked line by line and written as canonical JSONL."""

from pathlib import Path

from anyio.to_thread import run_sync

from backends.contract.inspector import ExampleInspector
from controller.data.training_file import TrainingFile, check_training_file
from controller.errors import Problem
from controller.server.files.file_store import FileStore
from controller.server.jobs.job_record import JobError, JobRecord, TrainingData
from controller.server.jobs.job_store import JobStore

MIN_EXAMPLES = 10
"""The hosted service refuses fewer, and a model learns nothing from them anywhere."""
_INVALID = "The job failed due to an invalid file. Invalid file format."


async def validate_files(
    record: JobRecord, jobs: JobStore, files: FileStore, inspector: ExampleInspector
) -> TrainingData | None:
    """Validate both files of a job, and write them to its folder for the backend.

    Args:
        record: The job.
        jobs: Store of the job; an invalid file fails the job there.
        files: Store of the files.
        inspector: Checks of the base model.

    Returns:
        The training data; None if the job failed.

    Raises:
        OSError: The disk failed.
    """
    folder = jobs.folder(record.id)
    found: dict[str, TrainingFile] = {}
    for param, file_id, target in (
        ("training_file", record.training_file, folder / "train.jsonl"),
        ("validation_file", record.validation_file, folder / "held_out.jsonl"),
    ):
        if file_id is None:
            for path in (target, target.with_suffix(".origins")):
                path.write_bytes(b"")
            continue
        checked = await _checked(file_id, target, record.method, files, inspector)
        if isinstance(checked, str):
            error: JobError | None = JobError(code=f"invalid_{param}", message=checked, param=param)
        else:
            error = _invalid(checked, param, inspector.limits.min_examples)
            found[param] = checked
        if error is not None:
            await jobs.fail(record.id, error)
            return None
    held_out = found.get("validation_file")
    return TrainingData(
        train=found["training_file"].sha256,
        held_out=None if held_out is None else held_out.sha256,
        examples=found["training_file"].examples,
    )


async def _checked(
    file_id: str, target: Path, method: str, files: FileStore, inspector: ExampleInspector
) -> TrainingFile | str:
    """Return the checked file, or the reason why it cannot be read."""
    file = files.records.get(file_id)
    if file is None:
        return f"{file_id} was deleted."
    source = files.content(file)
    return await run_sync(
        lambda: check_training_file(
            source, target, name=file_id, inspector=inspector, method=method
        )
    )


def _invalid(file: TrainingFile, param: str, min_examples: int) -> JobError | None:
    """Return the error of a file that cannot be trained on; None if it can."""
    if file.problems:
        lines = [_INVALID, *map(_line_of, file.problems)]
        return JobError(code=f"invalid_{param}", message="\n".join(lines), param=param)
    least = max(MIN_EXAMPLES, min_examples) if param == "training_file" else 1
    if file.examples < least:
        message = (
            f"The file has {file.examples} example(s), but must have at least {least} examples."
        )
        return JobError(code="invalid_n_examples", message=message, param=param)
    return None


def _line_of(problem: Problem) -> str:
    place = "" if problem.line is None else f"Line {problem.line}: "
    return f"{place}{problem.one_line.removesuffix('.')}."
