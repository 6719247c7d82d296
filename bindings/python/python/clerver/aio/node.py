"""Nodes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator, Iterable
from types import TracebackType
from typing import Any, cast

from .. import _clerver, events
from ..errors import Closed, Timeout
from ..node import (
    EndReport,
    F,
    Handler,
    NodeBase,
    connect_wish,
    end_report,
    guarded,
    offering,
    option_list,
)
from ..session import CLOSE_TIMEOUT
from .service import AsyncHandler, in_loop, is_async
from .session import Session
from .waiting import Pump, Watched, until


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
        connecting = self._native.connect_start(wish, timeout)
        watched = Watched(pump.loop)
        pump.watch(connecting.watch, watched)
        try:
            # The connect has the time-out itself, and says what it tried last.
            return Session(await until(connecting.try_take, lambda: watched.readable, None), pump)
        finally:
            connecting.cancel()

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

    def serve(
        self, name: str, handler: Handler | AsyncHandler, *, level_min: int = 1, idempotent: bool = False
    ) -> None:
        """Offers a service. `handler(call)` is a coroutine function or an asynchronous generator, which runs in the event
        loop, and is cancelled when its caller gives up; or a plain function or generator, which runs on a worker thread.
        """
        if is_async(handler):
            run = in_loop(name, self._opened(), cast(AsyncHandler, handler))
        else:
            run = guarded(name, cast(Handler, handler))
        self._native.serve(name, run, False, level_min, idempotent)

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
        pump = self._opened()
        left = self._native.drain(0)

        def attempt() -> bool | None:
            nonlocal left
            left = self._native.drain(0)
            return None if any(left) else True

        try:
            if any(left):
                await until(attempt, lambda: pump.drained, timeout)
        except Timeout:
            pass
        return end_report(left)

    async def close(self, timeout: float | None = CLOSE_TIMEOUT) -> EndReport:
        """Ends all sessions in good order, then the node. The second close does nothing."""
        pump = self._opened()
        if pump.is_closed:
            return EndReport([], [])
        closing = pump.loop.run_in_executor(None, self._native.close, timeout)
        # Whoever waits is woken, even if nobody waits for this any more.
        closing.add_done_callback(lambda _: pump.close())
        return end_report(await asyncio.shield(closing))
