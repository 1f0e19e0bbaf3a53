"""Opinions of people on answers, from the sheets that they filled in. Pure."""

from collections.abc import Callable, Iterator, Sequence

from controller.evaluate.answers import Answer, given_answer
from controller.evaluate.ask import KeptAnswers
from controller.evaluate.compare import EvaluatedModel
from controller.evaluate.gate import CANDIDATE
from controller.evaluate.metric import Tally
from controller.evaluate.opinions.agreement import ordinal_alpha
from controller.evaluate.opinions.answer_ids import answer_id
from controller.evaluate.opinions.opinions import Opinions
from controller.evaluate.opinions.read_sheet import SheetScores
from controller.evaluate.prompts.held_out import HeldOut

AnswerIds = Callable[[EvaluatedModel], Iterator[str]]
"""Yields the IDs of a model's answers, in the order of the examples."""


def ids_of(held_out: HeldOut, answers: KeptAnswers) -> AnswerIds:
    """Return what yields the IDs of a model's answers to held-out prompts."""

    def ids(model: EvaluatedModel) -> Iterator[str]:
        for row, completion in zip(held_out.rows(), answers.of(model), strict=True):
            given = given_answer(completion)
            yield answer_id(row.id, Answer(text=given.text, calls=given.calls))

    return ids


def people_say(
    name: str, sheet: SheetScores, written: str, models: Sequence[EvaluatedModel], ids: AnswerIds
) -> Opinions:
    """Return the mean of people's scores of each answer.

    Args:
        name: Name of the metric in gates and scores.
        sheet: What people filled in.
        written: Path of the sheet, for messages.
        models: Models that answered.
        ids: Yields the IDs of a model's answers.
    """
    scores = sheet.scores
    found = {model.role: list(ids(model)) for model in models}
    tallies: dict[str, dict[str, list[Tally | None]]] = {
        role: {name: [_mean(scores.get(one)) for one in of_model]}
        for role, of_model in found.items()
    }
    own = found[CANDIDATE]
    rated = sum(one in scores for one in own)
    if not rated:
        return Opinions(
            tallies=tallies,
            remarks=(f"{name}: no answer of this build has a score in {written}",),
        )
    known = {one for of_model in found.values() for one in of_model}
    remark = f"{name}: {rated:,} of {len(own):,} answers of this build have scores"
    return Opinions(tallies=tallies, remarks=(remark + _agreement(sheet, known),))


def _mean(scores: Sequence[float] | None) -> Tally | None:
    return (sum(scores) / len(scores), 1.0) if scores else None


def _agreement(sheet: SheetScores, known: set[str]) -> str:
    """Return how far raters of these answers agree, for the end of a sentence."""
    rows = [row for row in sheet.rows if row.score is not None and row.answer_id in known]
    raters = {row.rater for row in rows}
    if len(raters) == 1:
        return ", by one rater"
    scores = sheet.scores
    shared = [scores[one] for one in known if len(scores.get(one, ())) > 1]
    if not shared:
        return f", by {len(raters)} raters, none of them by two"
    alpha = ordinal_alpha(shared)
    how = "not defined, since all are equal" if alpha is None else f"{alpha:.2f}"
    return (
        f", by {len(raters)} raters; their agreement on {len(shared):,} answers that two or more scored "
        f"(Krippendorff's alpha) is {how}"
    )
