"""Checks of a spec's gate and of the models that it is compared with.

Needs no key, no network and no data.
"""

from collections.abc import Iterator
from typing import Final

from backends.contract.capabilities import Capabilities
from backends.contract.errors import BackendError, BackendUnknown
from backends.contract.methods import METHODS
from backends.did_you_mean import did_you_mean
from backends.pydantic_errors import InvalidValue
from controller.errors import Problem
from controller.evaluate.gate import (
    PREFERENCE_RULE,
    RETAIN,
    Condition,
    parse_condition,
    split_score,
)
from controller.evaluate.metric import AnyMetric
from controller.evaluate.metrics import BUILT_IN_METRICS, preferences
from controller.evaluate.retain.suites import SUITES
from controller.evaluate.scoring import measured_metrics
from controller.resolve.answers import Answers, OpenBackend
from controller.spec.asked import AskedModel
from controller.spec.evaluation import BASE, Rival
from controller.spec.load import LoadedSpec
from controller.spec.retain import ALL, names_of, sources_of

ACCURACY: Final = preferences.ACCURACY.name


def check_gate(loaded: LoadedSpec) -> Iterator[Problem]:
    """Yield what is wrong with the gate, and with metrics that its method cannot have."""
    spec = loaded.spec
    of_texts = METHODS[spec.method].is_of_texts
    of_preferences = METHODS[spec.method].is_of_preferences
    measured = measured_metrics(
        spec.evaluation.metrics, of_texts=of_texts, of_preferences=of_preferences
    )
    for index, chosen in enumerate(spec.evaluation.metrics):
        if of_texts and not chosen.metric.is_of_texts:
            message = f"plain texts have no answers, so {chosen.name} is not measured"
            yield loaded.problem(("evaluation", "metrics", index), message, "Remove it.")
    if of_texts and spec.evaluation.retain:
        message = f"a model of {spec.method} need not answer, and the prompts ask for answers"
        yield loaded.problem(("evaluation", "retain"), message, "Remove it.")
    yield from _check_judges(loaded)
    for index, text in enumerate(spec.gate):
        try:
            condition = parse_condition(text)
        except InvalidValue as error:
            yield loaded.problem(("gate", index), str(error), error.remedy)
            continue
        for message, remedy in _wrong(loaded, condition, measured):
            yield loaded.problem(("gate", index), message, remedy)


def check_losses(loaded: LoadedSpec) -> Iterator[Problem]:
    """Yield the metrics and conditions that need losses, which the backend does not measure."""
    spec = loaded.spec
    message = f"the {spec.backend} backend measures no losses of answers, which {{}} needs"
    remedy = "Remove it, or measure the model's own answers with another metric."
    for index, chosen in enumerate(spec.evaluation.metrics):
        if chosen.metric.needs_losses:
            path = ("evaluation", "metrics", index)
            yield loaded.problem(path, message.format(chosen.name), remedy)
    for index, text in enumerate(spec.gate):
        try:
            scores = parse_condition(text).scores
        except InvalidValue:
            continue  # The gate's own check tells.
        names = [split_score(name)[0] for name in scores]
        for metric in BUILT_IN_METRICS:
            if metric.needs_losses and metric.name in names:
                yield loaded.problem(("gate", index), message.format(metric.name), remedy)


def check_asked_models(
    loaded: LoadedSpec, open_backend: OpenBackend, answers: Answers
) -> Iterator[Problem]:
    """Yield what is wrong with rivals and judges, which are asked where they are.

    Args:
        loaded: The spec.
        open_backend: Opens a backend by a model's place.
        answers: Answers of backends in the same pass.
    """
    evaluation = loaded.spec.evaluation
    for index, rival in enumerate(evaluation.compare_to):
        if isinstance(rival, Rival):
            path = ("evaluation", "compare_to", index)
            yield from _check_asked(loaded, rival, path, open_backend, answers)
    for index, chosen in enumerate(evaluation.metrics):
        judge = evaluation.judges.get(chosen.name)
        if judge is not None:
            within = ("evaluation", "metrics", index, chosen.metric.name)
            yield from _check_asked(loaded, judge, within, open_backend, answers)


def _check_judges(loaded: LoadedSpec) -> Iterator[Problem]:
    """Yield the judges that compare with a model that does not answer."""
    roles = loaded.spec.evaluation.roles
    for index, chosen in enumerate(loaded.spec.evaluation.metrics):
        other = _compares(loaded, chosen.name)
        if other is not None and other not in roles:
            path = ("evaluation", "metrics", index, chosen.metric.name, "against")
            remedy = did_you_mean(other, roles) or f"Add {other} to evaluation.compare_to."
            yield loaded.problem(path, f"nothing is compared with {other}", remedy)


