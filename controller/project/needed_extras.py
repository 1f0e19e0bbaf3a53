"""Extras whose packages a repository needs, read from its specs, settings and lockfile. Pure.

A CI machine installs these and no others: a repository that trains at a server needs no torch.
"""

from collections.abc import Iterable, Iterator

from backends.registry import LOCAL, OF_ENDPOINTS
from controller.lockfile.model import Lockfile
from controller.spec.asked import AskedModel
from controller.spec.data import Data, Source
from controller.spec.model import Spec
from controller.spec.settings import Settings

PLAN = "plan"
"""Extra with the packages by which a plan checks examples of a local model, without torch."""
_DATA_ENDINGS = (".parquet", ".xlsx", ".xls", ".ods", ".html", ".htm", ".arrow", ".zst")
_DATA_FORMATS = {"parquet", "excel", "html", "arrow"}


def needed_extras(
    specs: Iterable[Spec], settings: Settings, lockfile: Lockfile, *, plan: bool
) -> list[str]:
    """Return the names of the extras, sorted.

    Args:
        specs: The declared fine-tunes.
        settings: Settings of the repository.
        lockfile: Its records: an open job must be followed although its spec has changed.
        plan: True for an offline plan only: it reads files and trains nothing.
    """
    specs = list(specs)
    backends = {backend for spec in specs for backend in _backends(spec)} | set(_recorded(lockfile))
    needed = {extra for spec in specs for extra in _of_data(spec.data, plan=plan)}
    if LOCAL in backends:
        needed.add(PLAN if plan else "local")
    if OF_ENDPOINTS in backends:
        needed.add("openai")
    if not plan:
        needed |= {"evaluate"} if specs or backends else set()
        needed |= {"quantization"} if any(map(_is_quantized, specs)) else set()
        needed |= {name for name, value in settings.tracking if value is not None}
        needed |= {"store"} if settings.store is not None else set()
    elif any(_checks_schemas(spec) for spec in specs):
        needed.add("evaluate")
    return sorted(needed)


def _backends(spec: Spec) -> Iterator[str]:
    """Yield every backend that a spec names: of training, of judges and of rivals."""
    yield spec.backend
    asked = [*spec.evaluation.compare_to, *(one.settings for one in spec.evaluation.metrics)]
    for model in asked:
        if isinstance(model, AskedModel):
            yield _name(model.place(spec.backend))


def _recorded(lockfile: Lockfile) -> Iterator[str]:
    """Yield the backend of every open job, and of every build that may answer or be observed."""
    for entry in lockfile.finetunes.values():
        if entry.job is not None:
            yield _name(entry.job.backend)
        for build in (entry.production, entry.candidate):
            if build in entry.builds:
                yield _name(entry.builds[build].backend)


def _name(place: str) -> str:
    """Return the backend of a place: `openai` of `openai@eu`."""
    return place.partition("@")[0]


def _of_data(data: Data, *, plan: bool) -> Iterator[str]:
    prepare = data.prepare
    if prepare.strip_html or prepare.deduplicate == "near" or prepare.pii != "off":
        yield "data"
    for source in data.sources:
        if _reads_with_data(source):
            yield "data"
        if not plan and source.sql is not None:
            yield "sql"
        if not plan and source.hub is not None:
            yield "hub"
        if not plan and source.url is not None:
            yield "data"


def _reads_with_data(source: Source) -> bool:
    """Return whether a file needs the readers of the extra; a glob or a folder may hide one."""
    if source.path is None:
        return False
    path = source.path.lower()
    last = path.rpartition("/")[2]
    hidden = source.format is None and ("*" in last.rpartition(".")[2] or "." not in last)
    return source.format in _DATA_FORMATS or path.endswith(_DATA_ENDINGS) or hidden


def _is_quantized(spec: Spec) -> bool:
    values = spec.hyperparameters
    return "quantization" in values or "8bit" in str(values.get("optim", ""))


def _checks_schemas(spec: Spec) -> bool:
    """Return whether a metric of the spec checks JSON Schemas, which a plan compiles."""
    return any(one.metric.name in {"json_schema", "promptfoo"} for one in spec.evaluation.metrics)
