"""From the `data` section of a spec to a dataset on the disk, built once for equal inputs.

The only door of this package. In: the section and paths. Out: a `Dataset` whose files are canonical
JSONL, or `InvalidInput` with every problem. Nothing outside the cache is written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from controller.data.pipeline.build_request import REASONS, BuildRequest
from controller.data.recipes import NEWEST
from controller.data.report import Report, SourceReport, StepReport
from controller.data.resolve_sources import DataPaths, find_sources, redetect_encodings
from controller.data.sources.source_file import SourceFile
from controller.data.transforms.normalise import VERSION
from controller.errors import InvalidInput
from controller.spec.data import Data, Prepare, Source, SplitName

_WITHOUT_EFFECT = {"path", "url", "hub", "connection", "license", "sensitivity"}
"""Keys of a source that do not decide what its rows become; `sql` is decided by its snapshot."""

_PII_PACKAGES = ("detect-secrets", "phonenumbers", "python-stdnum")
_NEAR_PACKAGES = ("rensa",)
_HTML_PACKAGES = ("selectolax",)
_PAGE_PACKAGES = ("jusText", "lxml", "trafilatura")


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The train or the held-out split."""

    path: Path
    """Canonical JSONL, one example per line: `{"messages":[…],"tools":[…]}`."""
    origins: Path
    """One `file:line` for each example, the file relative to the repository."""
    digest: str
    """`sha256:…` of the canonical bytes."""
    examples: int
    tokens: int | None
    """Tokens of all examples; None if they were not counted."""
    columns: Path | None = None
    """A JSON object for each example, with the values of its row's wanted columns as text; a column
    that the row does not have is absent. None if no column is wanted, and for the train split."""
    column_digests: Mapping[str, str] = field(default_factory=dict, hash=False)
    """`sha256:…` of the values of each wanted column."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Both splits of a built dataset, and the report of the build."""

    train: Split
    held_out: Split
    report: Report
    recipe_matters: bool = False
    """True if an older recipe would have made other examples of the same rows."""

    @property
    def splits(self) -> dict[SplitName, Split]:
        """Both splits by name."""
        return {"train": self.train, "held_out": self.held_out}


def build_dataset(  # noqa: PLR0913 - all but two have defaults, and are named
    data: Data,
    *,
    file: str,
    folder: Path,
    paths: DataPaths,
    inspector: ExampleInspector | None = None,
    method: str = SUPERVISED.name,
    recipe: int = NEWEST,
    columns: Mapping[str, str] | None = None,
) -> Dataset:
    """Return the dataset that a `data` section describes.

    Args:
        data: The section.
        file: The spec, as shown in errors.
        folder: The spec's folder, which paths start from.
        paths: Paths of the repository and its caches.
        inspector: Checks what the trainer accepts, and counts tokens for `max_tokens`.
        method: The spec's method, which decides the form of an example.
        recipe: Version of the conversion from row to example; see `recipes`.
        columns: Columns whose values travel beside the held-out examples, each with the field of
            the spec that names it: `{"meta.lang": "evaluation.slices[0]"}`. They change no example.

    Raises:
        InvalidInput: With every problem of the sources, or too few examples.
        DataNotRead: A source cannot be read on this machine, and there is no other problem.
    """
    # Before the sources are found: what was found must stay until it is read.
    collect_garbage_daily(paths.cache)
    request = BuildRequest(
        data=data,
        file=file,
        method=method,
        inspector=inspector,
        recipe=recipe,
        columns=columns or {},
    )
    query, known = None, None
    if paths.verified is not None:
        query = paths.verified.query(data, folder, _decisive(request))
        known = paths.verified.find(query) if query is not None else None
    if known is not None:
        sources = data.sources
        built, manifest = known
    else:
        files, built, manifest = _find_or_build(request, folder, paths)
        sources = [file.source for file in files]
        if paths.verified is not None and query is not None:
            stamps = [file.info.stamp for file in files]
            paths.verified.remember(query, stamps, built, manifest)
    # Licences are not part of the cache key, so take them from the spec.
    return _dataset(built, manifest, [source.license or data.license for source in sources])


def build_retained(
    source: Source, *, field: str, file: str, folder: Path, paths: DataPaths
) -> Split:
    """Return the examples of a source that models only answer, every one as it is written.

    Args:
        source: The source.
        field: The source's field in the spec, as shown in errors.
        file: The spec, as shown in errors.
        folder: The spec's folder, which paths start from.
        paths: Paths of the repository and its caches.

    Raises:
        InvalidInput: With every problem of the source.
        DataNotRead: The source cannot be read on this machine, and there is no other problem.
    """
    data = Data(train=[source], held_out=[], prepare=Prepare(deduplicate="off"))
    request = BuildRequest(
        data=data, file=file, method=SUPERVISED.name, inspector=None, trains=False
    )
    try:
        _, built, manifest = _find_or_build(request, folder, paths)
    except InvalidInput as error:
        named = (
            replace(one, field=one.field.replace("data.train[0]", field, 1))
            for one in error.problems
        )
        raise type(error)(list(named)) from None
    return split_of(built, manifest, "train")


