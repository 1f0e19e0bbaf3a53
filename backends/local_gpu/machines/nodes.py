"""Several nodes train one run: the first claims it, and calls the others by the store.

Each node starts its own processes, as on one machine with several devices. The first process of all
is on the first node, which alone writes into the store.
"""

import json
import os
import socket
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from backends.contract.inspector import Json
from backends.local_gpu.jobs.rank_protocol import NODE, NODES, RENDEZVOUS
from backends.local_gpu.json_files import json_bytes
from backends.local_gpu.machines.claims import Claim, list_run, lost_after_s, say
from backends.local_gpu.machines.objects import RESULT, key_of, node_call_name
from backends.stores.objects import SharedStore, StoreError

ADDRESS: Final = "FTCTL_NODE_ADDRESS"
"""Environment variable: address at which other nodes reach this one, where its name is not enough."""
_POLL_S: Final = 1.0
_ANYWHERE: Final = ("10.255.255.255", 1)
"""An address that nothing is sent to: the way there starts at the interface that others see."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Message of the first node to the others."""

    generation: int
    address: str
    """Address at which the processes of all nodes meet: `tcp://HOST:PORT`."""
    step: int
    """Step of the checkpoint that all continue from; 0 for none."""


def call_nodes(claim: Claim, step: int) -> Call:
    """Call the other nodes of a claimed run.

    Raises:
        StoreError: The store refuses or does not answer.
    """
    host = os.environ.get(ADDRESS) or _own_address()
    with closing(socket.socket()) as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    call = Call(generation=claim.generation, address=f"tcp://{host}:{port}", step=step)
    told: dict[str, Json] = {"address": call.address, "step": step}
    claim.store.write(key_of(claim.run, node_call_name(claim.generation)), json_bytes(told))
    return call


def await_call(store: SharedStore, name: str, asked_to_stop: Sequence[int]) -> Call | None:
    """Wait until the first node calls.

    Args:
        store: The store.
        name: Name of the run.
        asked_to_stop: Signals that this node has received; not empty once this node is to stop.

    Returns:
        None if the run has ended, or this node is to stop.
    """
    while not asked_to_stop:
        try:
            stored = list_run(store, name)
            if stored.has(RESULT):
                return None
            data = store.read(key_of(name, node_call_name(stored.generation)))
            if data is not None and stored.is_held(lost_after_s()):
                told = json.loads(data)
                return Call(generation=stored.generation, **told)
        except (StoreError, ValueError, TypeError) as error:
            say(f"waiting for the first node: {error}")
        time.sleep(_POLL_S)
    return None


def is_on(store: SharedStore, name: str, call: Call) -> bool:
    """Return whether the first node still works on what it called for."""
    try:
        stored = list_run(store, name)
    except StoreError:
        return True  # it may answer again
    return stored.generation == call.generation and stored.is_held(lost_after_s())


def join_nodes(call: Call, node: int, nodes: int) -> None:
    """Tell the training that this process starts of the other nodes."""
    os.environ |= {NODE: str(node), NODES: str(nodes), RENDEZVOUS: call.address}


def _own_address() -> str:
    """Return an address of this node that others may reach."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as asked:
        try:
            asked.connect(_ANYWHERE)
            return str(asked.getsockname()[0])
        except OSError:
            return "127.0.0.1"
