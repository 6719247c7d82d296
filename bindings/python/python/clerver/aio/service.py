"""Handlers that run in the event loop."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

from .. import _clerver
from ..channel import Buffer
from ..errors import Cancelled, ClerverError, NotRun
from ..node import CallContextBase, logger, reply_bytes
from .session import Session
from .waiting import Pump, Signal, Watched, until

AsyncHandler = Callable[["CallContext"], Any]


class CallContext(CallContextBase):
    """One call, as its handler in the event loop sees it."""

    def __init__(self, native: _clerver.CallContext, pump: Pump, writable: Signal) -> None:
        super().__init__(native)
        self._pump = pump
        self._writable = writable

    @property
    def session(self) -> Session:
        """The session of the caller. It does not keep that open."""
        return Session(self._native.session, self._pump)

    async def reply_part(self, part: Buffer) -> None:
        """Sends one part of a streamed reply; what the handler returns is the last one. Waits for room."""
        await until(lambda: self._native.try_reply_part(part), lambda: self._writable, None)


def is_async(handler: Callable[..., Any]) -> bool:
    """Whether it is to run in the event loop."""
    kinds = (handler, getattr(handler, "__call__", None))
    return any(inspect.iscoroutinefunction(kind) or inspect.isasyncgenfunction(kind) for kind in kinds)


def in_loop(name: str, pump: Pump, handler: AsyncHandler) -> Callable[[_clerver.CallContext], Buffer]:
    """A handler for the native half. It leaves the answer to a task of the event loop, and waits for nothing."""

    def hand_over(native: _clerver.CallContext) -> Buffer:
        reply = native.defer()
        try:
            pump.loop.call_soon_threadsafe(lambda: pump.begin(_answer(name, pump, handler, native, reply)))
        except RuntimeError as error:
            raise NotRun("the event loop of this node has ended") from error
        return b""

    return hand_over


class _Cancel(Signal):
    """Ends the task of a handler whose caller gave up."""

    __slots__ = ("_native", "_task")

    def __init__(self, native: _clerver.CallContext, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._native = native
        self._task = asyncio.current_task()

    def set(self) -> None:
        if self._native.is_cancelled and self._task is not None:
            # Once: what it does on its way out is its own affair.
            self._task.cancel()
            self._task = None


async def _answer(
    name: str, pump: Pump, handler: AsyncHandler, native: _clerver.CallContext, reply: _clerver.DeferredReply
) -> None:
    watched = Watched(pump.loop)
    watched.readable = _Cancel(native, pump.loop)
    try:
        pump.watch(reply.watch, watched)
        call = CallContext(native, pump, watched.writable)
        answer = handler(call)
        if inspect.isasyncgen(answer):
            async with aclosing(answer) as parts:
                async for part in parts:
                    await call.reply_part(reply_bytes(part))
            reply.finish(b"")
        else:
            reply.finish(reply_bytes(await answer))
    except asyncio.CancelledError:
        reply.fail(Cancelled("the handler was cancelled"))
        raise
    except ClerverError as error:
        reply.fail(error)
    except Exception as error:
        logger.exception("service %r raised", name)
        reply.fail(error)
