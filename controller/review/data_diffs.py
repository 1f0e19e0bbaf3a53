"""Examples of new builds that differ from earlier ones: from the cache, or from git."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property

from controller.data.recipes import NEWEST
from controller.data.reports.diff import DatasetSplits, earlier_datasets, show_differences
from controller.errors import FtctlError
from controller.lockfile.model import Build, Entry, Lockfile
from controller.plan.desired import Desired
from controller.plan.fingerprint import short_id
from controller.plan.state import previous_build
from controller.project.project import Project
from controller.render.comment.facts import DataDiff
from controller.resolve.git_checkout import Revision
from controller.resolve.inputs import Readings, build_one
from controller.run.load import RunInputs
from controller.run.stages import PreparedRun

_HIDDEN = "Examples are not shown, because the data is declared private."


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A plan, and where earlier datasets come from."""

    prepared: PreparedRun
    recorded: Lockfile
    base: Revision | None
    """The base commit; None if it is not known here."""

    @property
    def _inputs(self) -> RunInputs:
        return self.prepared.loaded.inputs

    @property
    def _project(self) -> Project:
        return self._inputs.project

    @cached_property
    def _cached(self) -> Mapping[tuple[str, str], DatasetSplits]:
        return earlier_datasets(self._project.state / "data")

    def fetch_earlier(self, names: Iterable[str]) -> None:
        """Copy what the base commit has of datasets that are to be compared, all at once."""
        base = self.base
        if base is None:
            return
        found = []
        for name in names:
            build = previous_build(self.recorded.finetunes.get(name, Entry()))
            if build is None or _digests(build) not in self._cached:
                with suppress(FtctlError):
                    found.append(base.spec(name))
        base.copy_data(*found)

    def data_diff(self, name: str) -> DataDiff | None:
        """Compare the new dataset of a fine-tune with that of the build it replaces, or of git.

        Returns:
            None if there was no dataset before, or the same one.
        """
        desired, dataset = self.prepared.desired[name], self.prepared.resolved.datasets[name]
        new = DatasetSplits(dataset.train, dataset.held_out)
        build = previous_build(self.recorded.finetunes.get(name, Entry()))
        if build is not None and _digests(build) == new.digests:
            return None
        try:
            found = self._earlier(desired, build)
        except (FtctlError, OSError) as error:
            return None if build is None else _unknown(build, error)
        if found is None or found[0].digests == new.digests:
            return None
        old, against = found
        try:
            difference, samples = show_differences(old, new, self._project.state / "data")
        except (OSError, ValueError) as error:
            return DataDiff(against=against, note=f"The examples cannot be compared: {error}")
        if desired.spec.data.is_private:
            return DataDiff(against=against, difference=difference, note=_HIDDEN)
        return DataDiff(against=against, difference=difference, samples=samples)

    def _earlier(self, desired: Desired, build: Build | None) -> tuple[DatasetSplits, str] | None:
        """Return the earlier dataset and its name for people.

        Raises:
            FtctlError: The base commit does not have it, or its data cannot be read.
        """
        name = None if build is None else f"build {short_id(build.fingerprint)}"
        if build is not None and name is not None:
            cached = self._cached.get(_digests(build))
            if cached is not None:
                return cached, name
        if self.base is None or f"finetunes/{desired.name}.yaml" not in self.base.files:
            if build is None:
                return None
            raise FtctlError("its dataset is not on this machine, and no base commit has it")
        old = self._at_base(desired, self.base)
        if build is not None and old.digests == _digests(build):
            return old, f"{name}"
        return old, f"the base commit {self.base.commit[:12]}"

    def _at_base(self, desired: Desired, base: Revision) -> DatasetSplits:
        """Build the dataset that the base commit declares, as a new build would be made of it.

        Base models are not in git: the present one counts tokens.
        """
        past = base.spec(desired.name)
        base.copy_data(past)
        if past.spec.method != desired.spec.method:
            raise FtctlError(f"the method was {past.spec.method}, and examples have another form")
        dataset = build_one(
            past,
            desired.base_model,
            self.prepared.open_backend(desired.spec.place),
            Readings(project=replace(self._project, root=base.root), fetched=self._inputs.fetched),
            self.prepared.resolved.requests[desired.name].hyperparameters,
            NEWEST,
        ).dataset
        return DatasetSplits(dataset.train, dataset.held_out)


def _digests(build: Build) -> tuple[str, str]:
    return build.data.train.digest, build.data.held_out.digest


def _unknown(build: Build, error: Exception) -> DataDiff:
    against = f"build {short_id(build.fingerprint)}"
    why = error.one_line if isinstance(error, FtctlError) else str(error)
    return DataDiff(against=against, note=f"The examples of {against} are not compared here: {why}")
