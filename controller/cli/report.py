"""`ftctl report`."""

from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal, TypeAlias

import click

from backends.atomic_files import write_atomic, write_atomic_lines
from controller.cli.common import check_names, json_option, print_result, project_of
from controller.cli.report_inputs import report_inputs
from controller.errors import LockfileInvalid
from controller.lockfile.model import Entry, Lockfile
from controller.lockfile.store import LOCKFILE, read_lockfile
from controller.project.project import Project, current_commit
from controller.report.build import ReportInputs, build_report, index_row, page_name
from controller.report.html import index_html, report_html
from controller.report.json_document import index_json, report_json
from controller.report.markdown import index_markdown, report_markdown
from controller.report.model import IndexRow, Report
from controller.spec.load import NAME, read_specs, spec_names

Format: TypeAlias = Literal["html", "markdown", "json"]
ENDINGS: Final[dict[Format, str]] = {"html": "html", "markdown": "md", "json": "json"}
_INDEX: Final = "index"


@click.command("report")
@click.argument("name", required=False)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder to write to; made if it is absent.",
)
@click.option(
    "--format",
    "formats",
    type=click.Choice(list(ENDINGS)),
    multiple=True,
    help="Write this format only; may be repeated.  [default: all three]",
)
@json_option
@click.pass_context
def command(
    ctx: click.Context, name: str | None, *, out: Path, formats: tuple[Format, ...]
) -> None:
    """Write a page for people about each fine-tune: verdict, scores, changed answers.

    Writes NAME.html, which needs no server and loads nothing, and the same content as NAME.md, for a
    pull request, and NAME.json. Without NAME it writes all fine-tunes, and an index. It reads the
    lockfile and what evaluations left on this machine; no model and no server is asked.
    """
    project = project_of(ctx)
    lockfile = read_lockfile(project.root, project.records)
    names = _names(project, lockfile, name)
    chosen = formats or tuple(ENDINGS)
    commit = current_commit(project.root)
    specs, problems = read_specs(project.root)
    folder = out.resolve()
    written: list[Path] = []
    rows: list[IndexRow] = []
    warnings: list[str] = []
    for one in names:
        entry = lockfile.finetunes.get(one, Entry())
        inputs = replace(
            report_inputs(project, one, entry, specs.get(one), problems.get(one, ())),
            commit=commit,
        )
        report = build_report(inputs)
        written += _write(folder, report, inputs, chosen, has_index=name is None)
        rows.append(index_row(report))
        warnings += [f"! {one}: {text}" for text in _warnings(report, inputs)]
    if name is None:
        written += _write_index(folder, rows, commit, chosen)
    for warning in warnings:
        click.echo(warning, err=True)
    value = {"folder": str(folder), "files": [path.name for path in written]}
    count = f"{len(written)} file{'' if len(written) == 1 else 's'}"
    print_result(ctx, value, f"Wrote {count}. Open {folder / _first(name, chosen)}")


def _names(project: Project, lockfile: Lockfile, name: str | None) -> list[str]:
    """Return the fine-tunes to write.

    Raises:
        FtctlError: No fine-tune has the name.
        LockfileInvalid: The lockfile has a name that cannot be the name of a file.
    """
    declared = [one for one in spec_names(project.root) if NAME.fullmatch(one)]
    known = sorted({*declared, *lockfile.finetunes})
    wrong = [one for one in lockfile.finetunes if not NAME.fullmatch(one)]
    if wrong:
        remedy = f"Restore it: `git checkout -- {LOCKFILE}`."
        raise LockfileInvalid(f"{LOCKFILE}: {wrong[0]!r} is not a name for a fine-tune", remedy)
    if name is None:
        return known
    check_names([name], known)
    return [name]


def _write(
    folder: Path,
    report: Report,
    inputs: ReportInputs,
    formats: Collection[Format],
    *,
    has_index: bool,
) -> Iterator[Path]:
    """Write one fine-tune's files, and yield their paths."""
    for form in formats:
        path = folder / f"{page_name(report.name)}.{ENDINGS[form]}"
        if form == "html":
            page = report_html(report, has_index=has_index, formats=formats)
            write_atomic(path, _encoded(page))
        elif form == "markdown":
            write_atomic(path, _encoded(report_markdown(report)))
        else:
            lines = inputs.lines() if inputs.lines is not None else ()
            write_atomic_lines(path, report_json(report, lines))
        yield path


def _write_index(
    folder: Path, rows: list[IndexRow], commit: str | None, formats: Collection[Format]
) -> Iterator[Path]:
    contents = {
        "html": lambda: _encoded(index_html(rows, commit)),
        "markdown": lambda: _encoded(index_markdown(rows, commit)),
        "json": lambda: index_json(rows, commit),
    }
    for form in formats:
        path = folder / f"{_INDEX}.{ENDINGS[form]}"
        write_atomic(path, contents[form]())
        yield path


def _warnings(report: Report, inputs: ReportInputs) -> Iterator[str]:
    """Yield what whoever runs the command must know, beside what the page says."""
    if report.is_private:
        yield "its data is declared private, and the page and the JSON hold examples of it"
    if report.no_answers and inputs.lines is not None and report.evaluated:
        yield report.no_answers


def _first(name: str | None, formats: tuple[Format, ...]) -> str:
    return f"{_INDEX if name is None else page_name(name)}.{ENDINGS[formats[0]]}"


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", errors="backslashreplace")
