"""Files that `ftctl init` writes: a first repository, or the demo with its data and base model."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from backends.atomic_files import write_atomic
from backends.installation import install_command
from backends.registry import SMALL_BASE_MAKER
from controller.errors import FtctlError
from controller.repository_files import CannotRead, resolve_inside
from controller.spec.load import FOLDER
from controller.spec.settings import FILE as SETTINGS

DEMO_BASE_MODEL = "models/small-ko"
_FIRST = Path(__file__).with_name("first_repository")
"""The first spec with its data, as files."""
_SERVICE = Path(__file__).with_name("service_files")
"""What runs `ftctl reconcile --watch` as a service, as files."""

_IGNORED = """\
# ftctl: what belongs to this machine
.ftctl/
models/
.env
"""

_DEMO_SETTINGS = f"""\
# Settings of this whole repository. What `ftctl serve` offers to clients:
serve:
  base_models: [../{DEMO_BASE_MODEL}]
"""


def make_repository(root: Path) -> list[str]:
    """Write a first spec with its data, for people to change.

    Args:
        root: The repository; created when absent.

    Returns:
        The files written, relative to the repository.

    Raises:
        FtctlError: There are specs already.
    """
    _refuse_existing(root)
    shutil.copytree(_FIRST, root / FOLDER, copy_function=shutil.copyfile, dirs_exist_ok=True)
    names = (f"{FOLDER}/{path.relative_to(_FIRST).as_posix()}" for path in _FIRST.rglob("*.*"))
    return [*sorted(names, reverse=True), *_ignore(root)]


def make_demo(root: Path) -> list[str]:
    """Write the demo: specs, data, and the small base model they are tuned from.

    The base model is trained on this machine in about a minute; its progress is printed.

    Args:
        root: The repository; created when absent.

    Returns:
        The files written, relative to the repository.

    Raises:
        FtctlError: There are specs already, or the base model could not be made.
    """
    _refuse_existing(root)
    shutil.copytree(
        _demo_source(), root / FOLDER, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.lock")
    )
    base = root / DEMO_BASE_MODEL
    if not base.exists():
        made = subprocess.run([sys.executable, "-m", SMALL_BASE_MAKER, str(base)], check=False)
        if made.returncode:
            message = "the small base model could not be made, for the reason printed above"
            remedy = f"If a package is missing, type: {install_command('local')}"
            raise FtctlError(message, remedy)
    written = sorted(path.relative_to(root).as_posix() for path in (root / FOLDER).glob("*.yaml"))
    settings = root / SETTINGS
    if not settings.exists():
        write_atomic(settings, _DEMO_SETTINGS.encode())
        written.append(SETTINGS)
    return [*written, DEMO_BASE_MODEL, *_ignore(root)]


def make_service(folder: Path) -> list[str]:
    """Write a unit of systemd, a Containerfile, and the settings that both read.

    Args:
        folder: Where to; created when absent.

    Returns:
        The files written, relative to the folder.

    Raises:
        FtctlError: One of them is there already.
    """
    names = sorted(path.name for path in _SERVICE.iterdir())
    present = [name for name in names if os.path.lexists(folder / name)]
    if present:
        message = f"{folder / present[0]} exists already"
        raise FtctlError(message, "Name another folder: ftctl init --service DIR")
    for name in names:
        write_atomic(folder / name, (_SERVICE / name).read_bytes())
    return names


def _demo_source() -> Path:
    """Return the demo's specs: inside an installed package, or the checkout's own `finetunes/`."""
    package = Path(__file__).parents[1]
    installed = package / "demo"
    return installed if installed.is_dir() else package.parent / FOLDER


def _refuse_existing(root: Path) -> None:
    for name in (FOLDER, f"{FOLDER}/data", ".gitignore", SETTINGS):
        try:
            resolve_inside(root, root / name)
        except CannotRead as error:
            # What is written through a link would be written somewhere else.
            raise FtctlError(f"{root / name}: {error.message}", "Remove the link.") from None
    found = sorted((root / FOLDER).glob("*.yaml"))
    if found:
        message = f"{root / FOLDER} has specs already: {found[0].name}"
        raise FtctlError(message, "Choose another folder, or go on with `ftctl plan`.")


def _ignore(root: Path) -> list[str]:
    path = root / ".gitignore"
    # As bytes: the names in it need not be UTF-8.
    present = path.read_bytes() if path.exists() else b""
    if b".ftctl/" in present.split():
        return []
    if present and not present.endswith(b"\n"):
        present += b"\n"
    write_atomic(path, present + _IGNORED.encode())
    return [".gitignore"]
