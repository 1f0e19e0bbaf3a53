"""Files by which a repository at GitHub plans, applies and follows its fine-tunes: `ftctl init --github`."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from backends.atomic_files import write_atomic
from controller import __version__
from controller.errors import FtctlError
from controller.repository_files import CannotRead, resolve_inside
from controller.spec.load import FOLDER, LoadedSpec
from controller.spec.retain import sources_of

_TEMPLATES = Path(__file__).with_name("workflows")
_CALLER, _FORKS = "fine-tunes.yml", "fine-tunes-comment.yml"
_OUTDATED = ".github/workflows/fine-tunes-plan.yml"
"""File that earlier versions wrote, and whose work the caller does now."""
_USES = re.compile(r"^[A-Za-z0-9][\w.-]*/[\w.-]+@[\w./-]+$")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_BRANCH = re.compile(r"^[A-Za-z0-9_][\w./-]*$")
_CLASS = re.compile(r"\[[^\[\]]*+\]")
_SPECIAL = re.compile(r"[+\[\]\\]|^!")
_DRIVER = "ftctl lockfile merge %O %A %B"
_OWNERS = """\
# Who must review a change of models. Require it: Settings, Rules, "Require review from Code Owners".
# {folder}finetunes/ @your-organisation/your-team
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class GitHubOptions:
    """What the files say; None for what the repository itself tells."""

    uses: str | None = None
    """Home of the workflows: `OWNER/ftctl@COMMIT`; `.` for a repository that holds them itself."""
    branch: str | None = None
    """Default branch."""
    inputs: tuple[tuple[str, str], ...] = ()
    """Inputs of the workflow, by name, as a person gave them."""
    forks: bool = False
    """True to show plans of pull requests from forks as comments too, which takes a second file."""


@dataclass(slots=True, kw_only=True)
class WrittenFiles:
    """What became of each file."""

    written: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    """Files that were as they should be."""
    differing: list[str] = field(default_factory=list)
    """Files of somebody else, which were left alone."""
    outdated: list[str] = field(default_factory=list)
    """Files of an earlier version that do again what another file does."""


def write_github_files(
    root: Path, specs: Iterable[LoadedSpec], options: GitHubOptions, *, overwrite: bool = False
) -> WrittenFiles:
    """Write the workflows and what belongs to them; a file that says something else is left alone.

    Args:
        root: The folder with `finetunes/`; it may be below the top of its git repository.
        specs: Its specs: data outside `finetunes/` starts an apply too.
        options: What the files say.
        overwrite: True to replace workflows that say something else.

    Raises:
        FtctlError: It is no git repository, or nothing tells where the workflows of ftctl are.
    """
    top, prefix = top_and_prefix(root)
    texts = workflow_texts(top, prefix, specs, options)
    done = WrittenFiles()
    for name, text in texts.items():
        write_file(top, f".github/workflows/{name}", text, done, overwrite=overwrite)
    if (top / _OUTDATED).exists():
        done.outdated.append(_OUTDATED)
    add_merge_driver(top, prefix, done)
    if not any((top / name).exists() for name in _OWNER_FILES):
        write_file(
            top, ".github/CODEOWNERS", _OWNERS.format(folder=f"/{prefix}"), done, overwrite=False
        )
    return done


_OWNER_FILES = (".github/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS")


