"""Ends of models: announced by their service, else recorded, else in the table of the backend.

Nothing depends on a service's answer: where it gives none, what is known here counts, and each end
names its source.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

from backends.contract.backend import Backend
from backends.contract.errors import CredentialsMissing, FtctlError, NoAnswer
from backends.contract.inspector import Json
from backends.contract.shutdowns import ShutdownNotice, is_day
from backends.excerpt import excerpt
from controller.dates import days_until
from controller.lockfile.model import Entry
from controller.plan.desired import Shutdown
from controller.resolve.answers import OpenBackend

_OFFLINE = "no server is asked with --offline"
Notices: TypeAlias = Mapping[str, ShutdownNotice]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A model whose end is wanted."""

    name: str
    """The fine-tune."""
    place: str
    model: str
    base: str
    recorded: Json = None
    """The end that was recorded with the model, unchecked."""
    recorded_on: str = ""
    """Day of the record."""
    is_base: bool = False

    @property
    def key(self) -> tuple[str, bool]:
        """The fine-tune, and whether this is its base model."""
        return self.name, self.is_base


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """Ends of models, and what could not be found out."""

    of: dict[tuple[str, bool], Shutdown] = field(default_factory=dict)
    """By fine-tune, and whether it is the base model's; absent where no end is announced."""
    unasked: dict[str, str] = field(default_factory=dict)
    """Places that were not asked or gave no answer, and why."""
    without_key: set[str] = field(default_factory=set)
    """The places among them for which no key is set here, or that were left out on purpose."""
    silent: set[str] = field(default_factory=set)
    """The places among them that gave no answer."""
    remarks: dict[str, str] = field(default_factory=dict)
    """By fine-tune: what a service or the lockfile gives in place of a date."""

    def of_production(self) -> dict[str, Shutdown]:
        """Return the ends of models in production, by fine-tune."""
        return {name: end for (name, is_base), end in self.of.items() if not is_base}

    def of_bases(self) -> dict[str, Shutdown]:
        """Return the ends of base models, by fine-tune."""
        return {name: end for (name, is_base), end in self.of.items() if is_base}


def production_subject(name: str, entry: Entry) -> Subject | None:
    """Return the model in production of a fine-tune; None without one."""
    build = entry.builds.get(entry.production or "")
    if build is None:
        return None
    return Subject(
        name=name,
        place=build.backend,
        # Without training, the base model is what the service may switch off.
        model=build.base_model if build.prompt is not None else build.model_id,
        base=build.base_model,
        recorded=build.facts.get("shutdown_date"),
        recorded_on=build.finished[:10],
    )


def find_ends(
    subjects: Iterable[Subject],
    open_backend: OpenBackend,
    *,
    offline: bool = False,
    silent: Collection[str] = (),
) -> Ends:
    """Find out when models are switched off; each place is asked once.

    Args:
        subjects: The models.
        open_backend: Opens a backend by its place.
        offline: Whether no server is asked.
        silent: Places that gave no answer just now, and are not asked again.
    """
    by_place: dict[str, list[Subject]] = {}
    for subject in subjects:
        by_place.setdefault(subject.place, []).append(subject)
    ends = Ends()
    for place, wanted in sorted(by_place.items()):
        models = {subject.model: subject.base for subject in wanted}
        live: Notices = {}
        shipped: Notices = {}
        try:
            backend = open_backend(place)
            shipped = backend.shipped_shutdowns(models)
            live = _ask(place, backend, models, ends, offline=offline, silent=silent)
        except FtctlError as error:
            ends.unasked[place] = error.one_line
            if isinstance(error, CredentialsMissing):
                ends.without_key.add(place)
            if isinstance(error, NoAnswer):
                ends.silent.add(place)
        for subject in wanted:
            _add(ends, subject, live.get(subject.model), shipped.get(subject.model))
    return ends


def _ask(
    place: str,
    backend: Backend,
    models: Mapping[str, str],
    ends: Ends,
    *,
    offline: bool,
    silent: Collection[str],
) -> Notices:
    can = backend.capabilities()
    if place in silent:
        return {}
    if offline and (can.remote or can.endpoints):
        ends.unasked[place] = _OFFLINE
        ends.without_key.add(place)
        return {}
    return backend.announced_shutdowns(models)


def _add(
    ends: Ends, subject: Subject, live: ShutdownNotice | None, shipped: ShutdownNotice | None
) -> None:
    """Add the end of one model: what its service says counts, else the earliest day known here."""
    end = partial(Shutdown, model=subject.model, is_base=subject.is_base)
    wrong = [f"{live.source} is {live.wrong}"] if live is not None and live.wrong else []
    known: list[tuple[str, str]] = []
    if is_day(subject.recorded):
        source = f"recorded on {subject.recorded_on} with the model"
        known.append((str(subject.recorded), source))
    elif subject.recorded is not None:
        wrong.append(f"the recorded shutdown_date is {excerpt(str(subject.recorded))}")
    if shipped is not None and shipped.date is not None:
        known.append((shipped.date, shipped.source))
    if live is not None and live.date is not None:
        day, source = live.date, live.source
    else:
        day, source = min(known, key=lambda one: one[0], default=("", ""))
    if live is not None and live.gone:
        left = min(0, days_until(day)) if day else 0
        ends.of[subject.key] = end(date=day or None, days_left=left, source=live.source, gone=True)
    elif day:
        ends.of[subject.key] = end(date=day, days_left=days_until(day), source=source)
    if wrong:
        ends.remarks[subject.name] = f"{'; '.join(wrong)}, which is not a day YYYY-MM-DD"
