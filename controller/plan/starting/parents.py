"""Fine-tunes that start from another fine-tune's model in production. Pure."""

from collections.abc import Iterator, Mapping, Sequence

from backends.contract.inspector import Json
from backends.did_you_mean import did_you_mean
from controller.errors import Problem
from controller.lockfile.model import Entry, Lockfile
from controller.plan.actions import Deferred
from controller.plan.desired import Desired, ParentBuild
from controller.spec.load import LoadedSpec

CONTINUE = "continue"


def find_parents(
    specs: Mapping[str, LoadedSpec], lockfile: Lockfile
) -> tuple[dict[str, ParentBuild], dict[str, list[Problem]]]:
    """Return the builds that fine-tunes start from, and what is wrong with their parents.

    A parent without a build in production is absent from both.

    Args:
        specs: The valid specs.
        lockfile: What is recorded.
    """
    found: dict[str, ParentBuild] = {}
    problems: dict[str, list[Problem]] = {}
    for name, loaded in specs.items():
        parent = loaded.spec.parent
        if parent is None:
            continue
        wrong = list(_problems(loaded, specs, lockfile))
        if wrong:
            problems[name] = wrong
            continue
        entry = lockfile.finetunes.get(parent.finetune)
        build = None if entry is None else entry.builds.get(entry.production or "")
        if build is None:
            continue
        continues = parent.adapter == CONTINUE
        found[name] = ParentBuild(
            finetune=parent.finetune,
            build=build.fingerprint,
            adapter=parent.adapter,
            model_id=build.model_id,
            base_model=build.base_model if continues else build.model_id,
            revision=build.revision if continues else None,
        )
    return found, problems


def _problems(
    loaded: LoadedSpec, specs: Mapping[str, LoadedSpec], lockfile: Lockfile
) -> Iterator[Problem]:
    spec, parent, path = loaded.spec, loaded.spec.parent, ("base_model", "finetune")
    if parent is None:
        return
    name = parent.finetune
    if spec.revision is not None:
        message = "a fine-tune has no revision: its build in production counts"
        yield loaded.problem(("revision",), message, "Remove it.")
    if parent.adapter == CONTINUE and not spec.trains:
        message = "continues training, and `method: prompt` trains nothing"
        yield loaded.problem(("base_model", "adapter"), message, "Remove the line.")
    cycle = _cycle(loaded.name, specs)
    if cycle:
        message = f"no fine-tune starts from itself: {' -> '.join(cycle)}"
        yield loaded.problem(path, message, "Name another base model in one of them.")
        return
    entry = lockfile.finetunes.get(name)
    build = None if entry is None else entry.builds.get(entry.production or "")
    if name not in specs and build is None:
        others = sorted({*specs, *lockfile.finetunes} - {loaded.name})
        remedy = did_you_mean(name, others) or "Name a fine-tune of this repository."
        yield loaded.problem(path, f"there is no fine-tune {name}", remedy)
        return
    trains = specs[name].spec.trains if name in specs else None
    if trains is False or (trains is None and build is not None and build.prompt is not None):
        message = f"{name} trains nothing, so there is no model to start from"
        yield loaded.problem(path, message, "Name its base model.")
    home = build.backend if build is not None else specs[name].spec.place
    if home != spec.place:
        message = f"the model of {name} is at {home}, and this fine-tune is at {spec.place}"
        yield loaded.problem(path, message, "Name a fine-tune of the same backend and endpoint.")


def _cycle(name: str, specs: Mapping[str, LoadedSpec]) -> Sequence[str]:
    """Return the names from a fine-tune back to itself; empty if it does not start from itself."""
    chain = [name]
    while chain[-1] in specs:
        parent = specs[chain[-1]].spec.parent
        if parent is None:
            return ()
        chain.append(parent.finetune)
        if parent.finetune == name:
            return chain
        if parent.finetune in chain[:-1]:
            return ()  # a circle of others, whose problem it is
    return ()


def find_waiting(resolved: Mapping[str, Desired], lockfile: Lockfile) -> Iterator[Deferred]:
    """Yield the fine-tunes to train that start from one whose next build is not judged yet."""
    for name, one in resolved.items():
        entry = lockfile.finetunes.get(name, Entry())
        parent = None if one.parent is None else resolved.get(one.parent.finetune)
        if parent is None or one.fingerprint in entry.builds:
            continue
        other = lockfile.finetunes.get(parent.name, Entry())
        build = other.builds.get(parent.fingerprint)
        failed = parent.fingerprint in other.failures
        is_judged = build is not None and build.verdict is not None
        if is_judged or failed or parent.spec.lifecycle.suspend or parent.spec.lifecycle.pin:
            continue
        yield Deferred(
            name=name,
            reason=f"{parent.name}, from which it starts, is trained or judged first",
            remedy=f"Type `ftctl apply` again when {parent.name} is done.",
            parent=parent.name,
        )


def base_origin(written: str, revision: str | None, parent: ParentBuild | None) -> dict[str, Json]:
    """Return the base model as a job carries it, for a lockfile that is lost.

    Args:
        written: The base model as the spec names it.
        revision: Its pinned commit.
        parent: The build that training starts from; None for a base model.
    """
    if parent is None:
        return {"base_model": written, "revision": revision}
    origin: Json = parent.facts.model_dump(mode="json")
    return {"base_model": parent.base_model, "revision": revision, "parent": origin}
