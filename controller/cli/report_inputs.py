"""Inputs of `ftctl report` for one fine-tune."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from controller.cli.data.context import open_spec
from controller.cli.data.stats import summary_of
from controller.data.dataset import Split
from controller.data.report import SourceReport
from controller.errors import FtctlError, Problem
from controller.evaluate.curves.files import curve_path, findings_of_build, read_curve
from controller.evaluate.measure import evaluation_path_of, read_evaluation_file
from controller.lockfile.model import Build, DataFacts, Entry
from controller.project.project import Project
from controller.render.data import SPLIT_WORDS, unread_text
from controller.render.stats import StatsSummary
from controller.report.build import ReportInputs, shown_build
from controller.report.model import (
    CurvePointView,
    CurveView,
    DataView,
    LengthBin,
    SourceView,
    SplitView,
    StepView,
)
from controller.spec.data import SplitName
from controller.spec.load import LoadedSpec


def report_inputs(
    project: Project,
    name: str,
    entry: Entry,
    loaded: LoadedSpec | None,
    problems: Sequence[Problem],
) -> ReportInputs:
    """Read what a report is made from. What cannot be read here is named in the report.

    Args:
        project: The repository.
        name: The fine-tune.
        entry: The fine-tune's record in the lockfile.
        loaded: Its spec; None if there is none, or it has problems.
        problems: Problems of the spec.
    """
    build = shown_build(entry)
    data, note = _data(project, loaded, build) if loaded else (None, "")
    path = evaluation_path_of(project.state, build) if build else None
    has_lines = path is not None and path.is_file()
    return ReportInputs(
        name=name,
        entry=entry,
        spec=loaded.spec if loaded else None,
        file=loaded.file if loaded else problems[0].file if problems else None,
        document=_written(loaded),
        lines=(lambda: read_evaluation_file(path)) if path is not None and has_lines else None,
        lines_file=_shown(path, project) if path is not None else "",
        data=data,
        data_note=note,
        curve=read_curve_view(project.state, build) if build else None,
        notes=[f"The spec has problems, so it is not shown: {problems[0]}"] if problems else (),
    )


def _written(loaded: LoadedSpec | None) -> Mapping[str, Any]:
    value = loaded.document.value if loaded else None
    return value if isinstance(value, dict) else {}


def _shown(path: Path, project: Project) -> str:
    return str(path.relative_to(project.root) if path.is_relative_to(project.root) else path)


def _data(project: Project, loaded: LoadedSpec, build: Build | None) -> tuple[DataView | None, str]:
    """Return the data of a spec, or None and the reason in a sentence.

    Databases and servers are not asked: a report shows what was, at no cost.
    """
    try:
        context = open_spec(replace(project, offline=True), loaded)
        summary = summary_of(context, loaded.name)
    except FtctlError as error:
        return None, f"The data cannot be read here: {error.one_line}"
    notes = list(_notes(summary, build.data if build else None, context.dataset.splits))
    return _view(summary, notes), ""


def _view(summary: StatsSummary, notes: Sequence[str]) -> DataView:
    return DataView(
        splits=[
            SplitView(
                name=SPLIT_WORDS[name],
                examples=statistics.examples,
                characters=statistics.characters,
                **_lengths(summary, name),
            )
            for name, statistics in summary.statistics.items()
        ],
        sources=[_source(one) for one in summary.sources],
        steps=[
            StepView(
                name=one.name,
                kept=one.kept,
                dropped=one.dropped,
                changed=one.changed,
                noted=one.noted,
            )
            for one in summary.steps
        ],
        lengths=[
            LengthBin(
                low=one.low,
                high=one.high,
                train=one.counts.get("train", 0),
                held_out=one.counts.get("held_out", 0),
            )
            for one in summary.histogram
        ],
        notes=notes,
    )


def _lengths(summary: StatsSummary, name: SplitName) -> dict[str, int]:
    if summary.lengths is None:
        return {}
    found = summary.lengths[name]
    return {
        "tokens": found.total,
        "p50": found.p50,
        "p90": found.p90,
        "p99": found.p99,
        "longest": found.longest,
    }


def _source(one: SourceReport) -> SourceView:
    return SourceView(
        path=one.path,
        split=SPLIT_WORDS[one.split],
        rows=one.rows,
        dropped=one.dropped,
        examples=one.examples,
        licence=one.license,
    )


def _notes(
    summary: StatsSummary, recorded: DataFacts | None, splits: Mapping[SplitName, Split]
) -> Iterator[str]:
    if recorded is not None and (
        splits["train"].digest != recorded.train.digest
        or splits["held_out"].digest != recorded.held_out.digest
    ):
        yield (
            f"This is the data that the spec declares now. The build has other data: "
            f"{recorded.train.examples:,} examples, {recorded.held_out.examples:,} held out."
        )
    if summary.note:
        yield f"Tokens were not counted: {summary.note}"
    for name, statistics in summary.statistics.items():
        if statistics.contradicted:
            yield (
                f"{statistics.contradicted:,} questions of the {SPLIT_WORDS[name]} split have "
                f"different answers, in {statistics.contradicting:,} examples."
            )
    yield from unread_text(summary.sources).splitlines()


def read_curve_view(state: Path, build: Build) -> CurveView | None:
    """Return the kept losses of a build's training; None if none are kept on this machine."""
    points, path = read_curve(state, build), curve_path(state, build)
    if not points and path.exists():
        return CurveView(points=(), findings=[f"{path.name} is damaged, so no losses are shown."])
    if not points:
        return None
    return CurveView(
        points=[
            CurvePointView(
                step=point.step,
                train_loss=_finite(point.train_loss),
                held_out_loss=_finite(point.held_out_loss),
            )
            for point in points
        ],
        findings=[one.text for one in findings_of_build(build, points)],
    )


def _finite(loss: float | None) -> float | None:
    return loss if loss is not None and math.isfinite(loss) else None
