"""The same for asyncio: every wait is a coroutine, and nothing waits on a thread of its own but what dials or ends.

The node's descriptor tells the event loop that something came, and the node's own thread keeps the heartbeats, however
busy the loop is. A cancelled `recv`, `accept` or `call` loses no message. A node belongs to the loop that opened it.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

from . import _clerver, events
from .channel import RECEIVE_BYTES, Buffer, ChannelBase, Delivery, finish
from .errors import Cancelled, ClerverError, Closed, EndOfChannel, LimitReached, Lost, NotRun, WouldBlock
from .node import (
    CallContext,
    EndReport,
    Handler,
    NodeBase,
    connect_wish,
    end_report,
    guarded,
    option_list,
    reply_bytes,
)
from .session import CLOSE_TIMEOUT, SessionBase

__all__ = ["Call", "Channel", "Node", "Session"]

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

EVENTS_MAX = 1024
"""Events that wait for `next_event`; when it is full the oldest is dropped, and counted in `Dropped`."""
_EVENTS_AT_ONCE = 64
_THREADS_MAX = 32


class _Signal:
    """Coroutines that wait until something may have changed."""

    __slots__ = ("_loop", "_waiters")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiters: list[asyncio.Future[None]] = []

    def set(self) -> None:
        if self._waiters:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    def wait(self) -> asyncio.Future[None]:
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        return waiter


class _Watched:
    """What a token of `watch` stands for."""

    __slots__ = ("readable", "writable")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.readable = _Signal(loop)
        self.writable = _Signal(loop)

    def ready(self) -> None:
        self.readable.set()


class _EventQueue:
    """A bounded queue of events."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._events: deque[Any] = deque()
        self._dropped = 0
        self.arrived = _Signal(loop)

    def put(self, event: Any) -> None:
        if len(self._events) >= EVENTS_MAX:
            self._events.popleft()
            self._dropped += 1
        self._events.append(event)
        self.arrived.set()

    def take(self) -> Any:
        """The oldest one, or `None`."""
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            return events.Dropped(dropped)
        return self._events.popleft() if self._events else None


class _Pump:
    """Takes a node's events in the event loop, and wakes who waits for them."""

    def __init__(self, native: _clerver.Node) -> None:
        self.loop = asyncio.get_running_loop()
        self.native = native
        self.events = _EventQueue(self.loop)
        self.accepted = _Signal(self.loop)
        self.threads = ThreadPoolExecutor(_THREADS_MAX, "clerver-aio")
        self.is_closed = False
        self._watched: dict[int, _Watched] = {}
        self._next_token = 0
        self._descriptor = native.event_descriptor()
        self.loop.add_reader(self._descriptor, self._take)

    def watch(self, watch: Callable[[int], None], watched: _Watched) -> int:
        """Registers something under a token of its own."""
        self._next_token += 1
        token = self._next_token
        self._watched[token] = watched
        try:
            watch(token)
        except ClerverError:
            del self._watched[token]
            raise
        return token

    def forget(self, token: int) -> None:
        self._watched.pop(token, None)

    def _take(self) -> None:
        for told in self.native.take_events(_EVENTS_AT_ONCE):
            name, fields = told
            token = fields.get("token")
            if token is None:
                self.events.put(events.make(told))
                if name in ("Accepted", "Restored"):
                    self.accepted.set()
            elif (watched := self._watched.get(token)) is not None:
                if name == "Readable":
                    watched.readable.set()
                elif name == "Writable":
                    watched.writable.set()
                else:
                    watched.ready()

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """What has only a blocking form, on a thread."""
        return await self.loop.run_in_executor(self.threads, function, *arguments)

    def close(self) -> None:
        """Wakes everybody for the last time."""
        if self.is_closed:
            return
        self.is_closed = True
        self.loop.remove_reader(self._descriptor)
        for watched in list(self._watched.values()):
            watched.readable.set()
            watched.writable.set()
            watched.ready()
        self.accepted.set()
        self.events.arrived.set()
        self.threads.shutdown(wait=False)


