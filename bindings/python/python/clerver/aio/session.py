"""Sessions and calls."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any

from .. import _clerver, events
from ..channel import Buffer
from ..errors import ClerverError, Closed, EndOfChannel, LimitReached, Lost, WouldBlock
from ..session import CLOSE_TIMEOUT, SessionBase
from .channel import Channel
from .waiting import EVENTS_AT_ONCE, EventQueue, Pump, Signal, Watched, until


class Call:
    """A call that was started; `async for` gives the parts of its reply."""

    def __init__(self, native: _clerver.Call, pump: Pump) -> None:
        self._native = native
        self._pump = pump
        self._watched = Watched(pump.loop)
        pump.watch(native.watch, self._watched)

    async def receive(self) -> bytes | None:
        """The next part of the reply, `None` behind the last one; raises what the call failed with."""
        return (await until(self._native.try_receive, lambda: self._watched.readable, None))[0]

    async def result(self) -> bytes:
        """All parts of the reply that were not taken yet."""
        first = await self.receive()
        if first is None:
            return b""
        parts = [first]
        while (part := await self.receive()) is not None:
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def cancel(self) -> None:
        """Gives up: the handler is told, and `receive` raises `Cancelled`."""
        self._native.cancel()

    @property
    def outcome(self) -> str:
        """Whether it was run: `reply`, `not-run` or `unknown`."""
        return self._native.outcome

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (part := await self.receive()) is not None:
            yield part


class Session(SessionBase):
    """A session with a peer, which outlives its connections."""

    def __init__(self, native: _clerver.Session, pump: Pump) -> None:
        super().__init__(native)
        self._pump = pump
        self._watched: _SessionWatched | None = None

    async def __aenter__(self) -> Session:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close(CLOSE_TIMEOUT if kind is None else 0)

    def _watch(self) -> _SessionWatched:
        if self._watched is None:
            self._watched = _SessionWatched.of(self._native, self._pump)
        return self._watched

    async def wait_state(self, *states: str, timeout: float | None = None) -> str:
        """Waits until the session is in one of these states, and answers which. Raises when it is over before."""

        def attempt() -> str | None:
            try:
                return self._native.wait_state(list(states), 0)
            except TimeoutError:
                return None

        return await until(attempt, lambda: self._watch().changed, timeout)

    async def call(self, service: str, request: Buffer = b"", timeout: float | None = None) -> bytes:
        """Calls a service of the peer and waits for its whole reply; cancelled, the handler is told."""
        call = await self.start(service, request, timeout)
        try:
            return await call.result()
        except asyncio.CancelledError:
            call.cancel()
            raise

    async def start(self, service: str, request: Buffer = b"", timeout: float | None = None) -> Call:
        """Starts a call, and waits only while there is no room for it; after `timeout` seconds it is given up."""

        def attempt() -> Call | None:
            try:
                return Call(self._native.call_start(service, request, timeout), self._pump)
            except (WouldBlock, LimitReached) as error:
                if error.code not in ("AGAIN", "CHANNELS"):
                    raise
                return None

        return await until(attempt, lambda: self._watch().changed, timeout)

    async def open_channel(
        self,
        name: str = "",
        *,
        bytes: bool = False,
        bulk: bool = False,
        stored: bool = False,
        timeout: float | None = None,
    ) -> Channel:
        """Opens a channel of messages, or of `bytes`; waits only while too many are open."""

        def attempt() -> Channel | None:
            try:
                return Channel(self._native.open(name, bytes, bulk, stored, 0), self._pump)
            except TimeoutError:
                return None

        return await until(attempt, lambda: self._watch().changed, timeout)

    async def accept_channel(self, timeout: float | None = None) -> Channel:
        """Waits for the next channel that the peer opens."""
        watched = self._watch()

        def attempt() -> Channel | None:
            if not watched.channels and watched.over is not None:
                raise watched.over
            return Channel(watched.channels.popleft(), self._pump) if watched.channels else None

        return await until(attempt, lambda: watched.changed, timeout)

    async def channels(self) -> AsyncIterator[Channel]:
        """The channels that the peer opens, until the session is over."""
        while True:
            try:
                yield await self.accept_channel()
            except (Closed, Lost):
                return

    def revive(self, from_session: Session, object: int) -> None:
        """Takes over an object that is embalmed in an earlier session with the same host."""
        self._native.revive(from_session._native, object)

    async def next_event(self, timeout: float | None = None) -> events.SessionEvent:
        """Waits for the next event; raises EndOfChannel behind the last one of a session that is over."""
        watched = self._watch()

        def attempt() -> Any:
            event = watched.events.take()
            if event is None and watched.over is not None:
                raise EndOfChannel(f"next event of session {self.id}: it is over")
            return event

        event: events.SessionEvent = await until(attempt, lambda: watched.changed, timeout)
        return event

    async def events(self) -> AsyncIterator[events.SessionEvent]:
        """The events of the session, until it is over."""
        while True:
            try:
                yield await self.next_event()
            except EndOfChannel:
                return

    async def drain(self, timeout: float | None = None) -> None:
        """Waits until the peer holds everything that was written here."""
        await until(self._native.try_drain, lambda: self._watch().changed, timeout)

    async def close(self, timeout: float | None = CLOSE_TIMEOUT) -> None:
        """Ends the session in good order; waits until what was written is delivered. With 0 that goes on meanwhile."""
        if timeout == 0:
            return self._native.close(0)
        self._native.close_start(timeout)
        # The protocol ends it when the time is over, and says what was left.
        await until(self._native.try_close, lambda: self._watch().changed, None)


class _SessionWatched(Watched):
    """Takes what a session has, each time that it says so: only then it says so again."""

    __slots__ = ("changed", "channels", "events", "native", "over")

    def __init__(self, native: _clerver.Session, pump: Pump) -> None:
        super().__init__(pump.loop)
        self.native = native
        self.changed = Signal(pump.loop)
        self.events = EventQueue(pump.loop)
        self.channels: deque[_clerver.Channel] = deque()
        self.over: ClerverError | None = None

    @staticmethod
    def of(native: _clerver.Session, pump: Pump) -> _SessionWatched:
        """That of this session, which all its handles share."""
        known = pump.sessions.get(native.id)
        if isinstance(known, _SessionWatched):
            return known
        watched = _SessionWatched(native, pump)
        pump.watch(native.watch, watched)
        pump.sessions[native.id] = watched
        watched.ready()
        return watched

    def ready(self) -> None:
        while told := self.native.take_events(EVENTS_AT_ONCE):
            for event in told:
                self.events.put(events.make(event))
        try:
            while self.over is None and (channel := self.native.try_accept_channel()) is not None:
                self.channels.append(channel)
        except ClerverError as error:
            self.over = error
        self.changed.set()