def workflow_texts(
    top: Path, prefix: str, specs: Iterable[LoadedSpec], options: GitHubOptions
) -> dict[str, str]:
    """Return the text of each workflow, by its file's name.

    Args:
        top: The top of the git repository.
        prefix: The folder with `finetunes/`, from there, with a slash at its end; empty for the top.
        specs: The specs.
        options: What the files say.

    Raises:
        FtctlError: Nothing tells where the workflows of ftctl are, or a name is not allowed.
    """
    uses, ref = workflows_home(options.uses)
    branch = options.branch or default_branch(top)
    if not _BRANCH.fullmatch(branch):
        raise FtctlError(f"{branch!r} is not the name of a branch", "Name one: --branch main")
    inputs = dict(options.inputs)
    if prefix:
        inputs.setdefault("folder", prefix.rstrip("/"))
    if _has_lfs(top):
        inputs.setdefault("lfs", "true")
    patterns = [_github_pattern(path) for path in trigger_paths(top, prefix, specs)]
    values = {
        "USES": uses,
        "REF": ref,
        "BRANCH": json.dumps(branch),
        "PATHS": json.dumps([*patterns, "!**/ftctl.lock"], ensure_ascii=False),
        "WITH": _with(inputs),
    }
    texts = {}
    for name in (_CALLER, _FORKS) if options.forks else (_CALLER,):
        text = (_TEMPLATES / name).read_text(encoding="utf-8")
        for key, value in values.items():
            text = text.replace(f"@{key}@", value)
        texts[name] = text
    return texts


def _with(inputs: Mapping[str, str]) -> str:
    lines = [f"      {name}: {_yaml(value)}\n" for name, value in inputs.items()]
    return "".join(["    with:\n", *lines]) if lines else ""


def workflows_home(given: str | None) -> tuple[str, str]:
    """Return the repository of the workflows, and the reference behind their path.

    Args:
        given: What a person named: `OWNER/ftctl@COMMIT`, or `.`; None to take where ftctl came from.

    Raises:
        FtctlError: Nothing tells it, or it is not of that form.
    """
    if given == ".":
        return "$", ""
    uses = given or _origin()
    if uses is None:
        message = "it is not known which repository at GitHub holds the workflows of this ftctl"
        remedy = "Name it, with a commit: ftctl init --github --uses OWNER/ftctl@COMMIT"
        raise FtctlError(message, remedy)
    if not _USES.fullmatch(uses):
        raise FtctlError(
            f"{uses!r} is not OWNER/REPOSITORY@COMMIT", "Write --uses OWNER/ftctl@COMMIT."
        )
    repository, _, ref = uses.partition("@")
    return repository, f"@{ref} # v{__version__}" if _COMMIT.fullmatch(ref) else f"@{ref}"


def _origin() -> str | None:
    """Return `OWNER/REPOSITORY@COMMIT` of this ftctl, where it was installed from GitHub."""
    url, commit = origin_of_ftctl()
    match = re.search(r"github\.com[:/]([\w.-]+/[\w.-]+?)(?:\.git)?/?$", url)
    return f"{match[1]}@{commit}" if match and commit else None


def origin_of_ftctl() -> tuple[str, str | None]:
    """Return address and commit of the repository that this ftctl came from; empty if not known."""
    try:
        record = json.loads(distribution("ftctl").read_text("direct_url.json") or "{}")
    except PackageNotFoundError:
        return "", None
    url, commit = record.get("url", ""), record.get("vcs_info", {}).get("commit_id")
    if "dir_info" in record and url.startswith("file://"):
        folder = Path(url.removeprefix("file://"))
        url = _git(folder, "remote", "get-url", "origin") or ""
        commit = _git(folder, "rev-parse", "HEAD")
    return url, commit


def default_branch(top: Path) -> str:
    """Return the default branch, by the remote, else the branch that is checked out.

    Args:
        top: The top of the git repository.
    """
    remote = _git(top, "symbolic-ref", "--short", "refs/remotes/origin/HEAD")
    if remote:
        return remote.partition("/")[2]
    return _git(top, "symbolic-ref", "--short", "HEAD") or "main"


def trigger_paths(top: Path, prefix: str, specs: Iterable[LoadedSpec]) -> list[str]:
    """Return the files whose change starts an apply: specs, settings, and data of other folders.

    Args:
        top: The top of the git repository.
        prefix: The folder with `finetunes/`, from the top of the repository, with a slash at its end.
        specs: The specs.
    """
    paths = [f"{prefix}{FOLDER}/**", f"{prefix}ftctl.yaml"]
    for loaded in specs:
        retained = sources_of(loaded.spec.evaluation.retain).values()
        sources = [one.path for one in loaded.spec.data.sources]
        for written in (*sources, *(one.path for one in retained)):
            if written is None or not written.startswith("../"):
                continue
            path = _without_dots(f"{prefix}{FOLDER}/{written}")
            # A saved dataset is a folder.
            path = f"{path}/**" if (top / path).is_dir() else path
            if path not in paths:
                paths.append(path)
    return paths


