"""Records of a report. `build_report` makes them; every format shows the same ones. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from backends.contract.inspector import Json
from controller.evaluate.gate import CANDIDATE
from controller.evaluate.judgement import Holds
from controller.report.answer_model import Answers
from controller.spec.evaluation import BASE, BASE_FEW_SHOT, PRODUCTION

Tone: TypeAlias = Literal["good", "bad", "neutral"]

_TONES: Final[Mapping[Holds, Tone]] = {
    Holds.YES: "good",
    Holds.NO: "bad",
    Holds.CANNOT_TELL: "neutral",
}
_ROLE_NAMES: Final[Mapping[str, str]] = {
    CANDIDATE: "this build",
    BASE: "base model",
    PRODUCTION: "production",
    BASE_FEW_SHOT: "base, few-shot",
    "base_again": "base, asked again",
}


def role_name(role: str) -> str:
    """Return the name of a role for people; a rival's own name stays as it is."""
    return _ROLE_NAMES.get(role, role)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A confidence interval; None for an end that the examples cannot give."""

    low: float | None
    high: float | None
    level: float = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Score of this build minus the score of a rival."""

    value: float
    tone: Tone
    """`good` if this build is better."""
    interval: Interval | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelScore:
    """One model's score."""

    role: str
    name: str
    """Name of the role for people."""
    value: float | None
    """None if it was not measured."""
    interval: Interval | None = None
    note: str = ""
    """Reason for a missing interval, or a warning."""
    difference: Difference | None = None
    """None for this build itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateCondition:
    """One condition of the gate, and whether it holds."""

    text: str
    holds: Holds
    sentence: str = ""
    """Measured score, and how sure it is."""

    @property
    def tone(self) -> Tone:
        """`good` if it holds, `neutral` if the examples cannot tell."""
        return _TONES[self.holds]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreBlock:
    """One score of all models."""

    name: str
    description: str = ""
    unit: str = ""
    higher_is_better: bool | None = None
    """None if nothing here knows the metric."""
    is_proportion: bool = False
    rows: Sequence[ModelScore] = ()
    conditions: Sequence[GateCondition] = ()
    """Conditions of the gate that name the score."""

    @property
    def notes(self) -> list[tuple[str, str]]:
        """Notes of its rows, each once, behind the names of their models."""
        names: dict[str, list[str]] = {}
        for row in self.rows:
            if row.note:
                names.setdefault(row.note, []).append(row.name)
        return [(", ".join(found), note) for note, found in names.items()]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceView:
    """Counts of one source."""

    path: str
    split: str
    rows: int
    dropped: int
    examples: int
    licence: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepView:
    """Counts of one step of preparation."""

    name: str
    kept: int
    dropped: int
    changed: int
    noted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitView:
    """Numbers of one split."""

    name: str
    examples: int
    characters: int | None = None
    tokens: int | None = None
    p50: int | None = None
    p90: int | None = None
    p99: int | None = None
    longest: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthBin:
    """Examples of similar length, in tokens."""

    low: int
    high: int | None
    train: int
    held_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DataView:
    """The data that the fine-tune learns from and is measured with."""

    splits: Sequence[SplitView]
    sources: Sequence[SourceView] = ()
    steps: Sequence[StepView] = ()
    lengths: Sequence[LengthBin] = ()
    notes: Sequence[str] = ()
    """Sentences: what is missing here and why, personal data, contradictions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePointView:
    """Losses at one step of training; None where they were not measured or are not finite."""

    step: int
    train_loss: float | None = None
    held_out_loss: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveView:
    """Losses during training."""

    points: Sequence[CurvePointView]
    findings: Sequence[str] = ()
    """Findings about them, one sentence each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildView:
    """One build, as the lineage lists it."""

    id: str
    role: str
    """`production`, `candidate`, both, or empty."""
    model_id: str
    base_model: str
    revision: str | None
    backend: str
    job: str
    attempt: int
    submitted: str
    finished: str
    commit: str | None
    examples: int
    held_out: int
    verdict: str
    """`passed`, `failed`, `cannot tell`, or why there is none."""
    scores: Mapping[str, float]
    is_shown: bool
    """True for the build that the report is about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureView:
    """A job that ended without a model."""

    job: str
    backend: str
    attempt: int
    error: str
    finished: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """The verdict, and why."""

    verdict: str
    """A word or two: `passed`, `failed`, `not evaluated`."""
    tone: Tone
    why: str
    """One sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that a page shows of one fine-tune."""

    name: str
    headline: Headline
    build: BuildView | None
    """The build that the report is about: the candidate, or else production."""
    description: str = ""
    owner: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    is_private: bool = False
    """True if the data must not leave this machine."""
    file: str | None = None
    """The spec; None if it was removed."""
    commit: str | None = None
    """Commit of the repository that the report was made from."""
    declared: Sequence[tuple[str, Json]] = ()
    """Keys of the spec and their values."""
    trained: Sequence[tuple[str, Json]] = ()
    """Recorded inputs of the build."""
    evaluated: str | None = None
    gate: Sequence[GateCondition] = ()
    scores: Sequence[ScoreBlock] = ()
    retained: Sequence[ScoreBlock] = ()
    noise: Sequence[ModelScore] = ()
    """Differences of the base model asked twice; the role is the name of a metric."""
    answers: Answers | None = None
    no_answers: str = ""
    """Reason for missing answers."""
    data: DataView | None = None
    curve: CurveView | None = None
    costs: Sequence[tuple[str, str]] = ()
    """Cost and time: what, and the amount with its unit."""
    builds: Sequence[BuildView] = ()
    """All builds, the newest first."""
    failures: Sequence[FailureView] = ()
    notes: Sequence[str] = ()
    """Remarks that a reader needs before the rest."""

    @property
    def may_be_private(self) -> bool:
        """True unless its spec can be read and does not declare its data private."""
        return self.is_private or not self.declared


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexRow:
    """One line of the index."""

    name: str
    page: str
    """Name of the fine-tune's files, without an ending."""
    headline: Headline
    build: str
    model_id: str
    score: str
    """The metric that changes are told by, and its number."""
    changes: str
