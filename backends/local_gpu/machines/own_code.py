"""This ftctl's own code, for machines that have only the packages that it needs.

Of a shared folder, the code is unpacked there under its digest, and Python imports it from there. To
other machines it goes as a zip file with the job.
"""

import hashlib
import secrets
import shutil
import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Final

from backends.atomic_files import publish_dir
from backends.contract.jobs import Machine

_PACKAGES: Final = ("backends", "controller")
_ROOT: Final = Path(__file__).parent.parent.parent.parent
_METADATA: Final = "METADATA"
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""Time of every file in the zip: equal code makes equal files."""


def code_folder(machine: Machine, state: Path, environment: dict[str, str]) -> Path | None:
    """Make this ftctl's code ready for a machine.

    Args:
        machine: The machine.
        state: Folder of this machine for the zip file.
        environment: Variables of the job; gets the place of the code in a shared folder.

    Returns:
        The zip file that goes with the job; None where the code is in the shared folder.

    Raises:
        OSError: A folder cannot be written.
    """
    files = dict(_files())
    digest = hashlib.sha256()
    for name, data in sorted(files.items()):
        digest.update(f"{name} {len(data)}\n".encode())
        digest.update(data)
    code = digest.hexdigest()[:16]
    if "://" not in machine.runs:
        folder = Path(machine.runs) / "code" / code
        if not folder.exists():
            _unpack(files, folder)
        environment["PYTHONPATH"] = str(folder)
        return None
    archive = state / "code" / f"{code}.zip"
    if not archive.exists():
        _pack(files, archive)
    return archive


def _files() -> Iterator[tuple[str, bytes]]:
    """Yield the files of this ftctl, and its metadata, as an installed package has them."""
    for package in _PACKAGES:
        for path in (_ROOT / package).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path.relative_to(_ROOT).as_posix(), path.read_bytes()
    found = distribution("ftctl")
    for name in (_METADATA, "entry_points.txt"):
        text = found.read_text(name)
        if text is not None:
            yield f"ftctl-{found.version}.dist-info/{name}", text.encode()


def _unpack(files: dict[str, bytes], folder: Path) -> None:
    partial = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}")
    for name, data in files.items():
        path = partial / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    try:
        publish_dir(partial, folder)
    except OSError:
        # Another process may have unpacked the same in the meantime.
        shutil.rmtree(partial, ignore_errors=True)
        if not folder.exists():
            raise


def _pack(files: dict[str, bytes], archive: Path) -> None:
    archive.parent.mkdir(parents=True, exist_ok=True)
    partial = archive.with_suffix(".partial")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in sorted(files.items()):
            packed.writestr(zipfile.ZipInfo(name, _EPOCH), data)
    partial.replace(archive)
