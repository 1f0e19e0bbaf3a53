"""What a backend or an inspector may leave out, and what stands in its place."""

from pathlib import Path

from backends.contract.completions import Sampling
from backends.contract.guard.guarded import guard
from backends.contract.jobs import (
    JobState,
)
from backends.testing import ScriptedBackend, WordInspector, check_backend
from tests.backends.contract.guard.acme import BASE, EXPORT, PROMPT, REQUEST, acme


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


class Brief:
    """An inspector that leaves out what may be left out."""

    count, check = WordInspector.count, WordInspector.check
    show, warnings = WordInspector.show, WordInspector.warnings


def test_what_an_inspector_leaves_out_is_false(tmp_path: Path):
    inspector = acme(tmp_path, inspector=lambda *_: Brief()).inspector(BASE, "supervised", {})
    assert (inspector.all_pass(b"{}\n"), inspector.thinks) == (False, False)


def test_a_backend_without_common_names_has_none(tmp_path: Path):
    assert acme(tmp_path).common_names() == {}