async def _until(attempt: Callable[[], T | None], signal: _Signal, timeout: float | None) -> T:
    """Tries now, and again each time that something may have changed."""
    result = attempt()
    if result is not None:
        return result
    async with _timeout(timeout):
        while True:
            await signal.wait()
            result = attempt()
            if result is not None:
                return result


class _timeout:
    """`asyncio.timeout` that raises the error of this package."""

    def __init__(self, seconds: float | None) -> None:
        self._inner = None if seconds is None else asyncio.timeout(seconds)
        self._seconds = seconds

    async def __aenter__(self) -> None:
        if self._inner is not None:
            await self._inner.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._inner is None:
            return
        try:
            await self._inner.__aexit__(kind, value, trace)
        except TimeoutError as error:
            from .errors import Timeout

            raise Timeout(f"nothing came within {self._seconds} s") from error


class Channel(ChannelBase):
    """A channel of a session; `async for` gives what comes, until its end."""

    def __init__(self, native: _clerver.Channel, pump: _Pump) -> None:
        super().__init__(native)
        self._pump = pump
        self._watched = _Watched(pump.loop)
        self._token: int | None = None

    def __del__(self) -> None:
        if self._token is not None:
            self._pump.forget(self._token)

    async def __aenter__(self) -> Channel:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        finish(self, value)

    def _watch(self) -> _Watched:
        if self._token is None:
            self._token = self._pump.watch(self._native.watch, self._watched)
        return self._watched

    async def send(self, data: Buffer, timeout: float | None = None) -> None:
        """Sends one message, or all of the bytes; waits while the peer reads too slowly.

        Cancelled in between, a part of the bytes may have been sent; a message is sent as a whole or not at all.
        """
        if self.is_stored:
            return await self._pump.run(self._native.send, data, timeout)
        size = memoryview(data).nbytes
        sent = 0

        def attempt() -> bool | None:
            nonlocal sent
            taken = self._native.try_send(data, sent)
            while taken is not None:
                sent += taken
                if not self.is_bytes or sent >= size:
                    return True
                taken = self._native.try_send(data, sent)
            return None

        if attempt() is None:
            await _until(attempt, self._watch().writable, timeout)

    async def recv(self, timeout: float | None = None, *, bytes_max: int = RECEIVE_BYTES) -> bytes:
        """Waits for the next message, or for some bytes, at most `bytes_max`. Raises EndOfChannel behind the last."""
        data = self._native.try_receive(bytes_max)
        if data is not None:
            return data
        return await _until(lambda: self._native.try_receive(bytes_max), self._watch().readable, timeout)

    async def take(self, timeout: float | None = None) -> Delivery:
        """As `recv`, of a stored channel."""

        def attempt() -> Delivery | None:
            try:
                return Delivery(*self._native.take(0))
            except TimeoutError:
                return None

        return await _until(attempt, self._watch().readable, timeout)

    async def ack(self, end: int | Delivery, timeout: float | None = None) -> None:
        """The program is done with everything up to there. Waits for the disk."""
        await self._pump.run(self._native.ack, end.end if isinstance(end, Delivery) else end, timeout)

    async def confirm(self, timeout: float | None = None) -> None:
        """Waits until everything that was sent is on the disk."""
        await self._pump.run(self._native.confirm, timeout)

    async def set_restart_point(self, point: Buffer, timeout: float | None = None) -> None:
        """Notes how far the work on the first message is that was not acknowledged. Waits for the disk."""
        await self._pump.run(self._native.set_restart_point, point, timeout)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            try:
                yield await self.recv()
            except EndOfChannel:
                return


