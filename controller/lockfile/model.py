"""The lockfile as records, and its text. Pure: no file is touched here.

Only durable facts stand in it: no poll status, no progress. Times are UTC, ISO 8601.
"""

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Annotated, Self, TypeAlias

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from backends.contract.methods import PROMPT
from backends.excerpt import dotted
from controller.errors import LockfileInvalid
from controller.evaluate.statistics.samples import Sample

FORMAT = 1
ADOPTED = "adopted"
"""Fact of a build that another program made and `ftctl adopt` recorded."""
NOTE = "Made by ftctl. Commit this file; do not edit it."
Fingerprint: TypeAlias = Annotated[str, StringConstraints(pattern=r"^ft[0-9]+:[0-9a-f]{64}$")]
Digest: TypeAlias = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
Scores: TypeAlias = dict[str, float]


class LockfileModel(BaseModel):
    """Settings shared by every record of the lockfile."""

    # Built when it is first asked: of most records only what holds them is.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class PartFacts(LockfileModel):
    """One half of a dataset."""

    digest: str
    examples: int


class DataFacts(LockfileModel):
    """The dataset that a build was trained on and measured with."""

    train: PartFacts
    held_out: PartFacts


class ParentFacts(LockfileModel):
    """The build of another fine-tune that a build was trained from."""

    finetune: str
    build: Fingerprint
    adapter: str


class OpenJob(LockfileModel):
    """A job that was submitted and whose end is not recorded yet."""

    id: str
    backend: str
    fingerprint: Fingerprint
    attempt: int
    inputs: dict[str, JsonValue]
    """The canonical inputs that the fingerprint is the digest of."""
    base_model: str
    """As the spec wrote it."""
    revision: str | None = None
    parent: ParentFacts | None = None
    data: DataFacts
    estimate_usd: tuple[float, float] | None = None
    """Expected cost, at least and at most; None if it was not known."""
    submitted: str
    spec_commit: str | None = None


class RecordedSample(LockfileModel):
    """A score, or a difference of two scores, with all that later judgements need.

    See `controller.evaluate.statistics.samples.Sample`, whose fields these are.
    """

    n: int
    groups: int | None = None
    right: int | None = None
    pairs: tuple[int, int, int, int] | None = None
    quantiles: tuple[float | None, ...] | None = None
    reason: str | None = None

    @classmethod
    def of(cls, sample: Sample) -> Self:
        """Return the record of a sample."""
        return cls(**asdict(sample))

    @cached_property
    def sample(self) -> Sample:
        """The sample itself."""
        return Sample(**self.model_dump())

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        _ = self.sample
        return self


class Evaluation(LockfileModel):
    """One measuring of a build."""

    fingerprint: str
    inputs: dict[str, JsonValue]
    scores: dict[str, Scores]
    """Under `candidate`, and under `base` and `production` where these were compared."""
    production_build: str | None = None
    """The build that `production` was at that time."""
    evaluated: str
    samples: dict[str, dict[str, RecordedSample]] = Field(default_factory=dict)
    """Samples of each score, by role and then by name; empty if none were recorded."""
    differences: dict[str, dict[str, RecordedSample]] = Field(default_factory=dict)
    """The same of the candidate's score minus that of another model, by the other model's role."""
    rival_differences: dict[str, dict[str, dict[str, RecordedSample]]] = Field(default_factory=dict)
    """The same of the score of a model without training minus that of another, by both and score;
    those by which the gate would judge the first."""
    remarks: list[str] = Field(default_factory=list)
    """Sentences on how it was measured: what did not count, how far raters agree."""

    @field_validator("scores")
    @classmethod
    def _has_its_own(cls, scores: dict[str, Scores]) -> dict[str, Scores]:
        if "candidate" not in scores:
            raise ValueError("must have the scores of the candidate")
        return scores


class Verdict(LockfileModel):
    """Verdict of the gate on a build."""

    passed: bool
    gate: list[str]
    failures: list[str] = Field(default_factory=list)
    """One sentence for each condition that does not hold."""
    undecided: list[str] = Field(default_factory=list)
    """One sentence for each condition of which the examples cannot tell if it holds."""
    allowed_worse: bool = False
    """True if the build passed only because its spec allows a model worse than its base."""


class Stored(LockfileModel):
    """Copies of a build in the repository's store, by the digests of their manifests."""

    model: Digest | None = None
    """Weights and log; None where a service keeps the model."""
    bytes: int = Field(default=0, ge=0)
    """Size of these files."""
    answers: Digest | None = None
    """The model's recorded answers."""
    pruned: bool = False
    """True if a person removed it from the store: it returns there only with its promotion."""


