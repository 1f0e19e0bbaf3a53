"""The answers and opinions that an evaluation asks for, counted before anybody is asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from controller.evaluate.answer_store import AnswerStore
from controller.evaluate.ask import KeptAnswers
from controller.evaluate.compare import BASE_AGAIN, EvaluationContext, compare_with
from controller.evaluate.gate import CANDIDATE
from controller.evaluate.opinions.ask_judges import JudgeContext, missing_opinions
from controller.evaluate.prompts.held_out import HeldOut
from controller.evaluate.retain.measure import retained_sets
from controller.lockfile.model import Build, Entry
from controller.plan.desired import Desired
from controller.prompted.examples import shot_finder
from controller.run.stages import PreparedRun

_NAMES = {CANDIDATE: "this build", BASE_AGAIN: "base a second time"}


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRequests:
    """Numbers of what is asked for; what is kept is not."""

    answers: Mapping[str, int]
    """Answers to held-out prompts, by role."""
    retained: int
    """Answers to the prompts of `evaluation.retain`."""
    abilities: Sequence[str]
    """Names of what `evaluation.retain` asks for."""
    opinions: Mapping[str, int]
    """Opinions by the judge's model; of answers that are not known yet, the most."""
    kept: int
    """Answers to held-out prompts that are kept."""
    max_tokens: int

    @property
    def total(self) -> int:
        """Number of all requests."""
        return sum(self.answers.values()) + self.retained + sum(self.opinions.values())

    def in_words(self, *, paid: bool) -> str:
        """Return the requests for people, with their cost.

        Args:
            paid: True if a service charges for them.
        """
        if not self.total:
            return f"nobody: all {self.kept:,} answers are kept, at $0.00"
        parts = []
        asked = {role: count for role, count in self.answers.items() if count}
        if asked:
            roles = ", ".join(_NAMES.get(role, role) for role in asked)
            limit = f"of up to {self.max_tokens} tokens"
            parts.append(f"{_count(sum(asked.values()), 'answer')} of {roles}, {limit}")
        if self.retained:
            names = ", ".join(self.abilities)
            parts.append(f"{_count(self.retained, 'answer')} to the prompts of retain ({names})")
        parts += [
            f"up to {_count(count, 'opinion')} of {name}" for name, count in self.opinions.items()
        ]
        kept = f"; {_count(self.kept, 'answer')} kept" if self.kept else ""
        cost = "which the service charges for" if paid else "at $0.00"
        return f"{' and '.join(parts)}{kept}, {cost}"


def requests_of(
    desired: Desired, build: Build, entry: Entry, prepared: PreparedRun, *, without_base: bool
) -> EvaluationRequests:
    """Return what the evaluation of a build would ask for.

    Args:
        desired: Inputs that the spec asks for.
        build: The candidate.
        entry: The fine-tune's record in the lockfile.
        prepared: The current specs.
        without_base: True to leave out the base model.

    Raises:
        BackendError: A model's training inputs are not on this machine.
    """
    project, dataset = prepared.loaded.inputs.project, prepared.resolved.datasets[desired.name]
    store, settings = AnswerStore(project.answers, project.recorded), desired.spec.evaluation
    kept = KeptAnswers(store=store, prompts=HeldOut(dataset.held_out))
    context = EvaluationContext(
        root=project.root,
        open_backend=prepared.open_backend,
        train=dataset.train.path,
        has_answers=kept.has_all,
        find_shots=shot_finder(project.state, dataset.train),
    )
    comparison = compare_with(desired, build, entry, context, without_base=without_base)
    missing = {model.role: kept.missing(model) for model in comparison.models}
    sets = retained_sets(settings, prepared.resolved.files[desired.name].retained)
    retained = [
        KeptAnswers(store=store, prompts=one.prompts).missing(
            replace(model, sampling=replace(model.sampling, max_tokens=one.max_tokens))
        )
        for one in sets
        for model in comparison.retaining
    ]
    judges = JudgeContext(
        root=project.root, place=desired.spec.place, open_backend=prepared.open_backend
    )
    return EvaluationRequests(
        answers=missing,
        retained=sum(retained),
        abilities=[one.name for one in sets],
        opinions=missing_opinions(settings.metrics, comparison.models, kept, judges),
        kept=len(comparison.models) * len(kept.prompts) - sum(missing.values()),
        max_tokens=settings.max_tokens,
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
