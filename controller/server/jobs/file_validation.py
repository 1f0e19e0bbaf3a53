"""Validation of a job's files: each is checked line by line and written as canonical JSONL."""

from pathlib import Path

from backends.contract.inspector import ExampleInspector
from controller.data.training_file import TrainingFile, check_training_file
from controller.errors import Problem
from controller.server.api.errors import invalid, sentence
from controller.server.files.file_store import FileStore
from controller.server.jobs.job_record import JobRecord, TrainingData

MIN_EXAMPLES = 10
"""The hosted service refuses fewer, and a model learns nothing from them anywhere."""
_INVALID = "The job failed due to an invalid file. Invalid file format."


def validate_files(
    record: JobRecord, folder: Path, files: FileStore, inspector: ExampleInspector
) -> TrainingData:
    """Validate both files of a job, and write them to its folder for the backend.

    Args:
        record: The job.
        folder: Folder of the job's data.
        files: Store of the files.
        inspector: Checks of the base model.

    Raises:
        ApiError: A file cannot be trained on; the error is the job's.
        OSError: The disk failed.
    """
    target = folder / "held_out.jsonl"
    least = max(MIN_EXAMPLES, inspector.limits.min_examples)
    train = _checked(record, "training_file", folder / "train.jsonl", files, inspector)
    _require_examples(train, least, "training_file")
    if record.validation_file is None:
        for path in (target, target.with_suffix(".origins")):
            path.write_bytes(b"")
        return TrainingData(train=train.sha256, held_out=None, examples=train.examples)
    held_out = _checked(record, "validation_file", target, files, inspector)
    _require_examples(held_out, 1, "validation_file")
    return TrainingData(train=train.sha256, held_out=held_out.sha256, examples=train.examples)


def _checked(
    record: JobRecord, param: str, target: Path, files: FileStore, inspector: ExampleInspector
) -> TrainingFile:
    file_id: str = getattr(record, param)
    file = files.records.get(file_id)
    if file is None:
        raise invalid(f"{file_id} was deleted.", param, f"invalid_{param}")
    checked = check_training_file(
        files.content(file), target, name=file_id, inspector=inspector, method=record.method
    )
    if checked.problems:
        lines = [_INVALID, *map(_line_of, checked.problems)]
        raise invalid("\n".join(lines), param, f"invalid_{param}")
    return checked


def _require_examples(file: TrainingFile, least: int, param: str) -> None:
    if file.examples < least:
        found = f"The file has {file.examples} example(s)"
        message = f"{found}, but must have at least {least} examples."
        raise invalid(message, param, "invalid_n_examples")


def _line_of(problem: Problem) -> str:
    place = "" if problem.line is None else f"Line {problem.line}: "
    return f"{place}{sentence(problem.one_line)}"
