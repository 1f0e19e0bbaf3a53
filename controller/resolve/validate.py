"""Checks that the models of a spec cannot make: backends, hyperparameters, gates, policies.

Needs no key, no network, no data and no heavy package.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from backends.contract.capabilities import Capabilities
from backends.contract.errors import BackendError, BackendUnknown, HyperparametersInvalid
from backends.contract.methods import METHODS
from backends.did_you_mean import did_you_mean, use_one_of
from backends.excerpt import excerpt
from controller.errors import InvalidInput, PolicyBroken, Problem
from controller.resolve.answers import Answers, OpenBackend
from controller.resolve.check_gate import check_asked_models, check_gate, check_losses
from controller.resolve.check_metrics import check_metrics
from controller.resolve.check_prompt import check_prompt
from controller.spec.data import Prepare, Source
from controller.spec.evaluation import Evaluation
from controller.spec.load import LoadedSpec
from controller.spec.settings import FILE, Policies


def check_specs(
    specs: Mapping[str, LoadedSpec],
    open_backend: OpenBackend,
    policies: Policies,
    problems: Sequence[Problem] = (),
) -> None:
    """Check every spec.

    Args:
        specs: The specs that could be read.
        open_backend: Opens a backend by a spec's `place`.
        policies: What the repository demands.
        problems: What was wrong with the others.

    Raises:
        InvalidInput: With every problem of every spec.
        PolicyBroken: With every breach, when there is no other problem.
    """
    found, breaches, answers = [*problems], list[Problem](), Answers()
    for loaded in specs.values():
        found += check_spec(loaded, open_backend, answers)
        breaches += check_policies(loaded, policies)
    refuse(found, breaches)


def refuse(problems: Sequence[Problem], breaches: Sequence[Problem]) -> None:
    """Raise an error with everything that is wrong, if anything is.

    Raises:
        InvalidInput: With the problems, and the breaches of policies.
        PolicyBroken: With the breaches, when there is no other problem.
    """
    if problems:
        raise InvalidInput([*problems, *breaches])
    if breaches:
        raise PolicyBroken(breaches)


def check_spec(
    loaded: LoadedSpec, open_backend: OpenBackend, answers: Answers
) -> Iterator[Problem]:
    """Yield what is wrong with one spec.

    Args:
        loaded: The spec.
        open_backend: Opens a backend by the spec's `place`.
        answers: What backends answered before in the same pass.
    """
    spec = loaded.spec
    yield from check_gate(loaded)
    yield from check_metrics(loaded)
    yield from check_unread(loaded)
    yield from check_prompt(loaded)
    try:
        backend = open_backend(spec.place)
    except BackendError as error:
        is_backend = spec.endpoint is None or isinstance(error, BackendUnknown)
        yield loaded.placed(error.problem(field="backend" if is_backend else "endpoint"))
        return
    can = answers.capabilities(backend, spec)
    if spec.endpoint is not None and not can.endpoints:
        message = f"the {spec.backend} backend has no endpoints"
        yield loaded.problem(("endpoint",), message, "Remove the line.")
    if (METHODS[spec.method].read_as or spec.method) not in can.methods:
        does = "does not do" if spec.trains else "reads no conversations, which needs"
        message = f"the {spec.backend} backend {does} {spec.method}"
        remedy = use_one_of(sorted(can.methods))
        yield loaded.problem(("method",), message, remedy)
        return
    yield from _check_unmet(loaded, can)
    yield from check_asked_models(loaded, open_backend, answers)
    if can.remote:
        yield from _check_private(loaded)
    try:
        with in_spec(loaded):
            hyperparameters = answers.hyperparameters(backend, spec)
    except InvalidInput as error:
        yield from error.problems
        return
    if spec.trains and can.hardware:
        for one in answers.hardware_problems(backend, spec, hyperparameters):
            yield loaded.placed(replace(one, field=f"hardware.{one.field}"))


@contextmanager
def in_spec(loaded: LoadedSpec) -> Iterator[None]:
    """Turn a backend's errors about hyperparameters into problems with the spec's lines.

    Raises:
        InvalidInput: With every problem.
    """
    try:
        yield
    except HyperparametersInvalid as error:
        named = (replace(one, field=f"hyperparameters.{one.field}") for one in error.problems)
        raise InvalidInput([loaded.placed(one) for one in named]) from None


def check_policies(loaded: LoadedSpec, policies: Policies) -> Iterator[Problem]:
    """Yield what a policy of the repository forbids in one spec."""
    for path, source in _sources(loaded):
        license_ = source.license or loaded.spec.data.license
        if policies.require_license and license_ is None:
            message = "has no licence, and policies.require_license demands one"
            remedy = "Add `license: CC-BY-4.0` (an SPDX identifier) to the source or to `data`."
            yield loaded.problem(path, message, remedy)
        elif license_ is not None and policies.licenses and license_ not in policies.licenses:
            message = f"the licence {excerpt(license_)} is not among policies.licenses"
            remedy = use_one_of(policies.licenses)
            yield loaded.problem(path, message, remedy)


def _sources(loaded: LoadedSpec) -> Iterator[tuple[tuple[str | int, ...], Source]]:
    for split, number, source in loaded.spec.data.numbered_sources():
        yield ("data", split, number), source


def _check_unmet(loaded: LoadedSpec, can: Capabilities) -> Iterator[Problem]:
    """Yield the fields that this backend would ignore."""
    spec = loaded.spec
    for service in sorted(spec.tracking.model_dump(exclude_none=True).keys() - can.tracking):
        message = f"the {spec.backend} backend reports no metrics to {service}"
        remedy = "Remove the field: `ftctl logs NAME` shows what a job measures."
        yield loaded.problem(("tracking", service), message, remedy)
    if not can.measures_loss:
        yield from check_losses(loaded)
    if spec.budget.max_gpu_hours is not None and not can.gpu_hours:
        message = f"the {spec.backend} backend does not count GPU hours"
        remedy = "Remove the field, or limit the cost with `max_usd`."
        yield loaded.problem(("budget", "max_gpu_hours"), message, remedy)
    if spec.trains and not can.hardware:
        for key in spec.hardware.model_dump(exclude_defaults=True):
            message = f"the {spec.backend} backend decides itself on what it trains"
            yield loaded.problem(("hardware", key), message, "Remove the field.")
    elif spec.hardware.machine is not None:
        yield from _check_machine(loaded, can)


def _check_machine(loaded: LoadedSpec, can: Capabilities) -> Iterator[Problem]:
    """Yield why jobs of a spec cannot be placed on its machine."""
    machine = loaded.spec.hardware.machine or ""
    path = ("hardware", "machine")
    if machine not in can.machines:
        message = f"no machine is called {excerpt(machine)}"
        known = tuple(can.machines)
        add = f"Declare it in {FILE}: `ftctl help machines`."
        remedy = did_you_mean(machine, known) or (use_one_of(known) if known else add)
        yield loaded.problem(path, message, remedy)
    elif loaded.spec.data.is_private and not can.machines[machine]:
        message = f"its data is private, and the machine {machine} is not marked private"
        remedy = (
            "If only people who may see that data can read its store and use it, write "
            f"`private: true` under `machines.{machine}` in {FILE}."
        )
        yield loaded.problem(path, message, remedy)


def _check_private(loaded: LoadedSpec) -> Iterator[Problem]:
    spec = loaded.spec
    message = f"private data never leaves the machine, and {spec.backend} is elsewhere"
    remedy = "Use `backend: local-gpu`."
    if spec.data.sensitivity == "private":
        yield loaded.problem(("data", "sensitivity"), message, remedy)
    for path, source in _sources(loaded):
        if source.sensitivity == "private":
            yield loaded.problem((*path, "sensitivity"), message, remedy)


def check_unread(loaded: LoadedSpec) -> Iterator[Problem]:
    """Yield a problem for each field that has no effect next to the spec's other fields.

    A field with its default value passes, since writing out a default changes nothing.
    """
    yield from _check_prepare(loaded)
    spec, data = loaded.spec, loaded.spec.data
    for split, number, source in data.numbered_sources():
        if split == "held_out" and source.weight != 1:
            path = ("data", split, number, "weight")
            message = "held-out examples are measured once each, whatever their weight"
            yield loaded.problem(path, message, "Remove it, or use `sample`.")
    if spec.revision is not None and spec.base_name.startswith(("./", "../", "/")):
        message = "a folder has no revision: its contents are its identity"
        yield loaded.problem(("revision",), message, "Remove it.")
    if not METHODS[spec.method].is_of_texts:
        return
    if data.system is not None:
        message = "plain texts have no system prompt"
        yield loaded.problem(("data", "system"), message, "Remove it, or train conversations.")
    if spec.evaluation.max_tokens != Evaluation.model_fields["max_tokens"].default:
        message = "plain texts are measured by their loss, and nobody answers them"
        yield loaded.problem(("evaluation", "max_tokens"), message, "Remove it.")


def _check_prepare(loaded: LoadedSpec) -> Iterator[Problem]:
    prepare, default = loaded.spec.data.prepare, Prepare()
    needs = (
        ("similarity", prepare.deduplicate == "near", "deduplicate: near"),
        ("pii_regions", prepare.pii != "off", "pii: mask"),
        ("over_length", prepare.max_tokens is not None, "max_tokens: 2048"),
    )
    for key, is_read, needed in needs:
        if not is_read and getattr(prepare, key) != getattr(default, key):
            message = f"does nothing without `{needed.partition(':')[0]}`"
            remedy = f"Add `{needed}` to data.prepare, or remove `{key}`."
            yield loaded.problem(("data", "prepare", key), message, remedy)
