"""From the `data` section of a spec to a dataset on the disk, built once for the same inputs.

The only door of this package. In: the section, and where things are. Out: a `Dataset` whose files
are canonical JSONL, or `InvalidInput` with every problem. Nothing outside the cache is written.
"""

from dataclasses import dataclass, fields
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from unicodedata import unidata_version

from backends.contract.inspector import ExampleInspector, Json
from backends.contract.methods import SUPERVISED
from controller.canonical import digest
from controller.data.cache import Manifest, get_or_build
from controller.data.cache_gc import collect_garbage_daily
from controller.data.pipeline.build_request import REASONS, BuildRequest, BuildResult
from controller.data.recipes import NEWEST
from controller.data.report import Report, SourceReport, SplitName, StepReport
from controller.data.resolve_sources import (
    DataPaths,
    ResolvedFile,
    find_sources,
    redetect_encodings,
)
from controller.data.storage.hashing_writer import WrittenFile
from controller.data.transforms.normalise import VERSION
from controller.data.verified_datasets import sources_of
from controller.errors import InvalidInput
from controller.spec.data import Data, Fraction, Source

_DECIDE_NOTHING = {"path", "url", "hub", "connection", "license", "sensitivity"}
"""Keys of a source that do not decide what its rows become; `sql` goes by its snapshot."""

_PERSONAL = ("detect-secrets", "phonenumbers", "python-stdnum")
_NEAR = ("rensa",)
_MARKUP = ("selectolax",)
_PAGES = ("jusText", "lxml", "trafilatura")


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
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

    train: Split
    held_out: Split
    report: Report
    recipe_matters: bool = False
    """True if an older recipe would have made other examples of the same rows."""


def build_dataset(  # noqa: PLR0913 - all but two have defaults, and are named
    data: Data,
    *,
    file: str,
    folder: Path,
    places: DataPaths,
    inspector: ExampleInspector | None = None,
    method: str = SUPERVISED.name,
    recipe: int = NEWEST,
) -> Dataset:
    """Return the dataset that a `data` section describes.

    Args:
        data: The section.
        file: The spec, as shown in errors.
        folder: The spec's folder, which paths start from.
        places: Paths of the repository and its caches.
        inspector: Checks what the trainer accepts, and counts tokens for `max_tokens`.
        method: The spec's method; it decides what an example is.
        recipe: Version of what a row becomes; see `recipes`.

    Raises:
        InvalidInput: With every problem of the sources, or too few examples.
        DataNotRead: A source cannot be read on this machine, and there is no other problem.
    """
    # Before the sources are found: what was found must stay until it is read.
    collect_garbage_daily(places.cache)
    request = BuildRequest(data=data, file=file, method=method, inspector=inspector, recipe=recipe)
    question, known = None, None
    if places.unchanged is not None:
        question = places.unchanged.question(data, folder, _decisive(request))
        known = places.unchanged.find(question) if question is not None else None
    if known is not None:
        sources = sources_of(data)
        where, manifest = known
    else:
        given, where, manifest = _look_for(request, folder, places)
        sources = [one.source for one in given]
        if places.unchanged is not None and question is not None:
            stamps = [one.file.info.stamp for one in given]
            places.unchanged.remember(question, stamps, where, manifest)
    # Licences decide nothing that is built; what was built before may have had others.
    return _dataset(where, manifest, [source.license or data.license for source in sources])


def _look_for(
    request: BuildRequest, folder: Path, places: DataPaths
) -> tuple[list[ResolvedFile], Path, Manifest]:
    """Return the sources' files, and the folder and manifest of the dataset made from them."""
    given = find_sources(request.data, file=request.file, folder=folder, places=places)
    try:
        where, manifest = _get_or_build(request, given, places)
    except InvalidInput:
        if all(one.file.info.decoded for one in given):
            raise
        # It may be that lines cannot be read because they are in another encoding.
        again = redetect_encodings(given, places)
        if [one.file.info.encoding for one in again] == [one.file.info.encoding for one in given]:
            raise
        given = again
        where, manifest = _get_or_build(request, given, places)
    return given, where, manifest


def _get_or_build(
    request: BuildRequest, given: list[ResolvedFile], places: DataPaths
) -> tuple[Path, Manifest]:
    def build_into(empty: Path) -> Manifest:
        # Most datasets are found built; what builds them takes a tenth of a plan to import.
        return _manifest(import_module("controller.data.build").build(request, given, empty))

    return get_or_build(places.cache / "datasets", _key(request, given), build_into)


