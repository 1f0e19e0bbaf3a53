"""Aliases that stand for something else already, found the same way by `plan` and the server. Pure."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from backends.excerpt import excerpt
from controller.errors import Problem
from controller.lockfile.model import Lockfile
from controller.spec.load import LoadedSpec
from controller.spec.settings import public_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Clash:
    """Reason why an alias cannot stand for its fine-tune."""

    message: str
    """Follows the alias in a sentence: `is the name of the fine-tune faq`."""
    remedy: str


def find_clashes(
    aliases: Mapping[str, Sequence[str]],
    declared: Collection[str],
    lockfile: Lockfile,
    bases: Collection[str],
) -> dict[str, dict[str, Clash]]:
    """Return the aliases that stand for something else already, by fine-tune and alias.

    The model IDs of a fine-tune's own builds may be its aliases: a hosted model that was adopted,
    and then trained again elsewhere, keeps answering to its old name. What is recorded without a
    spec and without protection is about to be forgotten, and reserves no name.

    Args:
        aliases: The aliases of each fine-tune.
        declared: Names of all fine-tunes with a spec, also of those that cannot be read.
        lockfile: What is recorded.
        bases: Public IDs of the base models that the server offers.
    """
    if not any(aliases.values()):
        return {}
    kept = {
        name: entry
        for name, entry in lockfile.finetunes.items()
        if name in declared or entry.protect
    }
    models, owners = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
    for name, entry in kept.items():
        for build in entry.builds.values():
            models[build.model_id].append(name)
    for name, written in aliases.items():
        for alias in written:
            owners[alias].append(name)
    taken = _Taken(names={*declared, *kept}, bases=bases, models=models, owners=owners)
    found = {
        name: {alias: clash for alias in written if (clash := taken.clash(alias, name)) is not None}
        for name, written in aliases.items()
    }
    return {name: clashes for name, clashes in found.items() if clashes}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Taken:
    """Meanings of names."""

    names: Collection[str]
    bases: Collection[str]
    models: Mapping[str, Sequence[str]]
    """Fine-tunes with a build of each model ID."""
    owners: Mapping[str, Sequence[str]]
    """Fine-tunes whose specs have each alias."""

    def clash(self, alias: str, owner: str) -> Clash | None:
        if alias == owner:
            message = "is the name of this fine-tune, which answers to it anyway"
            return Clash(message=message, remedy="Remove it.")
        if alias in self.names:
            message = f"is the name of the fine-tune {alias}"
            return Clash(message=message, remedy="Remove it, or rename that fine-tune.")
        if alias in self.bases:
            message = "is a base model of `serve.base_models` in ftctl.yaml"
            return Clash(message=message, remedy="Remove it, or do not serve that base model.")
        if trained := [name for name in self.models.get(alias, ()) if name != owner]:
            message = f"is the model ID of a build of {trained[0]}"
            remedy = f"Remove it, or write it in finetunes/{trained[0]}.yaml."
            return Clash(message=message, remedy=remedy)
        if others := [name for name in self.owners[alias] if name != owner]:
            message = f"is also an alias of {' and '.join(others)}"
            return Clash(message=message, remedy="Keep it in one spec.")
        return None


def alias_problems(
    specs: Mapping[str, LoadedSpec],
    unread: Collection[str],
    lockfile: Lockfile,
    base_models: Collection[str],
) -> dict[str, list[Problem]]:
    """Return the problems of aliases, by fine-tune.

    Args:
        specs: The specs that could be read.
        unread: Names of the others.
        lockfile: What is recorded.
        base_models: `serve.base_models` as `ftctl.yaml` has them.
    """
    aliases = {name: loaded.spec.aliases for name, loaded in specs.items() if loaded.spec.aliases}
    bases = {public_id(written) for written in base_models}
    clashes = find_clashes(aliases, {*specs, *unread}, lockfile, bases)
    return {
        name: [
            specs[name].problem(
                ("aliases", aliases[name].index(alias)),
                f"{excerpt(alias)} {clash.message}",
                clash.remedy,
            )
            for alias, clash in found.items()
        ]
        for name, found in clashes.items()
    }
