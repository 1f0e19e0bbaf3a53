"""`ftctl status`."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import click

from backends.contract.inspector import Json
from backends.pydantic_errors import InvalidValue
from controller.cli.aliases import declared_aliases
from controller.cli.common import (
    Seen,
    json_option,
    observe_recorded,
    print_json,
    project_of,
    wants_json,
)
from controller.cli.running import findings_of_running
from controller.errors import ExitCode, FtctlError, InvalidInput
from controller.evaluate.curves.files import findings_of_build, read_curve
from controller.evaluate.curves.findings import WORDS, Finding
from controller.lockfile.model import Entry, Lockfile
from controller.lockfile.store import read_lockfile
from controller.plan.desired import Shutdown
from controller.plan.observed import absent_in_production
from controller.project.project import Project
from controller.render.filters import LABELS, Facts, Filter, parse_filter
from controller.render.status import (
    STATES,
    Aliases,
    Findings,
    alias_table,
    shown_build,
    state_words,
    status_json,
    status_text,
)
from controller.render.text import escape_control
from controller.resolve.answers import OpenBackend
from controller.run.backends import backends_of, recorded_backends
from controller.run.shutdowns import Ends, Subject, find_ends, production_subject
from controller.run.store.absent import find_absent
from controller.spec.load import LoadedSpec, read_specs, spec_names
from controller.spec.settings import load_settings


@click.command("status")
@click.option(
    "--label", "labels", metavar="KEY=VALUE", multiple=True, help="Only specs with this label."
)
@click.option(
    "--where",
    "conditions",
    metavar="CONDITION",
    multiple=True,
    help="Only fine-tunes that meet it, such as 'days_left < 30'; repeat it for several.",
)
@click.option(
    "--expiring",
    metavar="DAYS",
    type=click.IntRange(min=1),
    help="Only models in production with fewer days left; exit 9 if there is one.",
)
@click.option("--offline", is_flag=True, help="Ask no server for dates: what is recorded counts.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    *,
    labels: tuple[str, ...],
    conditions: tuple[str, ...],
    expiring: int | None,
    offline: bool,
) -> int:
    """Show every fine-tune: its state, the model in production, its days left, its scores.

    Days left are from `shutdown_date` of the service, else from what is recorded and from a table
    of ftctl; the source is shown. Names in --where: days_left, state, backend, name, owner,
    labels.KEY.
    """
    project = replace(project_of(ctx), offline=offline)
    lockfile = read_lockfile(project.root, project.records)
    specs, problems = read_specs(project.root, project.state / "specs.json")
    filters = _filters(conditions, specs)
    names = _labelled(specs, labels) if labels else {*spec_names(project.root), *lockfile.finetunes}
    lockfile = _only(lockfile, names)
    status = _look(project, lockfile, specs, names)
    if any(one.name == "owner" or one.name.startswith(LABELS) for one in filters):
        status = replace(status, unread=sorted(problems.keys() & names))
    kept = {name for name in names if _meets(name, status, filters)}
    if expiring is not None:
        kept &= status.expiring(expiring)
    if wants_json(ctx):
        print_json(status.json(kept))
    else:
        click.echo(status.text(kept, expiring))
    return ExitCode.DONE if expiring is None else _verdict(status, names, kept)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Status:
    """Everything that is shown of the fine-tunes of a repository."""

    lockfile: Lockfile
    specs: Mapping[str, LoadedSpec]
    declared: Collection[str]
    seen: Seen
    found: Ends
    findings: Findings
    aliases: Aliases
    absent: Mapping[str, str] = field(default_factory=dict)
    """Fine-tunes whose model in production is only at another machine, and what to do."""
    unread: Sequence[str] = ()
    """Fine-tunes whose owner and labels were asked for, and whose spec cannot be read."""

    @property
    def ends(self) -> dict[str, Shutdown]:
        """The end of each model in production, else of the base model."""
        return self.found.of_bases() | self.found.of_production()

    @property
    def unasked(self) -> dict[str, str]:
        """Places that were not asked for dates, and why, where that is not shown of their jobs."""
        silent = self.seen.unreachable
        return {place: why for place, why in self.found.unasked.items() if place not in silent}

    def expiring(self, days: int) -> set[str]:
        """Return the fine-tunes whose model in production has fewer days left."""
        ends = self.found.of_production()
        return {name for name, end in ends.items() if end.days_left < days}

    def unknown(self, names: Collection[str]) -> list[str]:
        """Return the fine-tunes whose days left could not be found out, because of a failure."""
        failed = {*self.unasked, *self.seen.unreachable} - self.found.without_key
        known = self.found.of_production()
        return [
            name
            for name in sorted(names)
            if name not in known
            and (subject := production_subject(name, self.entry(name))) is not None
            and (subject.place in failed or name in self.found.remarks)
        ]

    def entry(self, name: str) -> Entry:
        """Return what is recorded of a fine-tune."""
        return self.lockfile.finetunes.get(name, Entry())

    def facts(self, name: str) -> Facts:
        """Return what conditions are about."""
        entry, loaded = self.entry(name), self.specs.get(name)
        build, end = entry.builds.get(entry.production or ""), self.ends.get(name)
        place = build.backend if build else loaded.spec.place if loaded else None
        words = state_words(
            entry, self.seen.jobs, self.seen.unreachable, declared=name in self.declared
        )
        found = (WORDS[one.name] for one in self.findings.get(name, ()))
        labels = loaded.spec.labels if loaded else {}
        return {
            "name": (name,),
            "days_left": (end.days_left,) if end else (),
            "state": (*map(_without_progress, words), *found),
            "backend": (place, place.partition("@")[0]) if place else (),
            "owner": (loaded.spec.owner,) if loaded and loaded.spec.owner else (),
            **{LABELS + key: (value,) for key, value in labels.items()},
        }

    def json(self, names: Collection[str]) -> Json:
        """Return some fine-tunes for programs."""
        value = status_json(
            *self._shown(names),
            self.seen.jobs,
            self.seen.unreachable,
            self.ends,
            self.findings,
        )
        known = self._aliases(names)
        shown = cast(Mapping[str, Mapping[str, Json]], value["finetunes"])
        return {
            **value,
            "finetunes": {
                name: {**one, "aliases": list(known.get(name, ()))} for name, one in shown.items()
            },
            "dates_not_asked": self.unasked,
            "remarks": self._remarks(),
        }

    def text(self, names: Collection[str], expiring: int | None) -> str:
        """Return some fine-tunes for people."""
        shown = self._shown(names)
        seen = self.seen
        parts = [
            status_text(*shown, seen.jobs, seen.unreachable, self.ends, self.findings),
            *filter(None, [alias_table(self._aliases(names))]),
        ]
        if not names and (self.declared or self.lockfile.finetunes):
            parts = ["No fine-tune meets these conditions."]
            if expiring is not None:
                parts = [f"No model in production has fewer than {expiring:,} days left."]
        lines = [f"! {text}" for text in self._remarks()]
        lines += [f"Not asked for dates: {at}: {why}" for at, why in sorted(self.unasked.items())]
        return "\n\n".join([*parts, *filter(None, ["\n".join(map(escape_control, lines))])])

    def _shown(self, names: Collection[str]) -> tuple[Lockfile, list[str]]:
        return _only(self.lockfile, names), [name for name in self.declared if name in names]

    def _aliases(self, names: Collection[str]) -> Aliases:
        return {name: known for name, known in self.aliases.items() if name in names}

    def _remarks(self) -> list[str]:
        """Return what is wrong with dates, models and specs, whatever the conditions leave."""
        wrong = [f"{name}: {text}" for name, text in sorted(self.found.remarks.items())]
        unread = (
            f"{name}: its spec cannot be read, nor its owner and labels: ftctl validate"
            for name in self.unread
        )
        elsewhere = (f"{name}: {text}" for name, text in self.absent.items())
        return [*wrong, *elsewhere, *unread]


def _look(
    project: Project, lockfile: Lockfile, specs: Mapping[str, LoadedSpec], names: Collection[str]
) -> _Status:
    """Look at open jobs, curves and ends of models; a place without an answer stops no other."""
    seen = observe_recorded(project, lockfile)
    running = findings_of_running(project, lockfile, seen)
    open_recorded = recorded_backends(backends_of(project))
    found = find_ends(
        _subjects(lockfile, specs, names),
        open_recorded,
        offline=project.offline,
        silent=seen.unreachable,
    )
    return _Status(
        lockfile=lockfile,
        specs=specs,
        declared=[name for name in spec_names(project.root) if name in names],
        seen=seen,
        found=found,
        findings={
            name: running.get(name) or _of_build(project, entry)
            for name, entry in lockfile.finetunes.items()
        },
        aliases=declared_aliases(project),
        absent=_absent(project, lockfile, open_recorded),
    )


def _absent(project: Project, lockfile: Lockfile, open_backend: OpenBackend) -> dict[str, str]:
    """Return the fine-tunes whose model in production this machine cannot use."""
    try:
        has_store = load_settings(project.root).store is not None
    except InvalidInput:
        has_store = True  # nobody knows; other commands name the problem
    entries = lockfile.finetunes
    return absent_in_production(entries, find_absent(entries, open_backend, has_store=has_store))


def _of_build(project: Project, entry: Entry) -> tuple[Finding, ...]:
    build = shown_build(entry)
    return () if build is None else findings_of_build(build, read_curve(project.state, build))


def _subjects(
    lockfile: Lockfile, specs: Mapping[str, LoadedSpec], names: Collection[str]
) -> list[Subject]:
    """Return the model in production of each fine-tune, else the base model of its spec."""
    subjects = []
    for name in sorted(names):
        subject = production_subject(name, lockfile.finetunes.get(name, Entry()))
        if subject is None and name in specs:
            spec = specs[name].spec
            subject = Subject(
                name=name,
                place=spec.place,
                model=spec.base_name,
                base=spec.base_name,
                is_base=True,
            )
        if subject is not None:
            subjects.append(subject)
    return subjects


def _verdict(status: _Status, names: Collection[str], expiring: Collection[str]) -> ExitCode:
    """Return the exit code of `--expiring`.

    Raises:
        FtctlError: No model is known to end, but that could not be found out for each of them.
    """
    if expiring:
        return ExitCode.EXPIRING
    if unknown := status.unknown(names):
        raise FtctlError(
            f"when these models are switched off could not be found out: {', '.join(unknown)}",
            "Correct what is named above, or let what is recorded count: --offline",
        )
    return ExitCode.DONE


def _filters(conditions: Sequence[str], specs: Mapping[str, LoadedSpec]) -> list[Filter]:
    """Parse the conditions.

    Raises:
        FtctlError: One of them is wrong.
    """
    labels = sorted({key for loaded in specs.values() for key in loaded.spec.labels})
    try:
        return [parse_filter(text, labels, STATES) for text in conditions]
    except InvalidValue as error:
        raise FtctlError(f"--where: {error}", error.remedy) from None


def _meets(name: str, status: _Status, filters: Sequence[Filter]) -> bool:
    facts = status.facts(name) if filters else {}
    return all(one.holds(facts) for one in filters)


def _without_progress(word: str) -> str:
    return word.rsplit(" ", 2)[0] if word.endswith(" %") else word


def _only(lockfile: Lockfile, names: Collection[str]) -> Lockfile:
    kept = {name: entry for name, entry in lockfile.finetunes.items() if name in names}
    return Lockfile(finetunes=kept)


def _labelled(specs: Mapping[str, LoadedSpec], labels: Sequence[str]) -> set[str]:
    """Return the fine-tunes whose specs have every label."""
    wrong = [label for label in labels if "=" not in label]
    if wrong:
        raise FtctlError(f"{wrong[0]!r} is not a label", "Write KEY=VALUE: --label team=growth")
    wanted = [label.partition("=")[::2] for label in labels]
    return {
        name
        for name, loaded in specs.items()
        if all(loaded.spec.labels.get(key) == value for key, value in wanted)
    }
