"""A backend that raises, or answers what the contract does not have, is named and fails alone."""

import errno
import pickle
import sys
from asyncio import CancelledError
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from backends.contract.backend import Endpoint
from backends.contract.capabilities import Capabilities
from backends.contract.completions import Completed, Completion, Prompt, Sampling
from backends.contract.errors import (
    BackendError,
    BackendUnknown,
    FieldProblem,
    HyperparametersInvalid,
    MachineFailed,
    ModelMissing,
)
from backends.contract.exports import ExportRequest
from backends.contract.guard.guarded import GuardedInspector, Pausable, guard
from backends.contract.guard.value_types import misfit
from backends.contract.inspector import Json, Limits, Piece
from backends.contract.jobs import (
    BaseModel,
    CurvePoint,
    Estimate,
    Event,
    Job,
    JobResult,
    JobState,
    Progress,
    TrainRequest,
)
from backends.contract.recording import AnswerPrice, AnswersEstimate
from backends.registry import BUILT_IN, open_backend
from backends.testing import Crash, ScriptedBackend, WordInspector, check_backend

BASE = BaseModel(reference="acme/base", revision="1", identity="scripted:acme/base@1")
KEY = "ft1:" + "ab" * 32
NOWHERE = Path("/nonexistent")
REQUEST = TrainRequest(
    name="faq",
    fingerprint=KEY,
    attempt=1,
    base_model=BASE,
    method="supervised",
    hyperparameters={"learning_rate": 1e-4, "num_train_epochs": 3},
    seed=42,
    train=NOWHERE,
    held_out=NOWHERE,
    train_origins=NOWHERE,
)
JOB = Job(id="job-1", fingerprint=KEY, attempt=1, state=JobState.RUNNING, created_s=1.0)
PROMPT = Prompt(messages=[{"role": "user", "content": "?"}])
TOKENS = AnswersEstimate(prompt_tokens=9, completion_tokens=(3, 9))
SAID = Completion(text="yes", finish_reason="stop")
FIRST, SECOND = (Completed(model=0, prompt=place, completion=SAID) for place in range(2))
REMEDY = (
    "Report it to the authors of acme; `backends.testing.check_backend` shows what the contract "
    "asks."
)

EXPORT = ExportRequest(model_id="model-1", name="faq", format="adapter", folder=NOWHERE)

CALLS = {
    "capabilities": lambda b: b.capabilities(),
    "parse_hyperparameters": lambda b: b.parse_hyperparameters("supervised", {}),
    "common_names": lambda b: b.common_names(),
    "resolve_base_model": lambda b: b.resolve_base_model("acme/base", None, NOWHERE),
    "inspector": lambda b: b.inspector(BASE, "supervised", {}),
    "estimate": lambda b: b.estimate(REQUEST, 10, None),
    "find_jobs": lambda b: b.find_jobs(iter([KEY])),
    "find_jobs_by_name": lambda b: b.find_jobs_by_name(iter(["faq"])),
    "verify_job": lambda b: b.verify_job(REQUEST, "job-1"),
    "submit": lambda b: b.submit(REQUEST),
    "observe": lambda b: b.observe(iter(["job-1"])),
    "events": lambda b: list(b.events("job-1")),
    "curve": lambda b: list(b.curve("job-1")),
    "cancel": lambda b: b.cancel("job-1"),
    "complete": lambda b: list(b.complete(BASE, [None], [PROMPT, PROMPT], Sampling())),
    "export_model": lambda b: list(b.export_model(EXPORT)),
    "weights_folder": lambda b: b.weights_folder("model-1"),
    "answers": lambda b: b.answers(BASE),
    "estimate_answers": lambda b: b.estimate_answers(BASE, None, [PROMPT], Sampling()),
    "stored_completions": lambda b: list(b.stored_completions(None, {})),
    "stored_messages": lambda b: b.stored_messages("chatcmpl-1"),
    "open_engine": lambda b: b.open_engine(BASE),
    "delete": lambda b: b.delete("model-1"),
}


