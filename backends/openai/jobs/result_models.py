"""Models of jobs that name none: at some servers, the newest checkpoint is a job's result."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from backends.contract.jobs import JobState
from backends.openai.api.protocol import Body, OutcomeUnknown, Rejected, objects
from backends.openai.jobs.conversions import model_of, raw_state, to_checkpoints
from backends.openai.profiles.profile import CheckpointResult

if TYPE_CHECKING:
    from backends.openai.api.client import Client


@dataclass(eq=False, kw_only=True)
class ResultModels:
    """Names of the models that the jobs of one server made."""

    client: "Client"
    result: CheckpointResult | None
    """None: every job names its model."""
    _known: dict[str, str] = field(default_factory=dict)

    def named(self, job: Body) -> Body:
        """Return a succeeded job with the name of its model; other jobs as they are.

        A job whose checkpoints cannot be read stays without a name, and so counts as open.
        """
        job_id = str(job.get("id"))
        if self.result is None or model_of(job) or raw_state(job) is not JobState.SUCCEEDED:
            return job
        if job_id not in self._known:
            try:
                listed = objects(self.client.list_checkpoints(job_id))
            except (Rejected, OutcomeUnknown):
                return job
            if not (saved := to_checkpoints(listed, self.result, job_id)):
                return job
            self._known[job_id] = str(saved[-1]["model"])
        return {**job, "fine_tuned_model": self._known[job_id]}
