"""From the `data` section of a spec to a dataset on the disk, built once for the same inputs.

The only door of this package. In: the section, and where things are. Out: a `Dataset` whose files
are canonical JSONL, or `InvalidInput` with every problem. Nothing outside the cache is written.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from backends.base import Json
from controller.canonical import digest
from controller.data.build import REASONS, Built, CountTokens, Given, build
from controller.data.cache import Manifest, get_or_build
from controller.data.files import SourceFile, find_file, look_at
from controller.data.prepare import VERSION
from controller.data.report import PartName, Report, SourceReport, StepReport
from controller.data.unusable import Unusable
from controller.errors import InvalidInput, Problem
from controller.spec.data import Data, Fraction, Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The train or the held-out half."""

    path: Path
    """Canonical JSONL, one example a line: `{"messages":[…],"tools":[…]}`."""
    origins: Path
    """One `file:line` for each example, the file relative to the repository."""
    digest: str
    """`sha256:…` of the canonical bytes."""
    examples: int
    tokens: int | None
    """Of all examples; None when nothing counted them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Built train and held-out sets."""

    train: Part
    held_out: Part
    report: Report


def build_dataset(  # noqa: PLR0913 - each of them is needed to find or to build
    data: Data,
    *,
    file: str,
    folder: Path,
    root: Path,
    cache: Path,
    count_tokens: CountTokens | None = None,
    counter_identity: str = "",
    method: str = "supervised",
) -> Dataset:
    """Return the dataset that a `data` section describes.

    Args:
        data: The section.
        file: The spec, as shown in errors.
        folder: The spec's folder, which paths start from.
        root: The repository, which paths may not leave.
        cache: Where datasets and what is known of files are kept.
        count_tokens: Counts the tokens of an example; given exactly when `max_tokens` is set.
        counter_identity: What the counter's answers depend on: the tokenizer and its template.
        method: The spec's method; it decides what an example is.

    Raises:
        InvalidInput: With every problem of the sources, or too few examples.
    """
    given, problems = _find(data, file=file, folder=folder, root=root, cache=cache)
    if problems:
        raise InvalidInput(problems)

    def build_into(empty: Path) -> Manifest:
        return _manifest(
            build(data, given, file=file, folder=empty, count_tokens=count_tokens, method=method)
        )

    key = _key(data, given, counter_identity, method)
    where, manifest = get_or_build(cache / "datasets", key, build_into)
    return _dataset(where, manifest)


def _find(
    data: Data, *, file: str, folder: Path, root: Path, cache: Path
) -> tuple[list[Given], list[Problem]]:
    given: list[Given] = []
    problems: list[Problem] = []
    for part, name, source in _sources(data):
        try:
            path, shown, kind = find_file(str(source.path), folder=folder, root=root)
        except Unusable as error:
            problems.append(
                Problem(file=file, field=f"{name}.path", message=error.message, remedy=error.remedy)
            )
            continue
        try:
            look = look_at(path, cache / "looks")
        except Unusable as error:
            problems.append(
                Problem(file=shown, line=error.line, message=error.message, remedy=error.remedy)
            )
        except OSError as error:
            problems.append(Problem(file=shown, message=f"cannot be read: {error.strerror}"))
        else:
            found = SourceFile(path=path, shown=shown, kind=kind, look=look)
            given.append(Given(part=part, field=name, source=source, file=found))
    return given, problems


def _sources(data: Data) -> list[tuple[PartName, str, Source]]:
    sources: list[tuple[PartName, str, Source]] = [
        ("train", f"data.train[{number}]", source) for number, source in enumerate(data.train)
    ]
    if not isinstance(data.held_out, Fraction):
        sources += [
            ("held_out", f"data.held_out[{number}]", source)
            for number, source in enumerate(data.held_out)
        ]
    return sources


def _key(data: Data, given: list[Given], counter_identity: str, method: str) -> str:
    """Return the digest of everything that the dataset's files are made from."""
    sources: list[Json] = [
        {
            "part": one.part,
            # Not what the examples are, but what their origins say.
            "shown": one.file.shown,
            "kind": one.file.kind,
            "sha256": one.file.look.sha256,
            "columns": None if one.source.columns is None else one.source.columns.model_dump(),
            "shape": one.source.shape,
            "limit": one.source.limit,
        }
        for one in given
    ]
    fraction = data.held_out if isinstance(data.held_out, Fraction) else None
    return digest(
        {
            "version": VERSION,
            "sources": sources,
            "fraction": None if fraction is None else fraction.model_dump(),
            "system": data.system,
            "prepare": data.prepare.model_dump(),
            "counter": counter_identity,
            "method": method,
        }
    )


def _manifest(built: Built) -> Manifest:
    return {
        "files": {name: asdict(written) for name, written in built.files.items()},
        "tokens": None if built.tokens is None else dict[str, Json](built.tokens.items()),
        "sources": [asdict(source) for source in built.sources],
        "steps": [asdict(step) for step in built.steps],
    }


def _dataset(folder: Path, manifest: Manifest) -> Dataset:
    # Our own file, whose digests were just found to fit: no need to doubt its types.
    files: Any = manifest["files"]
    tokens: Any = manifest["tokens"]
    sources: Any = manifest["sources"]
    steps: Any = manifest["steps"]

    def part(name: PartName) -> Part:
        return Part(
            path=folder / f"{name}.jsonl",
            origins=folder / f"{name}.origins",
            digest=f"sha256:{files[f'{name}.jsonl']['sha256']}",
            examples=files[f"{name}.jsonl"]["lines"],
            tokens=None if tokens is None else tokens[name],
        )

    return Dataset(
        train=part("train"),
        held_out=part("held_out"),
        report=Report(
            sources=tuple(SourceReport(**source) for source in sources),
            steps=tuple(
                StepReport(**{**step, "reasons": tuple(step["reasons"])}) for step in steps
            ),
            reasons=folder / REASONS,
        ),
    )
