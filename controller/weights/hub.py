"""Uploading an export to the Hugging Face hub. Needs the extra `hub`.

Repositories are private unless a person asks for a public one. Large files are uploaded before the
commit that names them, so that a repository never shows a part of an export.
"""

import os
import re
from pathlib import Path
from typing import Final

from httpx2 import HTTPError
from huggingface_hub import HfApi
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from backends.hub_token import REMEDY, UNUSABLE, hub_token, is_token
from controller.errors import FtctlError

_ID: Final = re.compile(r"[\w.-]+/[\w.-]+")
_DENIED: Final = frozenset({401, 403})
_MISSING: Final = 404
_TOO_MANY: Final = 429


def require_hub(repository: str) -> None:
    """Require a repository's ID and a token, before anything is exported.

    Raises:
        FtctlError: The ID is not ORGANISATION/NAME, or HF_TOKEN holds no token.
    """
    if not _ID.fullmatch(repository):
        message = f"{repository!r} is not the ID of a repository at the hub"
        raise FtctlError(message, "Write ORGANISATION/NAME.", field="--push-to")
    token = hub_token()
    if token is None:
        message = "uploading to the hub needs a token, and HF_TOKEN is not set"
        raise FtctlError(message, "Set HF_TOKEN to a token that may write to the repository.")
    if not is_token(token):
        raise FtctlError(UNUSABLE, REMEDY)


def push(folder: Path, repository: str, message: str, *, public: bool) -> str:
    """Upload a folder's files in one commit, and return the address of the repository.

    Args:
        folder: The export.
        repository: ID of the repository: ORGANISATION/NAME. It is made if it is absent.
        message: Message of the commit.
        public: True to make a new repository public, and to upload to one that is.

    Raises:
        FtctlError: The hub refuses it, cannot be reached, or would show it to everybody unasked.
    """
    hub = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=hub_token())
    try:
        hub.create_repo(repository, private=not public, exist_ok=True)
        if not public and hub.model_info(repository).private is not True:
            raise FtctlError(
                f"{repository} is public: everybody would see the model",
                "Make the repository private, or name another one. Add `--public` if it is meant so.",
            )
        found = hub.upload_folder(
            repo_id=repository, folder_path=folder, commit_message=message, delete_patterns="*"
        )
    except (LocalTokenNotFoundError, HFValidationError, OfflineModeIsEnabled) as error:
        raise FtctlError(f"{repository} cannot be uploaded to: {error}", _again(folder)) from error
    except HfHubHTTPError as error:
        raise _refused(error, repository, folder) from error
    except (HTTPError, OSError) as error:
        message = f"the hub cannot be reached: {error}"
        raise FtctlError(message, _again(folder)) from error
    except RuntimeError as error:
        # The client raises no other error for a large file that was not taken.
        message = f"the upload to {repository} failed: {error.__cause__ or error}"
        raise FtctlError(message, _again(folder)) from error
    return f"{found.repo_url}"


def _refused(error: HfHubHTTPError, repository: str, folder: Path) -> FtctlError:
    status = error.response.status_code
    if status in _DENIED:
        return FtctlError(
            f"the hub does not let HF_TOKEN write to {repository} ({status})",
            "Give the token the right to write there. " + _again(folder),
        )
    if status == _MISSING or isinstance(error, RepositoryNotFoundError):
        return FtctlError(
            f"the hub has no organisation or repository {repository} for HF_TOKEN ({status})",
            "Check the name. " + _again(folder),
        )
    if status == _TOO_MANY:
        message = "the hub has taken too many requests (429)"
        return FtctlError(message, "Wait a few minutes. " + _again(folder))
    lines = str(error).strip().splitlines()
    return FtctlError(f"the hub refuses the upload ({status}): {lines[-1]}", _again(folder))


def _again(folder: Path) -> str:
    return f"Type the command again: the export itself is complete in {folder}."