def acme(folder: Path, **methods):
    """Return a guarded backend of which some methods are replaced."""
    kind = type("Acme", (ScriptedBackend,), methods)
    return guard("acme", lambda: kind(folder), built_in=False)


def test_a_guarded_backend_keeps_the_contract(tmp_path: Path):
    check_backend(acme(tmp_path), REQUEST, poll_s=0.0)


@pytest.mark.parametrize("method", CALLS)
def test_whatever_a_method_raises_names_backend_method_and_place(tmp_path: Path, method: str):
    def broken(*_):
        raise ValueError("no\n table " + "x" * 1000)

    with pytest.raises(BackendError) as caught:
        CALLS[method](acme(tmp_path, **{method: broken}))
    message = caught.value.message
    assert message.startswith(f"backend acme: {method} failed: ValueError: no table xxx")
    line = broken.__code__.co_firstlineno + 1
    assert message.endswith(f"(test_guarded.py:{line})")
    assert len(message) < 400
    assert caught.value.remedy == REMEDY
    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize("method", CALLS)
@pytest.mark.parametrize("stop", [SystemExit, CancelledError])
def test_what_would_end_or_cancel_the_caller_is_a_fault(tmp_path: Path, method: str, stop: type):
    def broken(*_):
        raise stop

    with pytest.raises(BackendError, match=f"backend acme: {method} failed"):
        CALLS[method](acme(tmp_path, **{method: broken}))


@pytest.mark.parametrize("method", CALLS)
@pytest.mark.parametrize("stop", [KeyboardInterrupt, Crash])
def test_what_ends_the_process_passes(tmp_path: Path, method: str, stop: type):
    def broken(*_):
        raise stop

    with pytest.raises(stop):
        CALLS[method](acme(tmp_path, **{method: broken}))


@pytest.mark.parametrize("method", CALLS)
def test_what_a_backend_means_to_say_passes(tmp_path: Path, method: str):
    problems = HyperparametersInvalid([FieldProblem(field="lr", message="is not known")])
    for meant in (ModelMissing("gone", "train it"), problems):

        def says(*_, meant=meant):
            raise meant

        with pytest.raises(type(meant)) as caught:
            CALLS[method](acme(tmp_path, **{method: says}))
        assert caught.value is meant


class Wordless(BackendError):
    def __init__(self) -> None:
        pass


@pytest.mark.parametrize(
    "error", [BackendError("no", None), BackendError(ValueError("no")), Wordless()]
)
def test_an_error_that_nobody_could_print_is_a_fault(tmp_path: Path, error: BackendError):
    def says(*_):
        raise error

    with pytest.raises(BackendError, match=r"backend acme: find_jobs failed: .*test_guarded"):
        acme(tmp_path, find_jobs=says).find_jobs([KEY])


def test_what_the_machine_refuses_is_told_apart(tmp_path: Path):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "/data/run")

    with pytest.raises(MachineFailed) as caught:
        acme(tmp_path, submit=full).submit(REQUEST)
    # Whoever tries again after an OSError does so; whoever shows a BackendError can.
    assert isinstance(caught.value, OSError)
    assert "OSError: [Errno 28] No space left on device: '/data/run'" in str(caught.value)
    assert caught.value.remedy.startswith("Free some space, then run the same command again.")


