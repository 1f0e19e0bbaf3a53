"""Connections of a client that can be broken off while its requests wait for their answers."""

import socket
import threading
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from typing import Any, Final, Protocol
from weakref import WeakSet

_OPENED: Final = ("connect_tcp.complete", "start_tls.complete")
"""Ends of the names of httpcore's events that come with a new connection."""


class Request(Protocol):
    """A request of httpx, as far as its hooks need it."""

    extensions: MutableMapping[str, Any]


class Connections:
    """The open connections of one client. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sockets: WeakSet[socket.socket] = WeakSet()
        self._is_over = False

    def watch(self, request: Request) -> None:
        """Note the connection that a request opens; an event hook of httpx."""
        request.extensions["trace"] = self._note

    def abort(self) -> None:
        """Break off all connections, now and from now on; their requests fail at once."""
        with self._lock:
            self._is_over = True
            for each in self._sockets:
                _shut_down(each)

    def _note(self, event: str, info: Mapping[str, Any]) -> None:
        if not event.endswith(_OPENED):
            return
        opened = info["return_value"].get_extra_info("socket")
        if isinstance(opened, socket.socket):
            with self._lock:
                self._sockets.add(opened)
                if self._is_over:
                    _shut_down(opened)


def _shut_down(each: socket.socket) -> None:
    # Closing it would not wake a thread that reads from it. A socket of TLS would forget its state.
    with suppress(OSError):
        socket.socket.shutdown(each, socket.SHUT_RDWR)
