"""What coroutines wait for: signals that the node's events set, in the event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from .. import _clerver, events
from ..errors import ClerverError, Timeout

T = TypeVar("T")

EVENTS_MAX = 1024
"""Events that wait for `next_event`; when it is full the oldest is dropped, and counted in `Dropped`."""
EVENTS_AT_ONCE = 64


class Signal:
    """Coroutines that wait until something may have changed."""

    __slots__ = ("_loop", "_waiters")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiters: set[asyncio.Future[None]] = set()

    def set(self) -> None:
        if self._waiters:
            waiters, self._waiters = self._waiters, set()
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    async def wait(self) -> None:
        waiter = self._loop.create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)


class Watched:
    """What a token of `watch` stands for, as long as somebody holds it."""

    __slots__ = ("__weakref__", "readable", "writable")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.readable = Signal(loop)
        self.writable = Signal(loop)

    def ready(self) -> None:
        self.readable.set()


class EventQueue:
    """A bounded queue of events."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._events: deque[Any] = deque()
        self._dropped = 0
        self.arrived = Signal(loop)

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


class Pump:
    """Takes a node's events in the event loop, and wakes who waits for them."""

    def __init__(self, native: _clerver.Node) -> None:
        self.loop = asyncio.get_running_loop()
        self.native = native
        self.events = EventQueue(self.loop)
        self.accepted = Signal(self.loop)
        self.drained = Signal(self.loop)
        self.is_closed = False
        self._watched: WeakValueDictionary[int, Watched] = WeakValueDictionary()
        self.sessions: WeakValueDictionary[int, Watched] = WeakValueDictionary()
        """One for each session, however many handles of it there are: it has one token."""
        self._handlers: set[asyncio.Task[None]] = set()
        self._next_token = 0
        self._descriptor = native.event_descriptor()
        self.loop.add_reader(self._descriptor, self._take)

    def watch(self, watch: Callable[[int], None], watched: Watched) -> None:
        """Registers something under a token of its own."""
        self._next_token += 1
        self._watched[self._next_token] = watched
        watch(self._next_token)

    def _take(self) -> None:
        for told in self.native.take_events(EVENTS_AT_ONCE):
            name, fields = told
            token = fields.get("token")
            if token is None:
                self.events.put(events.make(told))
                if name in ("Accepted", "Restored"):
                    self.accepted.set()
                elif name == "Draining":
                    self.drained.set()
            elif (watched := self._watched.get(token)) is not None:
                if name == "Readable":
                    watched.readable.set()
                elif name == "Writable":
                    watched.writable.set()
                else:
                    watched.ready()

    def begin(self, handler: Coroutine[Any, Any, None]) -> None:
        """Runs a handler as a task, which the loop alone would not keep alive."""
        task = self.loop.create_task(handler)
        self._handlers.add(task)
        task.add_done_callback(self._handlers.discard)

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
        self.drained.set()
        self.events.arrived.set()


async def until(attempt: Callable[[], T | None], signal: Callable[[], Signal], timeout: float | None) -> T:
    """Tries now, and again each time that something may have changed. `signal` is asked after the first attempt; who
    begins to watch there is woken at once, so that nothing between the two is missed."""
    result = attempt()
    if result is not None:
        return result
    changed = signal()
    async with _timeout(timeout):
        while True:
            await changed.wait()
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
            raise Timeout(f"nothing came within {self._seconds} s") from error