BAD = {"learning_rate": float("nan")}
GOOD = JobResult(model_id="m")
WRONG = [
    ("capabilities", None, "None, the contract asks for Capabilities"),
    ("capabilities", Capabilities(methods="supervised", remote=False, paid=False), "with methods"),
    ("capabilities", Capabilities(methods={1}, remote=False, paid=False), "with methods 1"),
    ("capabilities", Capabilities(methods=set(), remote=1, paid=False), "remote 1, the contract"),
    (
        "capabilities",
        Capabilities(methods=set(), remote=False, paid=False, poll_s=float("inf")),
        "poll_s inf",
    ),
    ("parse_hyperparameters", [], "[], the contract asks for dict[str, Json]"),
    ("parse_hyperparameters", BAD, "what JSON can hold"),
    ("parse_hyperparameters", {"layers": {1, 2}}, "a value that JSON can hold"),
    ("parse_hyperparameters", {1: "one"}, "1, the contract asks for str"),
    ("resolve_base_model", "acme/base", "'acme/base', the contract asks for BaseModel"),
    ("resolve_base_model", replace(BASE, identity=""), "a reference and an identity"),
    (
        "resolve_base_model",
        replace(BASE, revision=7),
        "revision 7, the contract asks for str | None",
    ),
    (
        "inspector",
        None,
        "None without count, check, show, warnings, the contract asks for an ExampleInspector",
    ),
    ("estimate", 3.0, "3.0, the contract asks for Estimate"),
    ("estimate", Estimate(usd=3.0), "usd 3.0, the contract asks for tuple[float, float] | None"),
    ("estimate", Estimate(usd=(2.0, 1.0)), "(2.0, 1.0), the contract asks for a range"),
    ("estimate", Estimate(gpu_hours=(0.0, float("nan"))), "a range"),
    ("estimate", Estimate(steps=-1), "-1 steps"),
    ("find_jobs", [JOB], "the contract asks for dict[str, tuple[Job, ...]]"),
    ("find_jobs", {KEY: [JOB]}, "the contract asks for tuple[Job, ...]"),
    ("find_jobs", {KEY: (replace(JOB, fingerprint="ft1:00"),)}, "of fingerprint 'ft1:00'"),
    ("find_jobs", {"ft1:00": ()}, "an answer for 'ft1:00'"),
    ("find_jobs_by_name", (JOB,), "the contract asks for dict[str, tuple[Job, ...]]"),
    ("find_jobs_by_name", {"other": (JOB,)}, "an answer for 'other'"),
    ("find_jobs_by_name", {"faq": (replace(JOB, origin=None),)}, "Job with origin None"),
    ("find_jobs_by_name", {"faq": (replace(JOB, result=GOOD),)}, "exactly when"),
    ("submit", None, "None, the contract asks for Job"),
    ("submit", replace(JOB, attempt=2), "attempt 2, the contract asks for"),
    ("submit", replace(JOB, id=""), "without ID"),
    ("submit", replace(JOB, state="running"), "Job with state 'running', the contract asks for"),
    ("submit", replace(JOB, created_s="now"), "created_s 'now', the contract asks for float"),
    ("submit", replace(JOB, attempt=True), "attempt True, the contract asks for int"),
    ("submit", replace(JOB, progress=Progress(step="1", total_steps=2)), "step '1'"),
    ("submit", replace(JOB, result=GOOD), "exactly when the state is 'succeeded'"),
    ("submit", replace(JOB, state=JobState.SUCCEEDED), "exactly when the state is 'succeeded'"),
    (
        "submit",
        replace(JOB, state=JobState.SUCCEEDED, result=JobResult(model_id="")),
        "a model ID",
    ),
    (
        "submit",
        replace(JOB, state=JobState.SUCCEEDED, result=replace(GOOD, facts={"at": NOWHERE})),
        "Job with result JobResult with facts",
    ),
    ("observe", None, "None, the contract asks for dict[str, Job]"),
    ("observe", {"job-1": replace(JOB, id="job-2")}, "job 'job-2', the contract asks for job"),
    ("observe", {"job-2": JOB}, "an answer for 'job-2'"),
    ("events", ["a line"], "'a line', the contract asks for Event"),
    ("events", [Event(time_s=1.0, message=None)], "message None, the contract asks for str"),
    ("events", None, "failed: TypeError"),
    ("common_names", {"epochs": "passes"}, "['passes'], the contract asks for names of"),
    ("common_names", None, "None, the contract asks for Mapping[str, str]"),
    ("curve", [1.5], "1.5, the contract asks for CurvePoint"),
    ("curve", [CurvePoint(step=1.5)], "step 1.5, the contract asks for int"),
    ("curve", None, "failed: TypeError"),
    ("complete", [[SAID, SAID]], "the contract asks for an iterator that yields a Completed"),
    ("complete", [FIRST, SECOND], "the contract asks for an iterator"),
    ("complete", None, "None, the contract asks for an iterator"),
    ("complete", iter(["yes"]), "'yes', the contract asks for Completed"),
    ("complete", iter([SAID]), "the contract asks for Completed"),
    (
        "complete",
        iter([]),
        "0 answers, none of model 0 to prompt 0, the contract asks for an answer",
    ),
    ("complete", iter([SECOND]), "1 answers, none of model 0 to prompt 0"),
    ("complete", iter([FIRST, FIRST]), "an answer of model 0 to prompt 0 twice"),
    (
        "complete",
        iter([replace(FIRST, model=1)]),
        "of model 1 to prompt 0, the contract asks for pl",
    ),
    ("complete", iter([replace(FIRST, prompt=-1)]), "of model 0 to prompt -1, the contract asks"),
    (
        "complete",
        iter([replace(FIRST, completion=replace(SAID, latency_s="1"))]),
        "Completed with completion Completion with latency_s '1'",
    ),
    ("export_model", ["done"], "'done', the contract asks for ExportStep"),
    ("export_model", None, "failed: TypeError"),
    ("weights_folder", "models", "'models', the contract asks for"),
    ("answers", None, "None, the contract asks for bool"),
    ("answers", 1, "1, the contract asks for bool"),
    ("estimate_answers", 1.5, "1.5, the contract asks for AnswersEstimate"),
    ("estimate_answers", replace(TOKENS, completion_tokens=(9, 3)), "the least, then the most"),
    ("estimate_answers", replace(TOKENS, prompt_tokens=-1), "the least, then the most"),
    (
        "estimate_answers",
        replace(TOKENS, price=AnswerPrice(input=-1.0, output=1.0)),
        "the contract asks for a price",
    ),
    ("stored_completions", ["one"], "'one', the contract asks for StoredCompletion"),
    ("stored_completions", None, "failed: TypeError"),
    ("stored_messages", ["hello"], "the contract asks for tuple"),
    ("open_engine", None, "None without generate, close, the contract asks for an Engine"),
]


