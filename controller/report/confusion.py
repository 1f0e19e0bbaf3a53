"""Confusion matrices, where the expected answers are labels. Pure."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Final

from controller.evaluate.labels import label_of
from controller.report.answer_model import Matrix
from controller.report.lines import EvaluatedExample
from controller.report.model import role_name

MOST_LABELS: Final = 40
"""Labels of a matrix that people can read."""
_REPEATED = 2
"""Expected answers are labels if each occurs at least this often on average."""
_LONGEST = 100
"""Characters of a label."""


class Confusion:
    """Counts of expected and given labels, by model."""

    def __init__(self, declared: Sequence[str] = ()) -> None:
        self._spelling = {label_of(label): label.strip() for label in declared}
        self._expected: Counter[str] = Counter()
        self._counts: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
        self._of_labels = True

    def add(self, example: EvaluatedExample) -> None:
        """Count an example; one whose expected answer is not a label ends the counting."""
        text = (example.reference or "").strip()
        self._of_labels &= 0 < len(text) <= _LONGEST and not example.reference_calls
        self._of_labels &= "\n" not in text and len(self._expected) <= MOST_LABELS
        if not self._of_labels:
            self._counts.clear()
            return
        expected = label_of(text)
        self._spelling.setdefault(expected, text)
        self._expected[expected] += 1
        for role, answer in example.answers.items():
            given = "" if example.calls.get(role) else label_of(answer)[: _LONGEST + 1]
            self._counts[role][expected, given] += 1

    def matrices(self, roles: Sequence[str]) -> list[Matrix]:
        """Return a matrix for each model; none if the expected answers are not labels."""
        distinct = len(self._expected)
        frequent = self._expected.total() >= _REPEATED * distinct
        if not self._of_labels or not 1 < distinct <= MOST_LABELS or not frequent:
            return []
        keys = [label for label, _ in self._expected.most_common()]
        others = [label for label in self._spelling if label not in self._expected]
        if len(keys) + len(others) > MOST_LABELS:
            # Of many declared labels, those that no model gave would only be empty columns.
            given = {label for counts in self._counts.values() for _, label in counts}
            others = [label for label in others if label in given]
        keys += others
        if len(keys) > MOST_LABELS:
            return []
        return [
            Matrix(
                role=role,
                name=role_name(role),
                labels=[self._spelling[key] for key in keys],
                counts=_rows(keys, self._counts[role]),
            )
            for role in roles
        ]


def _rows(labels: Sequence[str], counts: Counter[tuple[str, str]]) -> list[list[int]]:
    rows = []
    for expected in labels:
        of_label = Counter({given: n for (one, given), n in counts.items() if one == expected})
        known = [of_label[given] for given in labels]
        rows.append([*known, of_label.total() - sum(known)])
    return rows
