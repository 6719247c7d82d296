"""Nodes of one host for every test: they share a key, and so trust each other."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import uvloop

import clerver

SOON = 20.0


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every test of coroutines runs on both."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class Pair:
    """A server and a client with a session, and the relay between them when it is asked for."""

    def __init__(self, home: Path, **options: object) -> None:
        self.options: dict[str, object] = {"home": home, "beat_ms": 100, "ttl_ms": 5000, "announce": False, **options}
        self.server = clerver.Node(**self.options)
        self.client = clerver.Node(**self.options)
        self.relay = Relay(self.server.listen("127.0.0.1:0"))
        self.ours = self.client.connect(self.relay.address, SOON)
        self.theirs = self.server.accept(SOON)

    def channel(self, **options: bool) -> tuple[clerver.Channel, clerver.Channel]:
        ours = self.ours.open_channel("test", **options)
        return ours, self.theirs.accept_channel(SOON)

    def close(self) -> None:
        self.client.close(1)
        self.server.close(1)
        self.relay.close()


class Relay:
    """Carries connections to an address, until it is told to cut them."""

    def __init__(self, to: str) -> None:
        host, port = to.rsplit(":", 1)
        self._to = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._refuses = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                with self._lock:
                    if self._refuses:
                        near.close()
                        continue
                far = socket.create_connection(self._to)
            except OSError:
                return
            with self._lock:
                self._sockets += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    @staticmethod
    def _carry(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def cut(self) -> None:
        """Resets all connections."""
        with self._lock:
            cut, self._sockets = self._sockets, []
        for one in cut:
            try:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            one.close()

    def refuse(self, refuses: bool = True) -> None:
        """Lets nobody through any more, or again."""
        with self._lock:
            self._refuses = refuses

    def close(self) -> None:
        self._listener.close()
        self.cut()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    made = Pair(tmp_path / "home")
    yield made
    made.close()