def _key(request: BuildRequest, given: list[ResolvedFile]) -> str:
    """Return the digest of everything that the dataset's files are made from."""
    sources: list[Json] = [
        {
            "part": one.part,
            # Files of one source share its limit and its sample.
            "field": one.field,
            # Not what the examples are, but what their origins say.
            "shown": one.file.display_path,
            "kind": one.file.format,
            "sha256": one.file.info.sha256,
            "encoding": one.file.info.encoding,
            "source": one.source.model_dump(exclude=_DECIDE_NOTHING),
        }
        for one in given
    ]
    data = request.data
    return digest(
        {
            "version": VERSION,
            "sources": sources,
            "held_out": data.held_out.model_dump() if isinstance(data.held_out, Fraction) else None,
            "system": data.system,
            "prepare": data.prepare.model_dump(),
            "packages": _versions(data, pages=any(one.file.format == "html" for one in given)),
            "encoder": None if request.inspector is None else request.inspector.identity,
            "method": request.method,
            "recipe": request.recipe,
        }
    )


def _decisive(request: BuildRequest) -> list[Json]:
    """Return what decides a dataset besides the `data` section and the bytes of its sources."""
    # Of no source is known here which format it has: one more version does no harm.
    return [
        VERSION,
        _versions(request.data, pages=any(_may_be_page(one) for one in sources_of(request.data))),
        None if request.inspector is None else request.inspector.identity,
        request.method,
        request.recipe,
    ]


def _may_be_page(source: Source) -> bool:
    return source.format == "html" or ".htm" in str(source.path).lower()


def _versions(data: Data, *, pages: bool) -> dict[str, Json]:
    """Return the versions of what a dataset's texts go through besides our own code.

    Another release of such a package may find other phone numbers, or another main text of a page:
    what was built with one must not be taken for what the other builds.
    """
    used = {
        *(_PERSONAL if data.prepare.pii != "off" else ()),
        *(_NEAR if data.prepare.deduplicate == "near" else ()),
        *(_MARKUP if data.prepare.strip_html else ()),
        *(_PAGES if pages else ()),
    }
    return {"unicode": unidata_version, **{package: _version(package) for package in sorted(used)}}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        # Whatever needs it says so.
        return ""


def _manifest(built: BuildResult) -> Manifest:
    return {
        "files": {name: _as_json(written) for name, written in built.files.items()},
        "tokens": None if built.tokens is None else dict[str, Json](built.tokens.items()),
        "sources": [_as_json(source) for source in built.sources],
        "features": list(built.features),
        "steps": [_as_json(step) for step in built.steps],
        "recipe_matters": built.recipe_matters,
    }


def _as_json(record: WrittenFile | SourceReport | StepReport) -> dict[str, Json]:
    """Return a record of plain values as a mapping; `asdict` takes ten times as long to copy it."""
    return {field.name: getattr(record, field.name) for field in fields(record)}


def _dataset(folder: Path, manifest: Manifest, licenses: list[str | None]) -> Dataset:
    # Our own file, whose digests were just found to fit: no need to doubt its types.
    files: Any = manifest["files"]
    tokens: Any = manifest["tokens"]
    sources: Any = manifest["sources"]
    features: Any = manifest["features"]
    steps: Any = manifest["steps"]

    def part(name: SplitName) -> Split:
        return Split(
            path=folder / f"{name}.jsonl",
            origins=folder / f"{name}.origins",
            digest=f"sha256:{files[f'{name}.jsonl']['sha256']}",
            examples=files[f"{name}.jsonl"]["lines"],
            tokens=None if tokens is None else tokens[name],
        )

    return Dataset(
        recipe_matters=bool(manifest["recipe_matters"]),
        train=part("train"),
        held_out=part("held_out"),
        report=Report(
            sources=tuple(
                SourceReport(**{**source, "license": license_})
                for source, license_ in zip(sources, licenses, strict=True)
            ),
            features=tuple(features),
            steps=tuple(
                StepReport(**{**step, "reasons": tuple(step["reasons"])}) for step in steps
            ),
            reasons=folder / REASONS,
        ),
    )