class Call:
    """A call that was started; `async for` gives the parts of its reply."""

    def __init__(self, native: _clerver.Call, pump: _Pump) -> None:
        self._native = native
        self._pump = pump
        self._watched = _Watched(pump.loop)
        self._token: int | None = pump.watch(native.watch, self._watched)

    def __del__(self) -> None:
        if (token := getattr(self, "_token", None)) is not None:
            self._pump.forget(token)

    async def receive(self) -> bytes | None:
        """The next part of the reply, `None` behind the last one; raises what the call failed with."""
        return (await _until(self._native.try_receive, self._watched.readable, None))[0]

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

    def __init__(self, native: _clerver.Session, pump: _Pump) -> None:
        super().__init__(native)
        self._pump = pump
        self._watched = _SessionWatched(native, pump)
        self._token: int | None = None

    def __del__(self) -> None:
        if self._token is not None:
            self._pump.forget(self._token)

    async def __aenter__(self) -> Session:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close(CLOSE_TIMEOUT if kind is None else 0)

    def _watch(self) -> _SessionWatched:
        if self._token is None:
            self._token = self._pump.watch(self._native.watch, self._watched)
            self._watched.ready()
        return self._watched

    async def wait_state(self, *states: str, timeout: float | None = None) -> str:
        """Waits until the session is in one of these states, and answers which. Raises when it is over before."""

        def attempt() -> str | None:
            try:
                return self._native.wait_state(list(states), 0)
            except TimeoutError:
                return None

        return await _until(attempt, self._watch().changed, timeout)

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

        call = attempt()
        return call if call is not None else await _until(attempt, self._watch().changed, timeout)

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

        channel = attempt()
        return channel if channel is not None else await _until(attempt, self._watch().changed, timeout)

    async def accept_channel(self, timeout: float | None = None) -> Channel:
        """Waits for the next channel that the peer opens."""
        watched = self._watch()

        def attempt() -> Channel | None:
            if not watched.channels and watched.over is not None:
                raise watched.over
            return Channel(watched.channels.popleft(), self._pump) if watched.channels else None

        return await _until(attempt, watched.changed, timeout)

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

        event: events.SessionEvent = await _until(attempt, watched.changed, timeout)
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
        await self._pump.run(self._native.drain, timeout)

    async def close(self, timeout: float | None = CLOSE_TIMEOUT) -> None:
        """Ends the session in good order; waits until what was written is delivered. With 0 that goes on meanwhile."""
        if timeout == 0:
            self._native.close(0)
        else:
            await self._pump.run(self._native.close, timeout)


class _SessionWatched(_Watched):
    """Takes what a session has, each time that it says so: only then it says so again."""

    __slots__ = ("changed", "channels", "events", "native", "over")

    def __init__(self, native: _clerver.Session, pump: _Pump) -> None:
        super().__init__(pump.loop)
        self.native = native
        self.changed = _Signal(pump.loop)
        self.events = _EventQueue(pump.loop)
        self.channels: deque[_clerver.Channel] = deque()
        self.over: ClerverError | None = None

    def ready(self) -> None:
        while told := self.native.take_events(_EVENTS_AT_ONCE):
            for event in told:
                self.events.put(events.make(event))
        try:
            while self.over is None and (channel := self.native.try_accept_channel()) is not None:
                self.channels.append(channel)
        except ClerverError as error:
            self.over = error
        self.changed.set()


