"""People's scores that specs name: read, and checked against the answers that are known here."""

from collections.abc import Iterator, Mapping

from controller.data.errors import DataError
from controller.errors import InvalidInput, Problem
from controller.evaluate.measure import evaluation_path_of, read_evaluation_file
from controller.evaluate.opinions.answer_ids import answer_ids
from controller.evaluate.opinions.read_sheet import SheetScores, find_sheets, read_sheets
from controller.lockfile.model import Entry
from controller.project.project import Project
from controller.spec.load import LoadedSpec

Sheets = Mapping[str, SheetScores]
"""By the name of the metric that measures them."""


def sheets_of(loaded: LoadedSpec, entry: Entry, project: Project) -> Sheets:
    """Return the sheets that a spec's metrics name; empty ones where there is no file yet.

    Raises:
        InvalidInput: With every problem of every sheet.
    """
    found: dict[str, SheetScores] = {}
    problems: list[Problem] = []
    for index, chosen in enumerate(loaded.spec.evaluation.metrics):
        sheet = chosen.metric.sheet
        if sheet is None:
            continue
        try:
            files = find_sheets(
                sheet.path(chosen.settings),
                folder=loaded.folder,
                root=project.root,
                state=project.state,
            )
            found[chosen.name], wrong = read_sheets(files, sheet.scale(chosen.settings))
            problems += wrong
        except DataError as error:
            path = ("evaluation", "metrics", index, chosen.metric.name, "sheet")
            problems.append(loaded.problem(path, error.message, error.remedy))
    if problems:
        problems += unknown_answers(found, entry, project)
        raise InvalidInput(problems)
    return found


def sheet_digests(sheets: Sheets) -> dict[str, str]:
    """Return the digests of the sheets that have scores."""
    return {name: digest for name, one in sheets.items() if (digest := one.digest) is not None}


def unknown_answers(sheets: Sheets, entry: Entry, project: Project) -> Iterator[Problem]:
    """Yield the lines that score answers which no model gave.

    Where the answers of a recorded evaluation are not on this machine, as in another checkout,
    nobody can tell, and nothing is reported.
    """
    rows = [row for one in sheets.values() for row in one.rows if row.score is not None]
    paths = [
        evaluation_path_of(project.state, build)
        for build in entry.builds.values()
        if build.evaluation is not None
    ]
    if not rows or not all(path is not None and path.exists() for path in paths):
        return
    builds = {fingerprint.partition(":")[2][:16] for fingerprint in entry.builds}
    known: set[str] = set()
    for path in sorted((project.state / "evaluations").glob("*.jsonl")):
        if path.stem.partition("-")[0] in builds:
            for line in read_evaluation_file(path):
                known.update(answer_ids(line).values())
    for row in rows:
        if row.answer_id not in known:
            file, _, number = row.place.rpartition(":")
            yield Problem(
                file=file,
                line=int(number),
                field="answer_id",
                message=f"no model gave the answer {row.answer_id}",
                remedy="Write the ID as the sheet had it, or remove the line.",
            )