@pytest.mark.parametrize(("method", "answer", "said"), WRONG)
def test_a_wrong_answer_is_named(tmp_path: Path, method: str, answer, said: str):
    with pytest.raises(BackendError) as caught:
        CALLS[method](acme(tmp_path, **{method: lambda *_: answer}))
    assert caught.value.message.startswith(f"backend acme: {method} ")
    assert said in caught.value.message
    assert caught.value.remedy == REMEDY


class WithoutCurve:
    """A backend that was written before `curve` and exports were in the contract."""

    def __init__(self, folder: Path) -> None:
        self.inner = ScriptedBackend(folder, script=[JobState.SUCCEEDED])

    def __getattr__(self, name: str):
        if name in {"curve", "export_model", "weights_folder"}:
            raise AttributeError(name)
        return getattr(self.inner, name)


def test_a_backend_without_curves_knows_none(tmp_path: Path):
    backend = guard("acme", lambda: WithoutCurve(tmp_path), built_in=False)
    job = backend.submit(REQUEST)
    assert list(backend.curve(job.id)) == []
    assert list(backend.inner.inner.curve(job.id))
    assert list(backend.export_model(EXPORT)) == []
    assert backend.weights_folder("model-1") is None
    check_backend(WithoutCurve(tmp_path / "other"), REQUEST, poll_s=0.0)


def test_a_backend_that_records_nothing_has_no_prices_and_nothing_stored(tmp_path: Path):
    backend = guard("acme", lambda: ScriptedBackend(tmp_path), built_in=False)
    assert backend.estimate_answers(BASE, None, [PROMPT], Sampling()) is None
    assert list(backend.stored_completions(None, {})) == []
    assert backend.stored_messages("chatcmpl-1") == ()


