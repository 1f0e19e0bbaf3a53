"""Trackers and runs: each evaluated build is written, and a tracker that is down fails nothing."""

import json
import os

import pytest

from backends.contract.errors import BackendError
from controller.track.builds import TrackedBuilds, track_builds
from controller.track.targets import Target

STUB = """\
import json, pathlib, sys
class Api:
    def runs(self, project):
        raise ValueError
class Run:
    def __init__(self, **given):
        self.given = given
        self.logged = []
    def log(self, numbers, step):
        self.logged.append([step, numbers])
    def finish(self):
        with open({file!r}, "a") as file:
            print(json.dumps([self.given, self.logged]), file=file)
def init(**given):
    return Run(**given)
"""


@pytest.fixture
def tracker(repo, tmp_path, monkeypatch):
    """Install a library that appends runs to a file, or fails; return that file."""
    libraries, file = tmp_path / "libraries", tmp_path / "runs.jsonl"
    libraries.mkdir()
    path = os.pathsep.join([str(libraries), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path.rstrip(os.pathsep))

    def install(program: str = STUB) -> None:
        (libraries / "trackio.py").write_text(program.replace("{file!r}", repr(str(file))))

    install()
    install.file = file
    repo.write("ftctl.yaml", "tracking: {trackio: {project: cafe}}\n")
    return install


def written(tracker) -> list:
    if not tracker.file.exists():
        return []
    return [json.loads(line) for line in tracker.file.read_text().splitlines()]


def test_an_evaluated_build_is_written(repo, tracker):
    repo.declare()
    repo.settle()
    ((given, logged),) = written(tracker)
    (build,) = repo.lockfile.finetunes["faq"].builds.values()
    assert given["config"]["build"] == build.fingerprint
    assert given["config"]["ftctl.verdict"] == "passed"
    scores = logged[-1][1]
    assert (
        scores["candidate/held_out_loss"] == build.evaluation.scores["candidate"]["held_out_loss"]
    )
    assert "difference/base/held_out_loss" in scores
    assert repo.reporter.notices == []


def test_a_build_that_fails_its_gate_is_written_too_and_again_when_it_is_judged(repo, tracker):
    repo.declare(gate=["stop_rate >= 2"])
    repo.settle()
    repo.declare(gate=[])
    assert repo.actions() == ["Judge faq"]
    repo.settle()
    verdicts = [given["config"]["ftctl.verdict"] for given, _ in written(tracker)]
    assert verdicts == ["failed", "passed"]
    assert len({given["name"] for given, _ in written(tracker)}) == 1


def test_a_tracker_that_is_down_fails_nothing_and_is_asked_once(repo, tracker, tmp_path):
    tracker(f"open({str(tmp_path / 'tries')!r}, 'a').write('x')\nraise RuntimeError('is down')\n")
    repo.declare("faq")
    repo.declare("other", seed=7)
    repo.run()
    result = repo.settle()
    assert result.exit_code == 0
    assert all(entry.production for entry in repo.lockfile.finetunes.values())
    (notice,) = repo.reporter.notices
    assert "is not at trackio: RuntimeError: is down" in notice
    assert "type `ftctl track " in notice
    assert "\n" not in notice
    assert (tmp_path / "tries").read_text() == "x"


def test_an_evaluation_that_failed_writes_nothing(repo, tracker):
    def silent(_model, _prompt):
        raise BackendError("the model does not answer", "Start it.")

    repo.use(answer=silent)
    repo.declare()
    result = repo.settle()
    assert result.exit_code == 1
    assert len(repo.lockfile.finetunes["faq"].builds) == 1
    assert written(tracker) == []


def test_nothing_is_started_without_a_tracker(repo, tracker):
    (repo.root / "ftctl.yaml").unlink()
    tracker("raise RuntimeError('asked')\n")
    repo.declare()
    repo.settle()
    assert repo.reporter.notices == []


def test_offline_writes_nothing_to_servers(repo, tmp_path, monkeypatch):
    libraries, file = tmp_path / "libraries", tmp_path / "asked"
    libraries.mkdir()
    (libraries / "mlflow.py").write_text(f"open({str(file)!r}, 'w').close()\n")
    monkeypatch.setenv("PYTHONPATH", f"{libraries}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    text = "tracking: {mlflow: {experiment: c, tracking_uri: 'http://127.0.0.1:9'}}\n"
    repo.write("ftctl.yaml", text)
    repo.declare()
    repo.offline = True
    repo.settle()
    assert repo.lockfile.finetunes["faq"].production is not None
    assert not file.exists()


@pytest.mark.parametrize("is_server", [True, False])
@pytest.mark.parametrize("is_private", [True, False])
def test_a_server_gets_no_sentences_about_private_data(repo, tracker, is_server, is_private):
    repo.write("ftctl.yaml", "")
    repo.declare(gate=["exact_match >= 2"], evaluation={"metrics": ["exact_match"]})
    repo.settle()
    builds = list(repo.lockfile.finetunes["faq"].builds.values())
    tracked = TrackedBuilds(name="faq", builds=builds, is_private=is_private)
    target = Target(tracker="trackio", settings={"project": "cafe"}, is_server=is_server)
    (result,) = track_builds(tracked, [target], repo.project, limit_s=60)
    assert result.problem is None
    ((given, logged),) = written(tracker)
    assert ("ftctl.reasons" in given["config"]) != (is_server and is_private)
    assert "candidate/exact_match" in logged[-1][1]
