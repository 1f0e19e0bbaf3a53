"""Start of a service: what it follows, under which locks, and where it answers. Needs the extra `watch`."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from backends.lock_files import try_lock
from controller import __version__
from controller.errors import ExitCode, FtctlError, LockHeld
from controller.project.project import Project, open_project
from controller.run.backends import backend_opener
from controller.spec.settings import is_safe_address
from controller.watch.approval import Approver, MergeApproval, approve_nothing
from controller.watch.branch import Branch, Folder, NothingToFollow, Place
from controller.watch.clone.checkout import followed, open_checkout
from controller.watch.clone.git import Git, GitFailed, git_environment
from controller.watch.clone.upstream import (
    Upstream,
    checked_folder,
    checked_url,
    github_repository,
    token_for,
)
from controller.watch.health import Health, HealthBoard
from controller.watch.listener import Page, json_page, listening
from controller.watch.log import EventLog, open_log
from controller.watch.mask import masked, secrets_of
from controller.watch.metrics import CONTENT_TYPE, Metrics
from controller.watch.reporter import WatchReporter
from controller.watch.reports import CommitReports
from controller.watch.service import Service
from controller.watch.statuses import StatusReporter

_CLONE = "clone"
_ORPHANS_S = 330.0
"""Time to wait for commands of git that an earlier service left: longer than any may take."""
_POLL_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchOptions:
    """What a person asked for."""

    folder: Path
    """Of `--dir`."""
    is_named: bool
    """True if a person named that folder."""
    url: str | None = None
    """Repository to follow; None to watch the folder as it is."""
    branch: str | None = None
    """Branch to follow; None for the repository's default branch."""
    subfolder: str = ""
    interval_s: float
    host: str
    port: int
    lock_timeout_s: float
    as_json: bool


def serve(options: WatchOptions) -> ExitCode:
    """Run a service until a signal ends it.

    Raises:
        FtctlError: It cannot begin: another one runs, the address is taken, there is nothing to
            follow.
    """
    environment = dict(os.environ)
    secrets = secrets_of(environment)
    log = open_log(as_json=options.as_json, secrets=secrets)
    board = HealthBoard(Health(started_s=time.time()), partial(masked, secrets=secrets))
    metrics = Metrics(lambda: board.now)
    with ExitStack() as stack:
        place: Place
        approver: Approver = approve_nothing
        statuses = None
        if options.url is None:
            place = Folder(project=open_project(options.folder))
            stack.enter_context(_only_one(place.project.state))
        else:
            place, upstream = stack.enter_context(
                _branch(options, options.url, environment, (board, log, metrics))
            )
            approver = MergeApproval(memory=place.project.state / "watch" / "approved.json")
            approver.load()
            statuses = _statuses(upstream, environment, place.project.state)
            board.update(lambda health: Health(started_s=health.started_s, branch=upstream.branch))
        pages = {
            "/healthz": lambda: json_page(board.now.json()),
            "/metrics": lambda: Page(content_type=CONTENT_TYPE, body=metrics.text()),
        }
        address = stack.enter_context(listening(options.host, options.port, pages))
        _tell_start(log, options, place, address)
        return Service(
            place=place,
            approve=approver,
            open_for=backend_opener(place.project),
            interval_s=options.interval_s,
            lock_timeout_s=options.lock_timeout_s,
            board=board,
            log=log,
            metrics=metrics,
            reporter=WatchReporter(log, metrics),
            statuses=CommitReports(statuses, board, log, metrics) if statuses is not None else None,
        ).run()


@contextmanager
def _branch(
    options: WatchOptions,
    url: str,
    environment: Mapping[str, str],
    told: tuple[HealthBoard, EventLog, Metrics],
) -> Iterator[tuple[Branch, Upstream]]:
    """Open the clone of a branch, which no other service uses meanwhile."""
    url, folder = checked_url(url), checked_folder(options.subfolder)
    state = open_project(options.folder).state
    clone = options.folder.resolve() if options.is_named else state / _CLONE
    environment = git_environment(environment, url, token_for(url, environment))
    with _only_one(state), _git_lock(state) as lock:
        clone.mkdir(parents=True, exist_ok=True)
        git = Git(folder=clone, environment=environment, lock=lock)
        branch = options.branch or _default_branch(git, url)
        _check_branch(git, branch)
        upstream = Upstream(url=url, branch=branch, folder=folder)
        checkout = open_checkout(git, upstream)
        project = Project(root=checkout.root, state=state)
        board, log, metrics = told
        yield (
            Branch(checkout=checkout, project=project, board=board, log=log, metrics=metrics),
            upstream,
        )


def _default_branch(git: Git, url: str) -> str:
    """Return the repository's default branch; of a known clone the branch that it follows."""
    known = followed(git)
    if known is not None and known[0] == url:
        return known[1]
    try:
        listed = git.ask("ls-remote", "--symref", "--", url, "HEAD")
    except GitFailed as error:
        remedy = "Name the branch, so that the service waits for the server: --branch main"
        raise NothingToFollow.of(error) or GitFailed(error.message, remedy) from None
    for line in listed.splitlines():
        if line.startswith("ref: refs/heads/"):
            return line.removeprefix("ref: refs/heads/").partition("\t")[0]
    raise FtctlError("the repository has no default branch", "Name the branch: --branch main")


def _check_branch(git: Git, branch: str) -> None:
    # `--branch` of git would take `@{-1}` for a branch of this clone.
    if branch.startswith("-") or git.read("check-ref-format", f"refs/heads/{branch}") is None:
        raise FtctlError(f"--branch {branch} is not a name of a branch", "Check --branch.")


def _statuses(
    upstream: Upstream, environment: Mapping[str, str], state: Path
) -> StatusReporter | None:
    """Return what sends statuses, if the repository is at GitHub and there is a token.

    Raises:
        FtctlError: The token would be sent unprotected.
    """
    repository = github_repository(upstream.url, environment)
    token = token_for(upstream.url, environment)
    if repository is None or not token:
        return None
    if not is_safe_address(repository.api):
        message = f"a token would be sent to {repository.api} unprotected"
        raise FtctlError(message, "Set GITHUB_API_URL to an address that starts with https://.")
    statuses = StatusReporter(
        repository=repository, token=token, memory=state / "watch" / "statuses.json"
    )
    statuses.load()
    return statuses


@contextmanager
def _only_one(state: Path) -> Iterator[None]:
    """Let no other service use a state folder."""
    path = state / "watch" / "lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = try_lock(path)
    if handle is None:
        message = f"another service already uses {state}"
        raise LockHeld(message, "Stop the other service, or name another folder with --dir.")
    try:
        yield
    finally:
        os.close(handle)


@contextmanager
def _git_lock(state: Path) -> Iterator[int]:
    """Wait for commands of git that a killed service left; hold a lock that ours inherit."""
    path, deadline = state / "watch" / "git.lock", time.monotonic() + _ORPHANS_S
    while (handle := try_lock(path)) is None:
        if time.monotonic() > deadline:
            message = "a command of git that an earlier service started does not end"
            raise LockHeld(message, f"End the process that holds {path}.")
        time.sleep(_POLL_S)
    try:
        yield handle
    finally:
        os.close(handle)


def _tell_start(log: EventLog, options: WatchOptions, place: Place, address: str) -> None:
    what = str(place.project.root)
    if isinstance(place, Branch):
        upstream = place.checkout.upstream
        what = f"{upstream.branch} of {upstream.url} in {what}"
    log.tell(
        "started",
        f"ftctl {__version__} follows {what}, every {options.interval_s:g} s; {address}/healthz",
        address=address,
        version=__version__,
    )
