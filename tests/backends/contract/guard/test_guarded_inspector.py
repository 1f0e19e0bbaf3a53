"""Inspectors and engines of a backend are guarded as it is."""

import pickle
from pathlib import Path

import pytest

from backends.contract.completions import Sampling
from backends.contract.errors import (
    BackendError,
)
from backends.contract.guard.guarded import GuardedInspector
from backends.contract.inspector import Limits, Piece
from backends.testing import WordInspector
from tests.backends.contract.guard.acme import BASE, PROMPT, acme


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
