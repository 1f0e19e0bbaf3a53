"""The branch that the service follows: its address, and the token for its server."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from controller.errors import FtctlError
from controller.lockfile.store import LOCKFILE
from controller.spec.settings import is_safe_address
from controller.watch.clone.git import CREDENTIAL_VARIABLE
from controller.watch.mask import masked

_GITHUB = "github.com"
_GITHUB_TOKENS = ("GH_TOKEN", "GITHUB_TOKEN")


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """A branch of a repository elsewhere."""

    url: str
    branch: str
    folder: str = ""
    """Folder with `finetunes/` in the repository; empty for the top."""

    @property
    def lockfile(self) -> str:
        """Path of the lockfile, as git names it."""
        return f"{self.folder}/{LOCKFILE}".lstrip("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class GitHubRepository:
    """A repository at GitHub, or at a GitHub server of one's own."""

    api: str
    """Address of the API."""
    name: str
    """`OWNER/REPOSITORY`."""


def checked_url(url: str) -> str:
    """Return the address of a repository without credentials in it.

    Raises:
        FtctlError: It holds a password or a token.
    """
    parts = urlsplit(url)
    is_web = parts.scheme in {"http", "https"}
    if parts.password is not None or (is_web and parts.username is not None):
        # Every process of the machine can read a command line, and git would write it to a file.
        message = f"--git {masked(url)} holds a user or a password"
        remedy = f"Remove it from the address, and export the token as {CREDENTIAL_VARIABLE}."
        raise FtctlError(message, remedy)
    return url


def checked_folder(folder: str) -> str:
    """Return a folder of the repository in one form: `ml/models`, empty for the top.

    Raises:
        FtctlError: It leads out of the repository.
    """
    path = PurePosixPath(folder)
    if path.is_absolute() or ".." in path.parts or ".git" in path.parts:
        message = f"--folder {folder} is not a folder of the repository"
        raise FtctlError(message, "Name the folder with finetunes/, seen from the top: ml")
    return "" if path == PurePosixPath() else path.as_posix()


def token_for(url: str, environment: Mapping[str, str]) -> str:
    """Return the token for the server of a repository; empty without one.

    Raises:
        FtctlError: The token would be sent unprotected.
    """
    names = [CREDENTIAL_VARIABLE]
    if github_repository(url, environment) is not None:
        names += _GITHUB_TOKENS
    token = next((value for name in names if (value := environment.get(name, "").strip())), "")
    if token and urlsplit(url).scheme == "http" and not is_safe_address(url):
        message = f"a token would be sent to {url} unprotected"
        raise FtctlError(message, "Use an address that starts with https://.")
    return token


def github_repository(url: str, environment: Mapping[str, str]) -> GitHubRepository | None:
    """Return which repository at GitHub an address names; None for another server.

    Args:
        url: `https://github.com/OWNER/REPOSITORY`, `git@github.com:OWNER/REPOSITORY.git`.
        environment: `GITHUB_SERVER_URL` names a GitHub server of one's own, `GITHUB_API_URL` its
            API where that is not below `/api/v3`.
    """
    host, path = _host_and_path(url)
    server = environment.get("GITHUB_SERVER_URL", "").strip().rstrip("/")
    api = environment.get("GITHUB_API_URL", "").strip().rstrip("/")
    if server and host == urlsplit(server).netloc.casefold():
        api = api or (f"https://api.{_GITHUB}" if host == _GITHUB else f"{server}/api/v3")
    elif host == _GITHUB:
        api = f"https://api.{_GITHUB}"
    else:
        return None
    name = path.strip("/").removesuffix(".git")
    return GitHubRepository(api=api, name=name) if name.count("/") == 1 else None


def _host_and_path(url: str) -> tuple[str, str]:
    if "://" in url:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        # The port of ssh is not that of the web server.
        return (parts.hostname or "" if parts.scheme == "ssh" else host).casefold(), parts.path
    host, colon, path = url.rpartition("@")[2].partition(":")
    return (host.casefold(), path) if colon else ("", "")
