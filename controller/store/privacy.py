"""Models that learned from private data, which only a private store may hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from controller.errors import Problem, Refused
from controller.lockfile.model import Build, Entry
from controller.project.project import Project
from controller.spec.load import LoadedSpec, read_specs
from controller.spec.sections.store import StoreSettings
from controller.spec.settings import FILE


@dataclass(frozen=True, slots=True, kw_only=True)
class Privacy:
    """What the specs of a repository declare about the data of its models."""

    settings: StoreSettings
    specs: Mapping[str, LoadedSpec]
    problems: Mapping[str, Sequence[Problem]]

    def refusal(self, name: str, build: Build) -> Refused | None:
        """Return why the store must not hold a build; None if it may.

        Args:
            name: The fine-tune.
            build: One of its builds.
        """
        if self.settings.private:
            return None
        reason = self._reason(name, build)
        if reason is None:
            return None
        return Refused(
            f"{name}: {reason}, and the store {self.settings.url} is not marked private",
            f"If only people who may see that data can read the store, write `private: true` "
            f"under `store` in {FILE}.",
        )

    def _reason(self, name: str, build: Build) -> str | None:
        parent = None if build.parent is None else build.parent.finetune
        seen = {name}
        if (reason := self._declared(name)) is not None:
            return reason
        while parent is not None and parent not in seen:
            if (reason := self._declared(parent)) is not None:
                return f"it starts from {parent}, and there {reason}"
            seen.add(parent)
            started = self.specs[parent].spec.parent
            parent = None if started is None else started.finetune
        return None

    def _declared(self, name: str) -> str | None:
        if name not in self.specs:
            problem = "cannot be read" if name in self.problems else "is gone"
            return f"its spec, which tells whether its data is private, {problem}"
        return "its data is private" if self.specs[name].spec.data.is_private else None


def privacy_of(project: Project, settings: StoreSettings) -> Privacy:
    """Read what the specs of a repository declare."""
    specs, problems = read_specs(project.root, project.state / "specs.json")
    return Privacy(settings=settings, specs=specs, problems=problems)


def named_builds(entries: Mapping[str, Entry]) -> list[tuple[str, Build]]:
    """Return every recorded build with the name of its fine-tune."""
    return [(name, build) for name, entry in entries.items() for build in entry.builds.values()]
