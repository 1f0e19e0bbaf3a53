"""`ftctl show`."""

from collections.abc import Sequence
from itertools import chain, islice
from textwrap import wrap
from typing import Any

import click

from backends.contract.inspector import Json
from backends.contract.jobs import CurvePoint
from backends.contract.methods import METHODS
from controller.cli.aliases import declared_aliases
from controller.cli.common import backend_for, json_option, print_json, recorded_of, wants_json
from controller.errors import FtctlError
from controller.evaluate.curves.files import findings_of_build, keep_curve, read_curve
from controller.evaluate.curves.points import curve_json
from controller.evaluate.measure import evaluation_path_of, read_evaluation_file
from controller.lockfile.model import Build, Entry, dump_entry
from controller.plan.fingerprint import short_id
from controller.plan.prompted_rivals import as_good
from controller.project.project import Project
from controller.render.curve import curve_summary, finding_line
from controller.render.curve_plot import curve_plot
from controller.render.status import about_text, build_text, notes_text, shown_build
from controller.render.text import escape_control
from controller.spec.load import LoadedSpec, read_specs
from controller.state_folder import refused_by_system

_WIDTH = 79
_UNKNOWN = "not known: {place} reports none for this job"
_UNTRAINED = "not known: nothing was trained"


@click.command("show")
@click.argument("name")
@click.option(
    "--answers",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    help="Held-out answers to show.",
)
@click.option("--plot", is_flag=True, help="Draw the losses of the newest build, and nothing else.")
@click.option("--thinking", is_flag=True, help="Show what models wrote before their answers.")
@json_option
@click.pass_context
def command(ctx: click.Context, name: str, *, answers: int, plot: bool, thinking: bool) -> None:
    """Show one fine-tune in full: its builds, their scores, answers side by side."""
    project, name, entry = recorded_of(ctx, name)
    build = shown_build(entry)
    points, why = _curve(project, build) if build is not None else ([], "")
    if wants_json(ctx):
        as_json = _as_json(project, entry, {} if build is None else {build.fingerprint: points})
        notes = _notes(build, read_specs(project.root)[0].get(name))
        print_json(
            as_json | {"aliases": [*declared_aliases(project).get(name, ())], "notes": notes}
        )
    elif plot:
        click.echo(_plotted(name, build, points, why))
    else:
        kept = _answers(project, build, answers)
        specs, _ = read_specs(project.root)
        about = about_text(specs[name].spec) if name in specs else ""
        curves = {
            one.fingerprint: _curve_lines(
                one, *((points, why) if one is build else (read_curve(project.state, one), ""))
            )
            for one in entry.builds.values()
        }
        text = build_text(name, entry, kept, about=about, curves=curves, thinking=thinking)
        paragraphs = notes_text(_notes(build, specs.get(name)))
        text = "\n\n".join(filter(None, [text, paragraphs]))
        click.echo(text)


def _notes(build: Build | None, loaded: LoadedSpec | None) -> list[str]:
    """Return that no training is needed, for each model that shows it."""
    if build is None or build.evaluation is None or loaded is None:
        return []
    return list(as_good(loaded.spec, build.evaluation))


def _curve(project: Project, build: Build) -> tuple[list[CurvePoint], str]:
    """Return the curve of a build, asked for where it is not kept; and why it is not known."""
    if build.prompt is not None:
        return [], _UNTRAINED
    points = read_curve(project.state, build)
    if points:
        return points, ""
    try:
        points = keep_curve(backend_for(project, build.backend), project.state, build)
    except FtctlError as error:
        return [], f"not read: {error.one_line}"
    except OSError as error:
        return [], f"not kept: {refused_by_system(error, project.state).one_line}"
    return points, "" if points else _UNKNOWN.format(place=build.backend)


def _curve_lines(build: Build, points: list[CurvePoint], why: str) -> list[str]:
    if build.prompt is not None:
        return []
    if not points:
        return [f"losses      {escape_control(why)}"] if why else []
    found = map(finding_line, findings_of_build(build, points))
    return [f"losses      {curve_summary(points)}", *found]


def _plotted(name: str, build: Build | None, points: list[CurvePoint], why: str) -> str:
    """Return the drawn curve of a build with its findings.

    Raises:
        FtctlError: There is no build, or its losses are not known.
    """
    if build is None:
        raise FtctlError(
            f"{name} has no model yet", "Type `ftctl apply`; `ftctl logs` shows a job."
        )
    method = METHODS.get(str(build.inputs.get("method")))
    of = "example" if method is not None and method.is_of_preferences else "token"
    drawing = curve_plot(f"{name}, build {short_id(build.fingerprint)}", points, of)
    if not drawing:
        raise FtctlError(f"{name}: the losses of its newest build are {why or 'not finite'}")
    lines = [
        wrap(line, _WIDTH, subsequent_indent="  ") for line in _curve_lines(build, points, why)
    ]
    return "\n".join([drawing, "", *chain.from_iterable(lines)])


def _as_json(project: Project, entry: Entry, asked: dict[str, list[CurvePoint]]) -> dict[str, Json]:
    """Return the entry as recorded, and under `curves` what is known of its builds' losses."""
    curves: dict[str, Json] = {}
    for key, build in entry.builds.items():
        points = asked.get(key) or read_curve(project.state, build)
        if points:
            found = [
                {"name": one.name, "text": one.text} for one in findings_of_build(build, points)
            ]
            curves[key] = {"findings": found, "points": curve_json(points)}
    recorded = dump_entry(entry)
    return {**(recorded if isinstance(recorded, dict) else {}), "curves": curves}


def _answers(project: Project, build: Build | None, count: int) -> Sequence[dict[str, Any]]:
    path = evaluation_path_of(project.state, build) if build else None
    if build is None or path is None or not path.exists() or not count:
        return []
    try:
        lines = list(islice(read_evaluation_file(path), count))
    except ValueError:
        message = f"{path}: is damaged: a line is not JSON"
        raise FtctlError(message, "Delete it: the scores are in the lockfile.") from None
    method = METHODS.get(str(build.inputs.get("method")))
    if not lines and not (method is not None and method.is_of_texts):
        message = f"{path}: is damaged: it is empty"
        raise FtctlError(message, "Delete it: the scores are in the lockfile.")
    return lines
