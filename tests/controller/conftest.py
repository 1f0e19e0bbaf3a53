"""Values for the pure core, and a small repository whose backend is scripted."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from backends.contract.jobs import BaseModel, Estimate, Job, JobResult, JobState
from backends.testing import ScriptedBackend
from controller.evaluate.judgement import evidence_of, judge
from controller.lockfile.model import (
    Build,
    DataFacts,
    Entry,
    Evaluation,
    Failure,
    OpenJob,
    PartFacts,
    Verdict,
)
from controller.lockfile.store import read_lockfile
from controller.plan.approval import Approval, approve, terms_of
from controller.plan.desired import Desired
from controller.plan.fingerprint import (
    EVALUATION_SCHEME,
    TRAINING_SCHEME,
    evaluation_inputs,
    fingerprint,
    training_inputs,
)
from controller.project.project import Project
from controller.run.reconcile import prepare_run, run_until_settled
from controller.run.result import RunResult
from controller.run.stages import PreparedRun
from controller.run.state import RunOptions
from controller.spec.model import Spec
from tests.servers.postgres_server import running

ROWS = 24
YES = object()
"""Approve what the run's first plan shows."""


class Make:
    """Makes the records that a planner sees, each with everything but what a test is about."""

    def spec(self, **changes) -> Spec:
        value = {
            "backend": "scripted",
            "base_model": "acme/base",
            "data": {"train": [{"path": "data/faq.csv"}], "held_out": {"fraction": 0.25}},
            **changes,
        }
        return Spec.model_validate(value)

    def data(self, train: str = "sha256:" + "1" * 64, held_out: str = "sha256:" + "2" * 64):
        return DataFacts(
            train=PartFacts(digest=train, examples=90),
            held_out=PartFacts(digest=held_out, examples=10),
        )

    def desired(self, name: str = "faq", *, base="scripted:acme/base@1", facts=None, **spec):
        declared = self.spec(**spec)
        facts = facts or self.data()
        hyperparameters = {"learning_rate": 1e-4, "num_train_epochs": 3, **declared.hyperparameters}
        inputs = training_inputs(
            declared,
            base_model=base,
            hyperparameters=hyperparameters,
            train_digest=facts.train.digest,
        )
        measured = evaluation_inputs(
            declared, held_out_digest=facts.held_out.digest, train_digest=facts.train.digest
        )
        return Desired(
            name=name,
            file=f"finetunes/{name}.yaml",
            spec=declared,
            base_model=BaseModel(reference="acme/base", revision="1", identity=base),
            fingerprint=fingerprint(TRAINING_SCHEME, inputs),
            inputs=inputs,
            evaluation_fingerprint=fingerprint(EVALUATION_SCHEME, measured),
            evaluation_inputs=measured,
            data=facts,
            estimate=Estimate(usd=(1.5, 2.25), steps=270),
            data_changes={},
        )

    def terms(self, desired: Desired) -> dict[str, str]:
        """Return the terms on which a job for these inputs is approved."""
        digest = terms_of(desired.spec, desired.evaluation_fingerprint)
        return {"name": desired.name, "digest": digest}

    def job(self, desired: Desired, state: JobState = JobState.RUNNING, **changes) -> Job:
        job = Job(
            id="job-1",
            fingerprint=desired.fingerprint,
            attempt=1,
            state=state,
            created_s=1_790_000_000.0,
            finished_s=None if state.is_open else 1_790_000_060.0,
            result=JobResult(model_id="ft:faq:1") if state is JobState.SUCCEEDED else None,
            error="CUDA out of memory" if state is JobState.FAILED else None,
            origin={"terms": self.terms(desired)},
        )
        return replace(job, **changes)

    def open_job(self, desired: Desired, **changes) -> OpenJob:
        value = {
            "id": "job-1",
            "backend": desired.spec.backend,
            "fingerprint": desired.fingerprint,
            "attempt": 1,
            "inputs": dict(desired.inputs),
            "base_model": desired.spec.base_model,
            "revision": desired.base_model.revision,
            "data": desired.data,
            "submitted": "2026-11-20T09:00:00Z",
            "spec_commit": "0123456789ab",
            **changes,
        }
        return OpenJob(**value)

    def evaluation(self, desired: Desired, *, loss: float = 1.25, **scores) -> Evaluation:
        return Evaluation(
            fingerprint=desired.evaluation_fingerprint,
            inputs=dict(desired.evaluation_inputs),
            scores={
                "candidate": {"held_out_loss": loss, "stop_rate": 1.0, **scores},
                "base": {"held_out_loss": 2.5, "stop_rate": 0.25},
            },
            evaluated="2026-11-20T10:01:00Z",
        )

    def build(self, desired: Desired, *, evaluated: bool = True, loss: float = 1.25, **changes):
        opened = self.open_job(desired)
        evaluation = self.evaluation(desired, loss=loss) if evaluated else None
        verdict = None
        if evaluation is not None:
            judged = judge(desired.spec.gate, evidence_of(evaluation))
            verdict = Verdict(
                passed=judged.passed, gate=list(desired.spec.gate), failures=list(judged.failures)
            )
        value = {
            "fingerprint": desired.fingerprint,
            "attempt": 1,
            "backend": opened.backend,
            "job": "job-1",
            "model_id": "ft:faq:1",
            "inputs": dict(desired.inputs),
            "base_model": opened.base_model,
            "revision": opened.revision,
            "data": desired.data,
            "facts": {"trained_tokens": 123456, "seconds": 61.5},
            "submitted": "2026-11-20T09:00:00Z",
            "finished": "2026-11-20T10:00:00Z",
            "spec_commit": "0123456789ab",
            "evaluation": evaluation,
            "verdict": verdict,
            **changes,
        }
        return Build(**value)

    def entry(self, *builds: Build, production: Build | None = None, **changes) -> Entry:
        return Entry(
            builds={build.fingerprint: build for build in builds},
            production=production.fingerprint if production else None,
            **changes,
        )

    def failure(self, attempt: int = 1) -> Failure:
        return Failure(
            backend="scripted",
            job="job-1",
            attempt=attempt,
            error="failed: CUDA out of memory",
            finished="2026-11-20T10:00:00Z",
        )


