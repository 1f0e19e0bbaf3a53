"""Base models of the hub that are not on this machine yet. Needs huggingface_hub."""

from backends.atomic_files import write_atomic
from backends.contract.errors import BaseModelUnknown
from backends.contract.jobs import BaseModel, DownloadReport
from backends.local_gpu.hub.download import (
    bytes_left,
    download,
    missing,
    require_downloadable,
    unreported,
)
from backends.local_gpu.hub.listing import list_files
from backends.local_gpu.models.base_models import (
    commit_here,
    hub_folder,
    hub_model,
    local_folder,
    not_here,
    reference_file,
    require_obtainable,
)


def look_up(hub_id: str, revision: str | None) -> BaseModel | None:
    """Ask the hub for a model that is not complete here: its commit, and the bytes to download.

    Its settings and its tokenizer, a few megabytes, are downloaded, so that a plan can check the
    examples. A branch is resolved once: the cache keeps its commit.

    Args:
        hub_id: ORGANISATION/NAME.
        revision: Branch, tag or commit; None for `main`.

    Returns:
        None if the hub is silent about a commit that is known here.

    Raises:
        BaseModelUnknown: The commit is not known here, and the hub does not answer now.
        BaseModelMissing: The hub does not have or give the model, it holds nothing to train, or a
            file is too large to be downloaded here.
    """
    known = commit_here(hub_id, revision)
    repository = hub_folder(hub_id)
    try:
        model = list_files(hub_id, known or revision)
        require_downloadable(model, missing(model, repository))
        settings = [file for file in missing(model, repository) if file in model.settings]
        download(model, settings, repository, unreported)
    except BaseModelUnknown:
        if known is not None:
            return None
        raise
    reference = reference_file(hub_id, revision)
    if known is None and reference is not None:
        write_atomic(reference, model.commit.encode())
    left = bytes_left(missing(model, repository), repository)
    return hub_model(hub_id, model.commit, download_bytes=left)


def fetch(base_model: BaseModel, report: DownloadReport) -> None:
    """Download a hub model until it is complete here; return at once if it is.

    Raises:
        MachineFailed: The disk has too little room, or cannot be written.
        BaseModelUnknown: The hub does not answer now, or broke off.
        BaseModelMissing: The hub refuses the model, or this machine is set to stay offline.
    """
    if local_folder(base_model) is not None:
        return
    require_obtainable(base_model)
    repository = hub_folder(base_model.reference)
    model = list_files(base_model.reference, base_model.revision)
    download(model, missing(model, repository), repository, report)
    if local_folder(base_model) is None:
        raise not_here(base_model)
