"""Several nodes of one run: the first calls, and the others follow it and nobody else."""

import os
import socket
from pathlib import Path

import pytest

from backends.local_gpu.jobs.rank_protocol import NODE, NODES, RENDEZVOUS
from backends.local_gpu.machines import nodes
from backends.local_gpu.machines.claims import LOST, Claim, take_claim
from backends.local_gpu.machines.nodes import Call, await_call, call_nodes, is_on, join_nodes
from backends.local_gpu.machines.objects import RESULT, claim_name, key_of, node_call_name
from backends.stores.folder import FolderStore
from backends.stores.objects import StoreError

RUN = "0123456789abcdef-1"


@pytest.fixture
def store(shared):
    return FolderStore(shared)


@pytest.fixture
def claim(store):
    made = take_claim(store, RUN)
    yield made
    made.ended.set()


@pytest.fixture(autouse=True)
def address(monkeypatch):
    monkeypatch.setenv(nodes.ADDRESS, "node-1")
    monkeypatch.setattr(nodes, "_POLL_S", 0.0)


def followed_by(store, looks):
    """Return what a node is called to that is asked to stop after some looks at the store."""
    signals = []

    class Stopping(FolderStore):
        def find(self, prefix):
            if len(seen) >= looks:
                signals.append(15)
            seen.append(prefix)
            yield from super().find(prefix)

    seen = []
    return await_call(Stopping(Path(store.url)), RUN, signals)


def test_the_other_nodes_get_the_call_of_the_first(store, claim):
    call = call_nodes(claim, 120)
    assert (call.generation, call.step) == (1, 120)
    host, _, port = call.address.removeprefix("tcp://").rpartition(":")
    assert host == "node-1"
    # The processes of all nodes meet at this port, so that it has to be free.
    with socket.socket() as free:
        free.bind(("", int(port)))
    assert await_call(store, RUN, []) == call


def test_a_node_without_a_name_of_its_own_is_reached_by_its_address(claim, monkeypatch):
    monkeypatch.delenv(nodes.ADDRESS)
    host = call_nodes(claim, 0).address.removeprefix("tcp://").rpartition(":")[0]
    assert socket.inet_aton(host)


def test_a_node_that_is_asked_to_stop_waits_no_longer(store, claim):
    call_nodes(claim, 0)
    assert await_call(store, RUN, [15]) is None


def test_a_run_that_has_ended_calls_nobody(store, claim):
    call_nodes(claim, 0)
    store.create(key_of(RUN, RESULT), b"{}")
    assert await_call(store, RUN, []) is None


def test_the_call_of_a_worker_that_was_followed_or_has_ended_is_not_answered(store, claim):
    old = call_nodes(claim, 10)
    claim.release("its node fails")
    assert followed_by(store, 3) is None
    second = take_claim(store, RUN)
    try:
        # The second worker has not called yet.
        assert followed_by(store, 3) is None
        new = call_nodes(second, 20)
        assert await_call(store, RUN, []) == new != old
    finally:
        second.ended.set()


@pytest.mark.parametrize("damaged", [b"", b"null", b'{"address": "tcp://a:1"}', b'{"x": 1}'])
def test_a_damaged_call_is_waited_over(store, claim, damaged, capsys):
    store.write(key_of(RUN, node_call_name(claim.generation)), damaged)
    assert followed_by(store, 2) is None
    assert "waiting for the first node: " in capsys.readouterr().out


class Silent(FolderStore):
    """A store that does not answer."""

    def find(self, prefix):
        raise StoreError(f"no answer about {prefix}", "Wait.")


def test_a_node_goes_on_as_long_as_the_first_one_works(store, claim, shared, monkeypatch):
    call = call_nodes(claim, 0)
    assert is_on(store, RUN, call)
    # It may answer again: what is trained meanwhile is not lost.
    assert is_on(Silent(shared), RUN, call)
    monkeypatch.setenv(LOST, "1")
    claim.release()
    assert not is_on(store, RUN, call)


def test_a_node_leaves_a_worker_that_was_taken_over(store, claim):
    call = call_nodes(claim, 0)
    store.create(key_of(RUN, claim_name(2)), b"{}")
    assert not is_on(store, RUN, call)
    assert is_on(store, RUN, Call(generation=2, address=call.address, step=0))
    assert not Claim(store=store, run=RUN, generation=1).holds()


def test_the_training_learns_where_its_processes_meet(monkeypatch):
    for name in (NODE, NODES, RENDEZVOUS):
        monkeypatch.setenv(name, "")
    join_nodes(Call(generation=1, address="tcp://node-1:9", step=0), 3, 4)
    assert [os.environ[name] for name in (NODE, NODES, RENDEZVOUS)] == ["3", "4", "tcp://node-1:9"]
