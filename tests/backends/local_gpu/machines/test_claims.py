"""One worker at a time trains a run, over a folder and over a bucket."""

import threading
import time

import pytest

from backends.local_gpu.machines.claims import LOST, Claim, list_run, lost_after_s, take_claim
from backends.local_gpu.machines.objects import HEARTBEAT, RESULT, claim_name, key_of
from backends.stores.folder import FolderStore
from backends.stores.objects import StoreError

RUN = "0123456789abcdef-1"


@pytest.fixture
def store(shared):
    return FolderStore(shared)


@pytest.fixture
def claims():
    """Return a list of claims, which end with the test."""
    held = []
    yield held
    for claim in held:
        claim.ended.set()


def test_of_those_who_claim_at_once_one_gets_the_run(store, claims):
    for number in range(20):
        name, barrier, got = f"{number:016x}-1", threading.Barrier(4), []

        def race(name=name, barrier=barrier, got=got):
            barrier.wait(10)
            got.append(take_claim(store, name))

        racers = [threading.Thread(target=race, daemon=True) for _ in range(4)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join(10)
        (winner,) = [claim for claim in got if claim is not None]
        claims.append(winner)
        assert winner.generation == 1


def test_a_run_is_taken_over_only_when_its_holder_has_been_silent(store, claims, monkeypatch):
    monkeypatch.setenv(LOST, "1")
    first = take_claim(store, RUN)
    claims.append(first)
    time.sleep(1.2)
    assert take_claim(store, RUN) is None, "it shows signs of life"
    first.ended.set()  # as if its machine were gone
    time.sleep(1.3)
    second = take_claim(store, RUN)
    claims.append(second)
    assert second.generation == 2
    assert second.holds()
    assert not first.holds()
    assert first.is_superseded


def test_a_released_run_is_free_at_once_and_an_ended_one_never(store, claims):
    first = take_claim(store, RUN)
    first.release()
    second = take_claim(store, RUN)
    claims.append(second)
    assert second.generation == 2
    store.create(key_of(RUN, RESULT), b"{}")
    second.release()
    assert take_claim(store, RUN) is None


def test_a_sign_of_life_of_a_superseded_worker_is_its_last(store, monkeypatch):
    monkeypatch.setenv(LOST, "1")
    claim = Claim(store=store, run=RUN, generation=1)
    store.create(key_of(RUN, claim_name(2)), b"{}")
    claim.begin()
    deadline = time.monotonic() + 10
    while not claim.is_superseded:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert not list_run(store, RUN).has(HEARTBEAT)


class Answerless(FolderStore):
    """Makes an object, and loses the answer: the client asks again."""

    def create(self, key, data):
        super().create(key, data)
        return super().create(key, data)


def test_a_claim_whose_answer_was_lost_is_ones_own(shared, claims):
    claim = take_claim(Answerless(shared), RUN)
    claims.append(claim)
    assert claim.generation == 1


class Silent(FolderStore):
    """A store that does not answer writes."""

    def write(self, key, data):
        raise StoreError(f"no answer to {len(data)} bytes of {key}", "Wait.")


def test_a_store_that_is_gone_for_a_while_ends_no_worker(store, shared, monkeypatch, capsys):
    monkeypatch.setenv(LOST, "1")
    store.create(key_of(RUN, claim_name(1)), b"{}")
    claim = Claim(store=Silent(shared), run=RUN, generation=1)
    claim.begin()
    time.sleep(0.5)
    assert not claim.is_superseded
    claim.ended.set()
    assert "no sign of life could be written: no answer to" in capsys.readouterr().out


@pytest.mark.parametrize(("written", "seconds"), [(None, 90.0), ("3", 3.0), ("x", 90.0)])
def test_how_long_a_silence_may_be(monkeypatch, written, seconds):
    if written is None:
        monkeypatch.delenv(LOST, raising=False)
    else:
        monkeypatch.setenv(LOST, written)
    assert lost_after_s() == seconds