def _github_pattern(path: str) -> str:
    """Return a pattern of the shell as GitHub reads it, or one that more files match.

    To GitHub, `?` and `+` repeat the character before them, and `!` begins an exception.
    """
    path = _CLASS.sub("*", path).replace("?", "*")
    return _SPECIAL.sub(r"\\\g<0>", path)


def _without_dots(path: str) -> str:
    parts: list[str] = []
    for part in path.split("/"):
        if part == ".." and parts:
            parts.pop()
        elif part not in {".", ""}:
            parts.append(part)
    return "/".join(parts)


def _has_lfs(top: Path) -> bool:
    attributes = top / ".gitattributes"
    return attributes.is_file() and b"filter=lfs" in attributes.read_bytes()


def write_file(top: Path, name: str, text: str, done: WrittenFiles, *, overwrite: bool) -> None:
    """Write a file unless somebody else wrote it; note what became of it.

    Args:
        top: The top of the git repository.
        name: The file, from there.
        text: What it is to say.
        done: Gets the file's name.
        overwrite: True to replace what says something else.

    Raises:
        FtctlError: The path leads out of the repository.
    """
    path = _inside(top, name)
    present = path.read_bytes() if path.exists() else None
    if present == text.encode():
        done.kept.append(name)
    elif present is None or overwrite:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, text.encode())
        done.written.append(name)
    else:
        done.differing.append(name)


def _add_line(top: Path, name: str, line: str, done: WrittenFiles) -> None:
    path = _inside(top, name)
    present = path.read_bytes() if path.exists() else b""
    if line.encode() in present.splitlines():
        done.kept.append(name)
        return
    if present and not present.endswith(b"\n"):
        present += b"\n"
    write_atomic(path, present + line.encode() + b"\n")
    done.written.append(name)


def _inside(top: Path, name: str) -> Path:
    try:
        resolve_inside(top, top / name)
    except CannotRead as error:
        raise FtctlError(f"{top / name}: {error.message}", "Remove the link.") from None
    return top / name


def add_merge_driver(top: Path, prefix: str, done: WrittenFiles) -> None:
    """Have git merge the lockfile by fine-tune: in every clone by a line, in this one by its settings.

    Args:
        top: The top of the git repository.
        prefix: The folder with `finetunes/`, from there, with a slash at its end.
        done: Gets the name of the file with the line.
    """
    _add_line(top, ".gitattributes", f"{_quoted(prefix)}finetunes/ftctl.lock merge=ftctl", done)
    _git(top, "config", "merge.ftctl.name", "fine-tunes, each taken whole")
    _git(top, "config", "merge.ftctl.driver", _DRIVER)


def top_and_prefix(root: Path) -> tuple[Path, str]:
    """Return the top of the git repository, and the folder below it, with a slash at its end.

    Raises:
        FtctlError: The folder is in no git repository.
    """
    top = _git(root, "rev-parse", "--show-toplevel")
    if not top:
        raise FtctlError(f"{root} is not in a git repository", "Type `git init` there first.")
    prefix = root.relative_to(Path(top).resolve()).as_posix()
    return Path(top).resolve(), "" if prefix == "." else f"{prefix}/"


def _git(root: Path, *arguments: str) -> str | None:
    git = shutil.which("git")
    if git is None:
        raise FtctlError("git is not installed", "Install git.")
    done = subprocess.run(
        [git, "-C", str(root), *arguments], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else None


def _yaml(value: str) -> str:
    """Return a value in YAML: true and false as they are, all else as a text."""
    return value if value in {"true", "false"} else json.dumps(value, ensure_ascii=False)


def _quoted(prefix: str) -> str:
    """Return a folder as .gitattributes names it; a blank would end the name."""
    return f"/{prefix}".replace(" ", "?") if prefix else "/"
