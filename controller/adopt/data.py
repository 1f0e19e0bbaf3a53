"""Files of examples of a hosted model: from its service, or from a person."""

from typing import Final

from backends.contract.errors import FileMissing
from backends.contract.inventory import HostedFile
from controller.adopt.context import Adopting, Work
from controller.adopt.files import describe, fetch, overlap, put_data
from controller.adopt.hosted_spec import KeptData, KeptFile, data_path
from controller.spec.data import SplitName
from controller.spec.load import ENDING, FOLDER

_SEVERAL: Final = KeptFile(path="the sources of the spec", sha256="", rows=0, size_bytes=0)
"""Stands for the data of a spec that exists already and names several sources."""


def gather_data(adopting: Adopting, work: Work) -> KeptData:
    """Download what the service still gives, and take what a person put in its place."""
    hosted = work.hosted
    if work.is_declared and "train" not in work.paths:
        return KeptData(train=_SEVERAL)
    train, why_not = _kept(adopting, work, hosted.training_file, "train")
    if hosted.job_id is None:
        why_not = "The job of this model is not shown, so its training file is not known."
    elif hosted.training_file is None:
        why_not = "The job names no training file."
    validation, gone = _kept(adopting, work, hosted.validation_file, "held_out")
    if gone:
        work.remarks.append(gone)
    if train is None:
        work.remarks += [f"{why_not} So the spec says `method: prompt`.", _fill_the_gap(work.name)]
    elif train.file_id is None:
        work.remarks.append(f"{why_not} {FOLDER}/{train.path} is taken in its place, as declared.")
    if train is not None and validation is not None:
        folder = adopting.project.root / FOLDER
        if count := overlap(folder / train.path, folder / validation.path):
            work.remarks.append(
                f"{count:,} of {validation.rows:,} rows of the validation file are training rows "
                "too."
            )
    return KeptData(train=train, validation=validation, why_not=why_not)


def _fill_the_gap(name: str) -> str:
    """Return how a person can give the data that a service does not."""
    return (
        f"To adopt it with its data: put the file at {FOLDER}/{data_path(name, 'train')}, remove "
        f"{FOLDER}/{name}{ENDING}, and run this command again. Stored completions of the model, "
        "exported as chat JSONL, do as well."
    )


def _kept(
    adopting: Adopting, work: Work, file: HostedFile | None, split: SplitName
) -> tuple[KeptFile | None, str]:
    """Return a file of examples in the repository; None and why if there is none."""
    project = adopting.project
    shown = work.paths.get(split) or data_path(work.name, split)
    path = project.root / FOLDER / shown
    why_not = ""
    if work.is_declared and split not in work.paths:
        return None, ""
    if file is not None:
        try:
            fetched = fetch(adopting.backend, file, project, adopting.place)
        except FileMissing as error:
            why_not = f"The service does not give its file {file.id} any more."
            which = "Training" if split == "train" else "Validation"
            work.remarks.append(f"{which} file: {error.message}.")
        else:
            work.fetched.append(fetched)
            kept = describe(fetched, shown, file.id)
            own = describe(path, shown) if split in work.paths and path.is_file() else kept
            if own.sha256 != kept.sha256:
                return own, f"{FOLDER}/{shown} is not the service's file {file.id} any more."
            if put_data(project, fetched, kept):
                work.written.append(path)
            return kept, ""
    if path.is_file() and (split == "train" or file is not None):
        return describe(path, shown), why_not
    return None, why_not