class Node(NodeBase):
    """One running clerver in an event loop: `async with Node(home=..) as node`, or `node = await Node(..)`.

    Options are those of `clerver.Node`.
    """

    def __init__(self, **options: object) -> None:
        self._options = options
        self._pump: _Pump | None = None

    def __repr__(self) -> str:
        return super().__repr__() if self._pump is not None else "<clerver.aio.Node, not open>"

    def __await__(self) -> Generator[Any, None, Node]:
        return self._open().__await__()

    async def _open(self) -> Node:
        if self._pump is None:
            loop = asyncio.get_running_loop()
            native = await loop.run_in_executor(None, _clerver.Node, option_list(self._options))
            NodeBase.__init__(self, native)
            self._pump = _Pump(native)
        return self

    async def __aenter__(self) -> Node:
        return await self._open()

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close(CLOSE_TIMEOUT if kind is None else 1.0)

    def _opened(self) -> _Pump:
        if self._pump is None:
            raise RuntimeError("the node is not open: use `async with` or `await` first")
        return self._pump

    async def connect(
        self,
        addresses: str | Iterable[str],
        timeout: float | None = None,
        *,
        race: bool = False,
        any_node: bool = False,
        bulk_links: int = 0,
        standby_links: int = 0,
    ) -> Session:
        """Connects to a node at one of these addresses, tried in order or raced, and waits for the session."""
        pump = self._opened()
        wish = connect_wish(addresses, race, any_node, bulk_links, standby_links)
        return Session(await pump.run(self._native.connect, wish, timeout), pump)

    async def accept(self, timeout: float | None = None) -> Session:
        """Waits for the next session that a peer makes with this node."""
        pump = self._opened()
        return Session(await _until(self._native.try_accept, pump.accepted, timeout), pump)

    async def sessions(self) -> AsyncIterator[Session]:
        """The sessions that peers make, until the node is closed."""
        while True:
            try:
                yield await self.accept()
            except Closed:
                return

    def serve(self, name: str, handler: Handler, *, level_min: int = 1, idempotent: bool = False) -> None:
        """Offers a service. `handler(call)` is a coroutine function, which runs in the event loop, or a plain function
        or generator, which runs on a worker thread. A coroutine is cancelled when its caller gives up."""
        run: Handler = handler
        if inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(getattr(handler, "__call__", None)):
            run = _in_loop(self._opened().loop, handler)
        self._native.serve(name, guarded(name, run), False, level_min, idempotent)

    def service(
        self, name: str | None = None, *, level_min: int = 1, idempotent: bool = False
    ) -> Callable[[F], F]:
        """A decorator that offers a function, plain or `async`, as a service."""

        def offer(function: F) -> F:
            self.serve(name or function.__name__, function, level_min=level_min, idempotent=idempotent)
            return function

        return offer

    async def next_event(self, timeout: float | None = None) -> events.NodeEvent:
        """Waits for the next event of the node."""
        pump = self._opened()

        def attempt() -> Any:
            event = pump.events.take()
            if event is None and pump.is_closed:
                raise Closed("next event of the node: it is closed")
            return event

        event: events.NodeEvent = await _until(attempt, pump.events.arrived, timeout)
        return event

    async def events(self) -> AsyncIterator[events.NodeEvent]:
        """The events of the node, until it is closed."""
        while True:
            try:
                yield await self.next_event()
            except Closed:
                return

    async def drain(self, timeout: float | None = None) -> EndReport:
        """Takes nothing new, and waits until everything written is with the peers and all handlers have returned."""
        return end_report(await self._opened().run(self._native.drain, timeout))

    async def close(self, timeout: float | None = CLOSE_TIMEOUT) -> EndReport:
        """Ends all sessions in good order, then the node. The second close does nothing."""
        pump = self._opened()
        if pump.is_closed:
            return EndReport([], [])
        left = await pump.loop.run_in_executor(None, self._native.close, timeout)
        pump.close()
        return end_report(left)


_CANCELLED_PERIOD = 0.1


def _in_loop(loop: asyncio.AbstractEventLoop, handler: Callable[[CallContext], Awaitable[Any]]) -> Handler:
    """Runs a coroutine function in the loop, and waits for it on the worker thread."""

    async def run(call: CallContext) -> Buffer:
        return reply_bytes(await handler(call))

    def wait(call: CallContext) -> Buffer:
        if loop.is_closed():
            raise NotRun("the event loop of this node has ended")
        future = asyncio.run_coroutine_threadsafe(run(call), loop)
        while True:
            try:
                return future.result(_CANCELLED_PERIOD)
            except TimeoutError:
                if future.done():
                    raise
                if call.is_cancelled or loop.is_closed():
                    future.cancel()
                    raise Cancelled("nobody waits for it any more") from None
            except CancelledError:
                raise Cancelled("the handler was cancelled") from None

    return wait


logging.getLogger("clerver").addHandler(logging.NullHandler())