class Quiet:
    """A screen that remembers what was said."""

    def __init__(self) -> None:
        self.outcomes = []
        self.notices = []

    def starting(self, action) -> None:
        pass

    def done(self, outcome) -> None:
        self.outcomes.append(outcome)

    def progress(self, jobs: Mapping[str, Job]) -> None:
        pass

    def download(self, name, done, total) -> None:
        pass

    def transfer(self, name: str, what: str, done: int, total: int) -> None:
        pass

    def told(self, message: str) -> None:
        pass

    def notice(self, message: str) -> None:
        self.notices.append(message)


def rows(count: int = ROWS, salt: str = "") -> str:
    return "question,answer\n" + "".join(f"q{salt}{n}?,a{salt}{n}.\n" for n in range(count))


@dataclass
class Repository:
    """Real files, a real lockfile, and a backend that outlives them."""

    root: Path
    service: Path
    backend: ScriptedBackend = field(init=False)
    reporter: Quiet = field(default_factory=Quiet)
    offline: bool = False

    def __post_init__(self) -> None:
        self.use()
        self.write("finetunes/data/faq.csv", rows())

    @property
    def project(self) -> Project:
        return Project(root=self.root, state=self.root / ".ftctl", offline=self.offline)

    @property
    def lockfile_path(self) -> Path:
        return self.root / "finetunes" / "ftctl.lock"

    @property
    def lockfile(self):
        return read_lockfile(self.root, self.project.state)

    def use(self, **settings) -> ScriptedBackend:
        """Let calls go to the same service with other scripts."""
        self.backend = ScriptedBackend(self.service, **settings)
        return self.backend

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def declare(self, name: str = "faq", **changes) -> None:
        value = {
            "backend": "scripted",
            "base_model": "acme/base",
            "data": {
                "train": [
                    {
                        "path": "data/faq.csv",
                        "columns": {"user": "question", "assistant": "answer"},
                    }
                ],
                "held_out": {"fraction": 0.25},
            },
            **changes,
        }
        # JSON is YAML.
        self.write(f"finetunes/{name}.yaml", json.dumps(value, ensure_ascii=False, indent=1))

    def withdraw(self, name: str = "faq") -> None:
        (self.root / "finetunes" / f"{name}.yaml").unlink()

    def planned(self, replace=()) -> PreparedRun:
        return prepare_run(
            self.project, lambda _settings: lambda _place: self.backend, replace=replace
        )

    def approval(self, planned: PreparedRun | None = None, only=()) -> Approval:
        """Approve a plan, or what is planned now."""
        plan = (planned or self.planned()).plan
        return approve(plan.actions, plan.decisions, plan.settings, only)

    def run(self, *, approval=YES, wait=False, only=(), planned=None) -> RunResult:
        planned = planned or self.planned()
        if approval is YES:
            approval = self.approval(planned, only)
        options = RunOptions(approval=approval, wait=wait, lock_timeout_s=10.0)
        return run_until_settled(planned, self.reporter, options)

    def reconcile(self, **settings) -> RunResult:
        """Run without anybody's approval."""
        return self.run(approval=None, **settings)

    def settle(self, runs: int = 24) -> RunResult:
        """Run until no job is open."""
        for _ in range(runs):
            result = self.run()
            if not result.waiting:
                return result
        raise AssertionError(f"still waiting: {result.waiting}")

    def actions(self) -> list[str]:
        return [f"{type(a).__name__} {a.name}" for a in self.planned().plan.actions]


@pytest.fixture
def make() -> Make:
    return Make()


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    (tmp_path / "repository").mkdir()
    return Repository(root=tmp_path / "repository", service=tmp_path / "service")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the scripted backend as a third party would: by an entry point."""
    packages = tmp_path / "site-packages"
    info = packages / "ftctl_scripted-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ftctl-scripted\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ftctl.backends]\nscripted = backends.testing:create\n")
    monkeypatch.setattr(sys, "path", [str(packages), *sys.path])


@pytest.fixture(scope="session")
def run_postgres() -> Callable[[], AbstractContextManager[dict]]:
    """Return a function that runs a PostgreSQL for a block; skip where none is installed."""
    if find_spec("pgserver") is None:
        pytest.skip("pgserver, which brings PostgreSQL, is not installed")
    return running


@pytest.fixture(scope="session")
def postgres_server(run_postgres) -> Iterator[dict]:
    """Run one PostgreSQL for all tests of this process: its URL and process ID."""
    with run_postgres() as server:
        yield server


@pytest.fixture
def mortal_postgres_server(run_postgres) -> Iterator[dict]:
    """Run a PostgreSQL for one test, which may kill it."""
    with run_postgres() as server:
        yield server
