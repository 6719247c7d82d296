"""Sessions and calls."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

from . import _clerver, events
from .channel import Buffer, Channel
from .errors import Closed, EndOfChannel, Lost

T = TypeVar("T")

CLOSE_TIMEOUT = 10.0
"""How long `with` waits at its end until everything is delivered, in seconds."""


@dataclass(frozen=True)
class SessionInfo:
    """What is known of a session and its peer; times in seconds."""

    sid: str
    peer: str
    peer_host_name: str
    peer_name: str
    state: str
    level: int
    ttl: float
    beat: float
    links: int
    links_total: int
    round_trip: float | None
    peer_drains: bool
    outstanding_bytes: int
    channels: int


@dataclass(frozen=True)
class ObjectInfo:
    """An object that is kept here; object 0 is the registration itself."""

    object: int
    kind: str
    state: str
    ttl: float | None
    in_service: int
    data: bytes


@dataclass(frozen=True)
class PeerAddress:
    """An address of the peer: `given`, `announced` or `moved`."""

    address: str
    origin: str
    has_failed: bool
    is_in_use: bool


@dataclass(frozen=True)
class TaskRecord:
    """A call that was run here: `took` seconds, `None` while it runs."""

    call: int
    service: str
    took: float | None
    replied: bool


class Call:
    """A call that was started. Iterating gives the parts of its reply."""

    def __init__(self, native: _clerver.Call) -> None:
        self._native = native

    def receive(self, timeout: float | None = None) -> bytes | None:
        """The next part of the reply, `None` behind the last one. Waits; raises what the call failed with."""
        return self._native.receive(timeout)

    def result(self, timeout: float | None = None) -> bytes:
        """All parts of the reply that were not taken yet. Waits, `timeout` seconds for each."""
        return b"".join(iter(lambda: self.receive(timeout), None))

    def cancel(self) -> None:
        """Gives up: the handler is told, and `receive` raises `Cancelled`."""
        self._native.cancel()

    @property
    def outcome(self) -> str:
        """Whether it was run: `reply`, `not-run` or `unknown`."""
        return self._native.outcome

    @property
    def id(self) -> tuple[str, int]:
        """Names the call at both ends."""
        return self._native.id

    def __iter__(self) -> Iterator[bytes]:
        while (part := self.receive()) is not None:
            yield part


class SessionBase:
    """What blocking and asyncio sessions have in common: none of it waits."""

    def __init__(self, native: _clerver.Session) -> None:
        self._native = native

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__name__} {self.id} with {self.peer}: {self.state}>"

    @property
    def id(self) -> int:
        """Its number in this process."""
        return self._native.id

    @property
    def sid(self) -> str:
        """Its name, the same at both ends."""
        return self._native.sid

    @property
    def peer(self) -> str:
        """With whom: host and process."""
        return self._native.peer

    @property
    def state(self) -> str:
        """`registering`, `live`, `suspended`, `embalmed`, `reviving`, `closing`, `closed` or `lost`."""
        return self._native.state

    def info(self) -> SessionInfo:
        """What is known of the session and its peer."""
        return SessionInfo(**self._native.info())

    def loss_report(self) -> events.LossReport | None:
        """What was lost, or left at the close; `None` before the end."""
        fields = self._native.loss_report()
        return None if fields is None else events.loss_report(fields)

    def attach(self, kind: str, payload: object, *, ttl: float | None = None) -> int:
        """Keeps an object of a registered kind here, owned by the peer, and answers its number.

        It ends when the peer is gone, when `ttl` seconds pass without a touch, or when either side ends it.
        """
        return self._native.attach(kind, payload, ttl)

    def with_object(self, object: int, function: Callable[[Any], T]) -> T:
        """What `function` answers for the payload of an object that is kept here. Its destructor waits meanwhile."""
        result: T = self._native.with_object(object, function)
        return result

    def end_object(self, object: int) -> None:
        """Ends an object that is kept here; its destructor runs on a worker thread."""
        self._native.end_object(object)

    def touch(self, object: int) -> None:
        """A sign of life for an object that the peer keeps for this end."""
        self._native.touch(object)

    def update(self, object: int, data: Buffer) -> None:
        """Leaves at most 16 KiB in an object that the peer keeps for this end."""
        self._native.update(object, data)

    def release(self, object: int) -> None:
        """An object that the peer keeps for this end is not needed any more."""
        self._native.release(object)

    def objects(self) -> list[ObjectInfo]:
        """Objects that are kept here for the peer, the registration (object 0) first."""
        return [ObjectInfo(**fields) for fields in self._native.objects()]

    def print_objects(self) -> list[str]:
        """One line for each object that is kept here."""
        return self._native.print_objects()

    def history(self) -> list[TaskRecord]:
        """Calls that were run here for the peer, oldest first; the last 256."""
        return [TaskRecord(*row) for row in self._native.history()]

    def addresses(self) -> list[PeerAddress]:
        """Where the peer can be reached."""
        return [PeerAddress(*row) for row in self._native.addresses()]

    def roam(self, address: str | None = None) -> None:
        """Moves the session to another link, of this address or any other one. `MoveBegan` and so on follow."""
        self._native.roam(address)

    def go_to(self, address: str | None = None) -> None:
        """Sends the peer, which dialled, to another address."""
        self._native.go_to(address)

    def dial_socket(self, name: str = "", *, kind: str = "tcp") -> socket.socket:
        """A connected `socket.socket` whose other end is a new channel of bytes of the peer. Does not wait.

        A loss raises ConnectionResetError there, and is never a clean end. `kind` is `tcp` or `unix`.
        """
        return socket.socket(fileno=self._native.dial_descriptor(name, kind))


class Session(SessionBase):
    """A session with a peer, which outlives its connections. May be used from any thread."""

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(CLOSE_TIMEOUT if kind is None else 0)

    def wait_state(self, *states: str, timeout: float | None = None) -> str:
        """Waits until the session is in one of these states, and answers which. Raises when it is over before."""
        return self._native.wait_state(list(states), timeout)

    def call(self, service: str, request: Buffer = b"", timeout: float | None = None) -> bytes:
        """Calls a service of the peer and waits for its whole reply. `timeout` is the deadline that the handler sees.

        Raises NoService, Denied, Busy, NotRun (safe to repeat), CallFailed with the text of the handler, Timeout, Lost.
        """
        return self._native.call(service, request, timeout)

    def start(self, service: str, request: Buffer = b"", timeout: float | None = None) -> Call:
        """Starts a call and does not wait for it; after `timeout` seconds it is given up."""
        return Call(self._native.call_start(service, request, timeout))

    def open_channel(
        self,
        name: str = "",
        *,
        bytes: bool = False,
        bulk: bool = False,
        stored: bool = False,
        timeout: float | None = None,
    ) -> Channel:
        """Opens a channel of messages, or of `bytes`. Waits only while too many are open.

        `bulk` yields to other channels. What a `stored` one confirmed outlives this process (option `store_dir`).
        """
        return Channel(self._native.open(name, bytes, bulk, stored, timeout))

    def accept_channel(self, timeout: float | None = None) -> Channel:
        """Waits for the next channel that the peer opens."""
        return Channel(self._native.accept_channel(timeout))

    def channels(self) -> Iterator[Channel]:
        """The channels that the peer opens, until the session is over."""
        while True:
            try:
                yield self.accept_channel()
            except (Closed, Lost):
                return

    def revive(self, from_session: Session, object: int) -> None:
        """Takes over an object that is embalmed in an earlier session with the same host."""
        self._native.revive(from_session._native, object)

    def next_event(self, timeout: float | None = None) -> events.SessionEvent:
        """Waits for the next event; raises EndOfChannel behind the last one of a session that is over."""
        event: events.SessionEvent = events.make(self._native.next_event(timeout))
        return event

    def events(self) -> Iterator[events.SessionEvent]:
        """The events of the session, until it is over."""
        while True:
            try:
                yield self.next_event()
            except EndOfChannel:
                return

    def drain(self, timeout: float | None = None) -> None:
        """Waits until the peer holds everything that was written here."""
        self._native.drain(timeout)

    def close(self, timeout: float | None = CLOSE_TIMEOUT) -> None:
        """Ends the session in good order; waits until what was written is delivered. With 0 that goes on meanwhile."""
        self._native.close(timeout)

    def close_start(self, timeout: float | None = CLOSE_TIMEOUT) -> None:
        """Begins to end the session, and does not wait: what was written is delivered meanwhile, for at most `timeout`
        seconds. A `close` after it waits for that."""
        self._native.close_start(timeout)
