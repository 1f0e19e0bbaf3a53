"""Write which versions of which packages, with their hashes, the workflows install: `make lock`.

`packages.txt` has every package once, pinned by version and hashes; `closures.json` has for each extra
the packages that it needs, for the core and for the build of ftctl itself too. uv resolves them.
"""

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
OUT = ROOT / ".github/actions/setup/locked"
LEFT_OUT = {"all", "dev", "gguf"}
"""Extras that no workflow needs."""
_REQUIREMENT = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;\\]+)", re.MULTILINE)


def closure(uv: str, *arguments: str, text: str | None = None) -> dict[str, str]:
    """Return the locked lines of one resolution, by package."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.txt"
        source = ROOT / "pyproject.toml"
        if text is not None:
            source = Path(folder) / "in.txt"
            source.write_text(text)
        options = ["--quiet", "--universal", "--generate-hashes", "--no-annotate", "--no-header"]
        constraints = ["--python-version", "3.11", "--constraint", str(ROOT / "constraints.txt")]
        command = [uv, "pip", "compile", *options, *constraints, *arguments, str(source)]
        subprocess.run([*command, "--output-file", str(out)], check=True, cwd=folder)
        blocks = re.split(r"\n(?=\S)", out.read_text().strip())
    found = {}
    for block in blocks:
        match = _REQUIREMENT.match(block)
        if match is None:
            sys.exit(f"not a pinned package: {block}")
        found[match["name"]] = block
    return found


def main(uv: str) -> None:
    """Resolve every extra and write both files."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = sorted({*project["project"]["optional-dependencies"]} - LEFT_OUT)
    closures = {"core": closure(uv)}
    build = "\n".join(project["build-system"]["requires"])
    closures["build"] = closure(uv, text=build)
    for extra in extras:
        closures[extra] = closure(uv, "--extra", extra)
    packages: dict[str, str] = {}
    for name, found in closures.items():
        for package, block in found.items():
            # One version everywhere; a marker may differ, and the wider one wins: none.
            known = packages.setdefault(package, block)
            pins = {one.split()[0] for one in (known, block)}
            if len(pins) > 1:
                sys.exit(f"{name}: {package} has more than one version: {pins}")
            if ";" not in block.split("\\")[0]:
                packages[package] = block
    OUT.mkdir(exist_ok=True)
    text = "\n".join(packages[name] for name in sorted(packages))
    (OUT / "packages.txt").write_text(f"{text}\n")
    names = {name: sorted(found) for name, found in closures.items()}
    (OUT / "closures.json").write_text(json.dumps(names, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(str(Path(sys.argv[1]).absolute()))