def test_what_is_skipped_may_be_missing_and_must_not_be_answered(tmp_path: Path):
    def ask(answers, skip):
        backend = acme(tmp_path, complete=lambda *_: iter(answers))
        return list(backend.complete(BASE, [None], [PROMPT, PROMPT], Sampling(), skip=skip))

    assert ask([SECOND], {(0, 0)}) == [SECOND]
    assert ask([], {(0, 0), (0, 1)}) == []
    with pytest.raises(BackendError, match="prompt 0, the contract asks for no answers that are"):
        ask([FIRST, SECOND], {(0, 0)})


def test_answers_before_a_fault_are_had_and_closing_ends_the_work(tmp_path: Path):
    ended = []

    def answers(*_):
        try:
            yield FIRST
            raise ValueError("no table")
        finally:
            ended.append(True)

    backend = acme(tmp_path, complete=answers)
    asked = backend.complete(BASE, [None], [PROMPT, PROMPT], Sampling())
    assert next(asked) == FIRST
    with pytest.raises(BackendError, match="complete failed: ValueError: no table"):
        next(asked)
    asked = backend.complete(BASE, [None], [PROMPT, PROMPT], Sampling())
    next(asked)
    assert ended == [True]
    asked.close()
    assert ended == [True, True]


class Former(ScriptedBackend):
    """A backend from before methods were renamed."""

    find = ScriptedBackend.find_jobs
    identify = ScriptedBackend.resolve_base_model
    find_jobs = resolve_base_model = property()


def test_a_backend_of_an_earlier_contract_is_refused_with_the_new_names(tmp_path: Path):
    with pytest.raises(BackendError) as caught:
        guard("acme", lambda: Former(tmp_path), built_in=False)
    assert caught.value.message == (
        "backend acme was written for an earlier contract: it has find, identify"
    )
    assert caught.value.remedy == (
        "Rename its methods: find to find_jobs, identify to resolve_base_model."
    )


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_ours_are_guarded_too_and_pause_where_they_can(tmp_path: Path, name: str):
    url = "http://127.0.0.1:9/v1"
    opened = open_backend(name, tmp_path, Endpoint(name="default", base_url=url))
    assert opened.name == name
    assert isinstance(opened, Pausable)
    with pytest.raises(BackendError) as caught:
        opened.parse_hyperparameters([], {})
    assert caught.value.message.startswith(f"backend {name}: parse_hyperparameters failed: ")
    assert caught.value.remedy == "Please report this as a defect of ftctl."


def test_a_backend_that_cannot_pause_is_not_said_to(tmp_path: Path):
    assert not isinstance(acme(tmp_path), Pausable)
    paused = []
    backend = acme(tmp_path, pause=lambda _, job_id: paused.append(job_id))
    assert isinstance(backend, Pausable)
    backend.pause("job-1")
    assert paused == ["job-1"]


class Stumbles(WordInspector):
    def check(self, _):
        raise KeyError("messages")

    def count(self, _):
        return [1]

    def show(self, _):
        return [Piece(text=1, trained=True)]

    def all_pass(self, _):
        return None

    def warnings(self, _):
        return [None]

    identity = 7


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda e: e.check({}), "inspector.check failed: KeyError: 'messages'"),
        (lambda e: e.count([{}, {}]), "inspector.count returned 1 counts"),
        (lambda e: e.show({}), "inspector.show returned Piece with text 1"),
        (lambda e: e.all_pass(b""), "inspector.all_pass returned None"),
        (lambda e: e.warnings([]), "inspector.warnings returned None"),
        (lambda e: e.identity, "inspector.identity returned 7"),
        (lambda e: e.limits, "inspector.limits returned Limits with min_examples 'one'"),
    ],
)
def test_an_inspector_is_guarded_in_every_process(tmp_path: Path, ask, said: str):
    inspector = acme(
        tmp_path, inspector=lambda *_: Stumbles(limits=Limits(min_examples="one"))
    ).inspector(BASE, "supervised", {})
    assert isinstance(inspector, GuardedInspector)
    for one in (inspector, pickle.loads(pickle.dumps(inspector))):
        with pytest.raises(BackendError) as caught:
            ask(one)
        assert f"backend acme: {said}" in caught.value.message