class Build(LockfileModel):
    """Result of a successful job. Only its evaluation, verdict and copies are ever replaced."""

    fingerprint: Fingerprint
    attempt: int
    backend: str
    job: str
    model_id: str
    inputs: dict[str, JsonValue]
    base_model: str
    revision: str | None = None
    parent: ParentFacts | None = None
    """Where it was trained from another fine-tune's model."""
    data: DataFacts
    facts: dict[str, JsonValue]
    """Facts that the backend measured: trained tokens, losses, seconds, digests, real cost."""
    estimate_usd: tuple[float, float] | None = None
    submitted: str
    finished: str
    spec_commit: str | None = None
    evaluation: Evaluation | None = None
    verdict: Verdict | None = None
    stored: Stored | None = None
    """Its copies in the store; None while it has none."""

    @property
    def is_adopted(self) -> bool:
        """True if another program made it: its job carries no fingerprint."""
        return ADOPTED in self.facts

    @property
    def prompt(self) -> "BuildPrompt | None":
        """Prompt of the base model that answers; None for a trained model."""
        if self.inputs.get("method") != PROMPT.name:
            return None
        given = self.inputs.get("prompt")
        written = given if isinstance(given, dict) else {}
        system, few_shot = written.get("system"), written.get("few_shot")
        return BuildPrompt(
            system=system if isinstance(system, str) else None,
            few_shot=few_shot if isinstance(few_shot, int) else 0,
            train_digest=self.data.train.digest,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildPrompt:
    """Prompt of a build without training: text and examples besides a question."""

    system: str | None
    """System prompt instead of that of the conversation; None to leave that."""
    few_shot: int
    """Number of training examples before the question."""
    train_digest: str
    """Digest of the training examples that they are chosen from."""


class Failure(LockfileModel):
    """A job that ended without a model."""

    job: str
    backend: str
    attempt: int
    error: str
    """Follows the job's ID in a sentence: `was cancelled`, `failed: out of memory`."""
    finished: str


class Entry(LockfileModel):
    """Everything recorded of one fine-tune."""

    production: Fingerprint | None = None
    candidate: Fingerprint | None = None
    protect: bool = False
    job: OpenJob | None = None
    builds: dict[Fingerprint, Build] = Field(default_factory=dict)
    failures: dict[Fingerprint, Failure] = Field(default_factory=dict)
    attempts: dict[Fingerprint, int] = Field(default_factory=dict)
    """Raised by `ftctl retry`; a fingerprint that is not listed is at its first attempt."""

    def attempt(self, fingerprint: str) -> int:
        """Return the attempt that a job for this fingerprint would be."""
        return self.attempts.get(fingerprint, 1)


class Lockfile(LockfileModel):
    """The whole lockfile."""

    finetunes: dict[str, Entry] = Field(default_factory=dict)


def dump_entry(entry: Entry) -> JsonValue:
    """Return an entry as plain JSON values, without what is empty."""
    value: JsonValue = entry.model_dump(mode="json", exclude_defaults=True)
    return value


def dump_lockfile(lockfile: Lockfile) -> bytes:
    """Return the lockfile's text: keys sorted, one value a line."""
    value = {
        "_": NOTE,
        "format": FORMAT,
        "finetunes": {name: dump_entry(entry) for name, entry in lockfile.finetunes.items()},
    }
    return json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True).encode() + b"\n"


def parse_lockfile(text: bytes, file: str) -> Lockfile:
    """Read a lockfile's text.

    Args:
        text: Its bytes.
        file: Its name in messages.

    Raises:
        LockfileInvalid: It is corrupt, or written by a newer ftctl.
    """
    restore = (
        f"Restore it: `git checkout -- {file}`. If there is no good version, delete it: "
        "`ftctl plan` then\nfinds every job and model at the backends again; nothing is retrained."
    )
    if b"\n<<<<<<< " in b"\n" + text:
        message = f"{file}: has merge conflict markers"
        remedy = (
            f"Take either side: `git checkout --theirs {file}`; what the other side recorded "
            "is found again\nat the backends by `ftctl plan`."
        )
        raise LockfileInvalid(message, remedy)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        line, found = "", str(error)
        if isinstance(error, json.JSONDecodeError):
            line, found = f":{error.lineno}", f"{error.msg} (column {error.colno})"
        raise LockfileInvalid(f"{file}{line}: is corrupt: {found}", restore) from None
    form = value.get("format") if isinstance(value, dict) else None
    if not isinstance(form, int) or isinstance(form, bool) or form < 1:
        raise LockfileInvalid(f"{file}: is corrupt: it names no format", restore)
    if form > FORMAT:
        message = f"{file}: has format {form}; this ftctl reads formats up to {FORMAT}"
        raise LockfileInvalid(message, "Upgrade ftctl; `ftctl help install` shows how.")
    try:
        return Lockfile(finetunes=value.get("finetunes", {}))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = dotted(tuple(first["loc"]))
        raise LockfileInvalid(f"{file}: is corrupt: {place}: {first['msg']}", restore) from None