def _wrong(
    loaded: LoadedSpec, condition: Condition, measured: dict[str, AnyMetric]
) -> Iterator[tuple[str, str]]:
    """Yield what a condition has wrong, and the remedies."""
    spec, known = loaded.spec, list(measured)
    others = f"Use one of: {', '.join(known)}, or add it to evaluation.metrics."
    if METHODS[spec.method].is_of_texts:
        others = f"Use {', '.join(known)}: nothing else measures {spec.method}."
    for metric in dict.fromkeys(split_score(score)[0] for score in condition.scores):
        if metric.startswith(RETAIN):
            continue
        if metric not in measured:
            yield f"{metric} is not measured", did_you_mean(metric, known) or others
        elif condition.unit and measured[metric].unit != "s":
            yield f"{metric} is not measured in seconds", f"Remove `{condition.unit}`."
        elif measured[metric].unit == "s" and condition.needs_unit:
            remedy = f"Write `{condition.offset:g}s` or `{condition.offset:g}ms`."
            yield f"{metric} is a time, and the number has no unit", remedy
    if condition.level is not None and condition.other not in {None, condition.metric}:
        message = (
            f"{condition.metric} and {condition.other} are two scores, and only the difference of "
            "one can be sure"
        )
        same = f"{condition.model}.{condition.metric}"
        remedy = f"Compare {condition.metric} with {same}, or remove `@ {condition.level:g}%`."
        yield message, remedy
    yield from _wrong_retained(loaded, condition)
    yield from _wrong_of_base(loaded, condition)
    compares = _compares(loaded, split_score(condition.metric)[0])
    if condition.model is not None and compares is not None:
        metric = split_score(condition.metric)[0]
        message = (
            f"{metric} compares with {compares} already, and {condition.model} has no such score"
        )
        yield message, f"Compare it with a number: {metric} >= 0.5, which is as good as {compares}."
        return
    roles = spec.evaluation.roles
    is_retained = (condition.other or "").startswith(RETAIN)
    if condition.model is not None and condition.model not in roles and not is_retained:
        near = did_you_mean(condition.model, roles)
        remedy = near or f"Add {condition.model} to evaluation.compare_to."
        yield f"nothing is compared with {condition.model}", remedy


def _wrong_of_base(loaded: LoadedSpec, condition: Condition) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with scores that compare with the base model themselves."""
    names = {split_score(name)[0] for name in condition.scores}
    roles = loaded.spec.evaluation.roles
    for metric in BUILT_IN_METRICS:
        is_missing = BASE not in roles and condition.model != BASE
        if metric.is_of_preferences and metric.name in names and is_missing:
            message = f"{metric.name} compares with {BASE}, which does not answer"
            yield message, f"Add {BASE} to evaluation.compare_to."
    is_marked = METHODS[loaded.spec.method].needs_both_marks
    if is_marked and condition.model == BASE and condition.other == ACCURACY:
        message = f"{BASE} has no {ACCURACY} of marked answers, which compares with {BASE} already"
        yield message, f"Compare it with a number, or write {PREFERENCE_RULE}."


def _wrong_retained(loaded: LoadedSpec, condition: Condition) -> Iterator[tuple[str, str]]:
    """Yield what a condition has wrong about `retain.NAME`, and the remedies."""
    retain = loaded.spec.evaluation.retain
    known, sources = names_of(retain), sources_of(retain)
    for score in dict.fromkeys(condition.scores):
        metric, part = split_score(score)
        name = metric.removeprefix(RETAIN)
        if name == metric or (name in known and METHODS[loaded.spec.method].is_of_texts):
            continue  # The list of what is retained is refused itself.
        unit = sources[name].metric.metric.unit if name in sources else ""
        if name not in known:
            yield f"{metric} is not measured", did_you_mean(name, known) or _retain_remedy(name)
        elif part is not None:
            yield f"{metric} has no slices", f"Write {metric} without brackets."
        elif condition.unit and unit != "s":
            yield f"{metric} is not measured in seconds", f"Remove `{condition.unit}`."
        elif unit == "s" and condition.needs_unit:
            remedy = f"Write `{condition.offset:g}s` or `{condition.offset:g}ms`."
            yield f"{metric} is a time, and the number has no unit", remedy
    other = condition.other or ""
    if other.startswith(RETAIN) and condition.model != BASE:
        message = f"{condition.model} does not answer the prompts of evaluation.retain"
        yield message, f"Compare with {BASE}.{other}."


def _retain_remedy(name: str) -> str:
    if name in SUITES:
        return f"Add {name} to evaluation.retain."
    return f"Add it to evaluation.retain; the suites are {', '.join(SUITES)} and {ALL}."


def _compares(loaded: LoadedSpec, name: str) -> str | None:
    """Return the model that a judge compares answers with; None for other metrics."""
    for one in loaded.spec.evaluation.metrics:
        if one.name == name and one.metric.judge is not None:
            return one.metric.judge.against(one.settings)
    return None


def _check_asked(
    loaded: LoadedSpec,
    asked: AskedModel,
    path: tuple[str | int, ...],
    open_backend: OpenBackend,
    answers: Answers,
) -> Iterator[Problem]:
    place = asked.place(loaded.spec.place)
    try:
        backend = open_backend(place)
        can: Capabilities = answers.capabilities_of(place, backend)
    except BackendError as error:
        is_backend = asked.endpoint is None or isinstance(error, BackendUnknown)
        found = error.problem()
        field = "backend" if is_backend else "endpoint"
        yield loaded.problem((*path, field), found.message, found.remedy)
        return
    if asked.endpoint is not None and not can.endpoints:
        message = f"the {asked.backend} backend has no endpoints"
        yield loaded.problem((*path, "endpoint"), message, "Remove the line.")
    if can.remote and loaded.spec.data.is_private:
        message = f"private data never leaves the machine, and {place} is elsewhere"
        remedy = "Remove this model, or name one on this machine."
        yield loaded.problem(path, message, remedy)
    model = getattr(asked, "model", None)
    if model is not None:
        try:
            answers.identify(place, backend, model, loaded.folder)
        except BackendError as error:
            found = error.problem()
            yield loaded.problem((*path, "model"), found.message, found.remedy)
