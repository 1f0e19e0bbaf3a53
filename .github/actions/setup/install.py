"""Install ftctl with the packages that the specs need; put it on the path of the steps that follow.

ftctl is that of this action's own commit, or PACKAGE; its packages are those of `locked/`, by version and
hash. They go into a virtual environment below the home folder, named by what is installed: on a
self-hosted machine the next job finds it ready, and a job with another ftctl leaves it alone, since
children that still train import from it. Environments that no job used for a month are removed.

    ROOT           the repository with finetunes/
    PURPOSE        `plan`: what an offline plan needs; `apply`: what training and evaluating need
    PACKAGE        a wheel of ftctl below WORKSPACE, or `ftctl==VERSION --hash=sha256:…`; empty: this commit
    REQUIREMENTS   a file of further packages, each with its hashes: plug-ins, s3fs; empty: none
    GITHUB_PATH    the environment's programs are added there
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parents[2]
HOME = (Path.home() / ".local/share/ftctl").resolve()
UNUSED_S = 30 * 24 * 3600
SOURCES = ("controller", "backends", "finetunes", "pyproject.toml", "README.md", "LICENSE")
_PACKAGE = re.compile(r"^[A-Za-z0-9._-]+(?===)")
CUDA = re.compile(r"^(nvidia-|cuda-|triton$)")
"""Packages that only the build of torch for CUDA needs."""


def main() -> None:
    """Install, print one line, and leave what was installed ready for the next job."""
    root, package = Path(os.environ["ROOT"]), os.environ.get("PACKAGE", "").strip()
    extra_file = os.environ.get("REQUIREMENTS", "").strip()
    venv = HOME / _identity(package, extra_file)
    HOME.mkdir(parents=True, exist_ok=True)
    with (HOME / "lock").open("w") as lock:  # two jobs of one machine take turns
        fcntl.flock(lock, fcntl.LOCK_EX)
        _remove_unused()
        began = time.monotonic()
        if not (venv / "ready").exists():
            _make(venv, package, extra_file)
        command = [venv / "bin/ftctl", "--dir", root, "extras"]
        command += ["--plan"] if os.environ.get("PURPOSE") == "plan" else []
        extras = _run(*command, capture=True).split()
        for extra in extras:
            if not (venv / f"ready-{extra}").exists():
                _install_locked(venv, extra)
                (venv / f"ready-{extra}").touch()
        (venv / "ready").touch()
    with Path(os.environ["GITHUB_PATH"]).open("a") as path:
        path.write(f"{venv}/bin\n")
    version = _run(venv / "bin/ftctl", "--version", capture=True).strip()
    spent = f"{time.monotonic() - began:.0f} s"
    sys.stdout.write(f"Installed: {version} with {', '.join(extras) or 'no extras'} ({spent})\n")


def _make(venv: Path, package: str, extra_file: str) -> None:
    _run(sys.executable, "-m", "venv", "--clear", venv)
    _install_locked(venv, "core")
    if package:
        _install_package(venv, package)
    else:
        _install_locked(venv, "build")
        with tempfile.TemporaryDirectory() as folder:  # the sources may be read-only
            for name in SOURCES:
                path = SOURCE / name
                copy = shutil.copytree if path.is_dir() else shutil.copyfile
                copy(path, Path(folder) / name)
            _pip(venv, "--no-deps", "--no-build-isolation", folder)
    if extra_file:
        _pip(venv, "--require-hashes", "-r", extra_file)


def _install_locked(venv: Path, extra: str) -> None:
    """Install the packages of an extra, each by its version and hashes."""
    lines = dict(_locked_lines())
    names = json.loads((HERE / "locked/closures.json").read_text())[extra]
    if "torch" in names and os.environ.get("PIP_EXTRA_INDEX_URL"):
        # The builds for the CPU come from another index, which has other files under the same version.
        pin = lines["torch"].split()[0]
        _pip(venv, "--no-deps", pin)
        names = [name for name in names if name != "torch" and not CUDA.match(name)]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(lines[name] for name in names))
        file.flush()
        _pip(venv, "--no-deps", "--require-hashes", "-r", file.name)


def _locked_lines() -> "list[tuple[str, str]]":
    blocks = re.split(r"\n(?=\S)", (HERE / "locked/packages.txt").read_text().strip())
    return [(match[0], block) for block in blocks if (match := _PACKAGE.match(block))]


def _install_package(venv: Path, package: str) -> None:
    """Install an ftctl that was given, with the locked packages."""
    if package.endswith(".whl") and "://" not in package:
        _pip(venv, "--no-deps", str(Path(package).resolve(strict=True)))
        return
    if "--hash=sha256:" not in package and "#sha256=" not in package:
        _fail(
            f"`package: {package}` names no hash. Add --hash=sha256:… or #sha256=…, or commit the wheel."
        )
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(f"{package}\n")
        file.flush()
        _pip(venv, "--no-deps", "--require-hashes", "-r", file.name)


def _identity(package: str, extra_file: str) -> str:
    """Return the digest of everything that decides what is installed."""
    digest = hashlib.sha256(f"{sys.version}\0{package}\0".encode())
    files = [HERE / "locked/packages.txt", Path(__file__)]
    if package.endswith(".whl") and "://" not in package:
        files.append(Path(package))
    elif not package:
        files += [file for name in SOURCES for file in sorted(_files(SOURCE / name))]
    for file in [*files, *([Path(extra_file)] if extra_file else [])]:
        digest.update(f"{file.name}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\0".encode())
    return digest.hexdigest()[:16]


def _files(path: Path) -> "list[Path]":
    if path.is_file():
        return [path]
    return [one for one in path.rglob("*") if one.is_file() and one.suffix != ".pyc"]


def _remove_unused() -> None:
    for ready in HOME.glob("*/ready"):
        if time.time() - ready.stat().st_mtime > UNUSED_S:
            shutil.rmtree(ready.parent, ignore_errors=True)


def _pip(venv: Path, *arguments: str) -> None:
    _run(
        venv / "bin/python",
        "-m",
        "pip",
        "install",
        "-qq",
        "--disable-pip-version-check",
        *arguments,
    )


def _run(*command: object, capture: bool = False) -> str:
    done = subprocess.run(
        [str(one) for one in command],
        stdout=subprocess.PIPE if capture else None,
        stdin=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    if done.returncode:
        _fail(f"`{Path(str(command[0])).name} {command[1]} …` ended with {done.returncode}.")
    return done.stdout or ""


def _fail(message: str) -> None:
    sys.exit(f"::error::ftctl could not be installed: {message}")


if __name__ == "__main__":
    main()
