"""Commands that add packages to this ftctl, written for the way it was installed.

An installer records in `direct_url.json` (PEP 610) which folder, repository or file a package came
from. The record is absent if the package came from an index.
"""

import json
import re
import shlex
import shutil
import sys
from importlib.metadata import PackageNotFoundError, distribution, requires
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

_NAME = "ftctl"
_REQUIREMENT = re.compile(r"(?P<name>[\w.-]++)[^;]*; extra == '(?P<extra>\w+)'")
"""A requirement of an extra, in the metadata of an installed package."""


def packages_of(extra: str) -> list[str]:
    """Return the names of the packages that an extra of ftctl needs."""
    found = (_REQUIREMENT.fullmatch(line) for line in requires(_NAME) or [])
    return [one["name"] for one in found if one is not None and one["extra"] == extra]


def install_command(extra: str) -> str:
    """Return the command that adds an extra to this ftctl: `pip install 'ftctl[local]'`."""
    try:
        record = distribution(_NAME).read_text("direct_url.json")
    except PackageNotFoundError:
        record = None
    return f"{_installer()} {requirement(record, extra)}"


def package_command(package: str) -> str:
    """Return the command that installs another package for this Python: `pip install s3fs`."""
    return f"{_installer()} {shlex.quote(package)}"


def requirement(record: str | None, extra: str) -> str:
    """Return what a shell passes to pip to get an extra from where ftctl came from.

    Args:
        record: Content of `direct_url.json`; None if ftctl came from an index.
        extra: Name of the extra: `local`.
    """
    wanted = f"{_NAME}[{extra}]"
    origin = json.loads(record) if record else {}
    url = origin.get("url", "")
    if "dir_info" in origin:
        folder = unquote(urlsplit(url).path)
        option = "-e " if origin["dir_info"].get("editable") else ""
        return option + shlex.quote(f"{folder}[{extra}]")
    if "vcs_info" in origin:
        revision = origin["vcs_info"].get("requested_revision")
        url = f"{origin['vcs_info']['vcs']}+{url}" + (f"@{revision}" if revision else "")
    if "subdirectory" in origin:
        url += f"#subdirectory={origin['subdirectory']}"
    return shlex.quote(f"{wanted} @ {url}" if url else wanted)


def _installer() -> str:
    """Return the start of a command that installs for this Python.

    The bare word `pip` may mean another Python; an environment that uv made has no pip.
    """
    python = Path(sys.executable)
    found = shutil.which("pip")
    if found is not None and Path(found).parent == python.parent:
        return "pip install"
    if find_spec("pip") is None and shutil.which("uv") is not None:
        return f"uv pip install --python {shlex.quote(str(python))}"
    return f"{shlex.quote(str(python))} -m pip install"