def _find_or_build(
    request: BuildRequest, folder: Path, paths: DataPaths
) -> tuple[list[SourceFile], Path, Manifest]:
    """Return the sources' files, and the folder and manifest of the dataset made from them."""
    files = find_sources(request.data, file=request.file, folder=folder, paths=paths)
    built = _get_or_build(request, files, paths)
    while built is None:
        # Only the beginning of a file was decoded, and a later line is not UTF-8.
        files = redetect_encodings(files, paths)
        built = _get_or_build(request, files, paths)
    return files, *built


def _get_or_build(
    request: BuildRequest, files: Sequence[SourceFile], paths: DataPaths
) -> tuple[Path, Manifest] | None:
    def build_into(empty: Path) -> Manifest | None:
        # Most datasets are in the cache; importing the builder takes a tenth of a plan.
        manifest: Manifest | None = import_module("controller.data.build").build(
            request, files, empty
        )
        return manifest

    kind = "datasets" if request.trains else "retained"
    return get_or_build(paths.cache / kind, _key(request, files), build_into)


def _key(request: BuildRequest, files: Sequence[SourceFile]) -> str:
    """Return the digest of everything that the dataset's files are made from."""
    sources: list[Json] = [
        {
            "part": file.split,
            # Files of one source share its limit and its sample.
            "field": file.field,
            # Part of the origins, not of the examples.
            "shown": file.display_path,
            "kind": file.format,
            "sha256": file.info.sha256,
            "encoding": file.info.encoding,
            "source": file.source.model_dump(exclude=_WITHOUT_EFFECT),
        }
        for file in files
    ]
    data = request.data
    return digest(
        {
            **_wanted(request),
            "version": VERSION,
            "sources": sources,
            "held_out": None if data.fraction is None else data.fraction.model_dump(),
            "system": data.system,
            "prepare": data.prepare.model_dump(),
            "packages": _versions(data, pages=any(file.format == "html" for file in files)),
            "encoder": None if request.inspector is None else request.inspector.identity,
            "method": request.method,
            "recipe": request.recipe,
        }
    )


def _wanted(request: BuildRequest) -> dict[str, Json]:
    """Return the wanted columns; nothing without any, so that older keys stay as they are."""
    return {"columns": sorted(request.columns)} if request.columns else {}


def _decisive(request: BuildRequest) -> list[Json]:
    """Return what decides a dataset besides the `data` section and the bytes of its sources."""
    # The formats of the sources are not known here; one more version does no harm.
    pages = any(map(_may_be_page, request.data.sources))
    return [
        VERSION,
        _versions(request.data, pages=pages),
        None if request.inspector is None else request.inspector.identity,
        request.method,
        request.recipe,
        *_wanted(request).values(),
    ]


def _may_be_page(source: Source) -> bool:
    return source.format == "html" or ".htm" in str(source.path).lower()


def _versions(data: Data, *, pages: bool) -> dict[str, Json]:
    """Return the versions of all packages that texts pass through.

    Another release may find other phone numbers, or another main text of a page: a dataset built
    with one must not be used for the other.
    """
    used = {
        *(_PII_PACKAGES if data.prepare.pii != "off" else ()),
        *(_NEAR_PACKAGES if data.prepare.deduplicate == "near" else ()),
        *(_HTML_PACKAGES if data.prepare.strip_html else ()),
        *(_PAGE_PACKAGES if pages else ()),
    }
    return {"unicode": unidata_version, **{package: _version(package) for package in sorted(used)}}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        # The module that needs it reports that.
        return ""


def split_of(folder: Path, manifest: Manifest, name: SplitName) -> Split:
    """Return a split of the dataset in a folder.

    Raises:
        KeyError: The manifest is of another release.
        TypeError: The manifest is of another release.
    """
    files: Any = manifest["files"]
    tokens: Any = manifest["tokens"]
    columns: Any = manifest.get("columns") if name == "held_out" else None
    return Split(
        path=folder / f"{name}.jsonl",
        origins=folder / f"{name}.origins",
        digest=f"sha256:{files[f'{name}.jsonl']['sha256']}",
        examples=files[f"{name}.jsonl"]["lines"],
        tokens=None if tokens is None else tokens[name],
        columns=None if columns is None else folder / f"{name}.columns",
        column_digests=columns or {},
    )


def _dataset(folder: Path, manifest: Manifest, licenses: list[str | None]) -> Dataset:
    # Our own file, whose digests fit: its types need no check.
    sources: Any = manifest["sources"]
    features: Any = manifest["features"]
    steps: Any = manifest["steps"]
    return Dataset(
        recipe_matters=bool(manifest["recipe_matters"]),
        train=split_of(folder, manifest, "train"),
        held_out=split_of(folder, manifest, "held_out"),
        report=Report(
            sources=tuple(
                SourceReport.from_json(source, license_)
                for source, license_ in zip(sources, licenses, strict=True)
            ),
            features=tuple(features),
            steps=tuple(
                StepReport(**{**step, "reasons": tuple(step["reasons"])}) for step in steps
            ),
            reasons=folder / REASONS,
        ),
    )