class Brief:
    """An inspector that leaves out what may be left out."""

    count, check = WordInspector.count, WordInspector.check
    show, warnings = WordInspector.show, WordInspector.warnings


def test_what_an_inspector_leaves_out_is_false(tmp_path: Path):
    inspector = acme(tmp_path, inspector=lambda *_: Brief()).inspector(BASE, "supervised", {})
    assert (inspector.all_pass(b"{}\n"), inspector.thinks) == (False, False)


def test_an_inspector_that_cannot_travel_is_named_before_it_has_to(tmp_path: Path):
    class Local(WordInspector):
        pass

    with pytest.raises(BackendError, match=r"backend acme: inspector failed: .*Local"):
        acme(tmp_path, inspector=lambda *_: Local()).inspector(BASE, "supervised", {})


def test_an_engine_is_guarded(tmp_path: Path):
    class Engine:
        def generate(self, *_):
            yield "a piece"

        def close(self):
            raise RuntimeError("busy")

    engine = acme(tmp_path, open_engine=lambda *_: Engine()).open_engine(BASE)
    with pytest.raises(BackendError, match=r"engine\.generate returned 'a piece', .* Chunk"):
        list(engine.generate(None, PROMPT, Sampling()))
    with pytest.raises(BackendError, match=r"engine\.close failed: RuntimeError: busy"):
        engine.close()


@pytest.fixture
def plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that installs the backend `acme` with some source."""
    packages = tmp_path / "site-packages"
    info = packages / "acme-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ftctl.backends]\nacme = acme_ftctl:create\n")
    monkeypatch.setattr(sys, "path", [str(packages), *sys.path])

    def install(source: str) -> None:
        (packages / "acme_ftctl.py").write_text(source)
        monkeypatch.delitem(sys.modules, "acme_ftctl", raising=False)

    yield install
    sys.modules.pop("acme_ftctl", None)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import no_such_sdk", "failed: ModuleNotFoundError: No module named 'no_such_sdk' (acme"),
        ("def create(:", "failed: File"),
        ("x = 1", "failed: AttributeError"),
        ("def create(*_):\n    return {}['key']", "failed: KeyError: 'key' (acme_ftctl.py:2)"),
        ("def create(state):\n    pass", "failed: TypeError"),
        ("def create(*_):\n    pass", "returned None without capabilities, parse"),
    ],
)
def test_a_plug_in_that_cannot_be_opened_is_named(tmp_path: Path, plug_in, source: str, said: str):
    plug_in(source)
    with pytest.raises(BackendError) as caught:
        open_backend("acme", tmp_path, Endpoint(name="default"))
    assert caught.value.message.startswith(f"backend acme: create {said}")
    assert caught.value.remedy == REMEDY


def test_a_name_that_nobody_announced_is_answered_with_the_names_that_are(tmp_path: Path):
    with pytest.raises(BackendUnknown, match="no backend is called 'nobody'") as caught:
        open_backend("nobody", tmp_path, Endpoint(name="default"))
    assert caught.value.remedy == "Use one of: local-gpu, openai."


@pytest.mark.parametrize(
    ("value", "wanted", "found"),
    [
        (1, float, None),
        (True, float, ("True", "float")),
        (None, int | None, None),
        ("x" * 1000, int, (repr("x" * 12 + "..." + "x" * 13), "int")),
        ({"a": [1, {"b": None}]}, dict[str, Json], None),
        (((1, 2.0)), tuple[float, float], None),
        ((), Sequence[Mapping[str, Json]], None),
        ([{"a": 1}], Sequence[Mapping[str, Json]], None),
        ([1], Sequence[Mapping[str, Json]], ("1", "Mapping[str, Json]")),
        ((1, 2, 3), tuple[float, float], ("(1, 2, 3)", "tuple[float, float]")),
    ],
)
def test_values_are_compared_with_types(value, wanted, found):
    assert misfit(value, wanted) == found


def test_a_backend_without_common_names_has_none(tmp_path: Path):
    assert acme(tmp_path).common_names() == {}
