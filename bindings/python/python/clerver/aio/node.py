"""Nodes."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable
from concurrent.futures import CancelledError
from types import TracebackType
from typing import Any

from .. import _clerver, events
from ..channel import Buffer
from ..errors import Cancelled, Closed, NotRun
from ..node import (
    CallContext,
    EndReport,
    F,
    Handler,
    NodeBase,
    connect_wish,
    end_report,
    guarded,
    offering,
    option_list,
    reply_bytes,
)
from ..session import CLOSE_TIMEOUT
from .session import Session
from .waiting import Pump, until


class Node(NodeBase):
    """One running clerver in an event loop: `async with Node(home=..) as node`, or `node = await Node(..)`.

    Options are those of `clerver.Node`.
    """

    def __init__(self, **options: object) -> None:
        self._options = options
        self._pump: Pump | None = None

    def __repr__(self) -> str:
        return super().__repr__() if self._pump is not None else "<clerver.aio.Node, not open>"

    def __await__(self) -> Generator[Any, None, Node]:
        return self._open().__await__()

    async def _open(self) -> Node:
        if self._pump is None:
            loop = asyncio.get_running_loop()
            native = await loop.run_in_executor(None, _clerver.Node, option_list(self._options))
            NodeBase.__init__(self, native)
            self._pump = Pump(native)
        return self

    async def __aenter__(self) -> Node:
        return await self._open()

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close(CLOSE_TIMEOUT if kind is None else 1.0)

    def _opened(self) -> Pump:
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
        return Session(await until(self._native.try_accept, lambda: pump.accepted, timeout), pump)

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

        return offering(self.serve, name, level_min=level_min, idempotent=idempotent)

    async def next_event(self, timeout: float | None = None) -> events.NodeEvent:
        """Waits for the next event of the node."""
        pump = self._opened()

        def attempt() -> Any:
            event = pump.events.take()
            if event is None and pump.is_closed:
                raise Closed("next event of the node: it is closed")
            return event

        event: events.NodeEvent = await until(attempt, lambda: pump.events.arrived, timeout)
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
