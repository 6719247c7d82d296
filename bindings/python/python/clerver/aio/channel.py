"""Channels."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from types import TracebackType

from .. import _clerver
from ..channel import RECEIVE_BYTES, Buffer, ChannelBase, Delivery, finish
from ..errors import EndOfChannel, StoreError, Timeout
from .waiting import Pump, Watched, until


class Channel(ChannelBase):
    """A channel of a session; `async for` gives what comes, until its end."""

    def __init__(self, native: _clerver.Channel, pump: Pump) -> None:
        super().__init__(native)
        self._pump = pump
        self._watched = Watched(pump.loop)
        self._is_watched = False

    async def __aenter__(self) -> Channel:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        finish(self, value)

    def _watch(self) -> Watched:
        if not self._is_watched:
            self._pump.watch(self._native.watch, self._watched)
            self._is_watched = True
        return self._watched

    async def send(self, data: Buffer, timeout: float | None = None) -> None:
        """Sends one message, or all of the bytes; waits while the peer reads too slowly.

        Cancelled in between, a part of the bytes may have been sent; a message is sent as a whole or not at all.
        """
        size = memoryview(data).nbytes
        began = self._pump.loop.time()
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

        await until(attempt, lambda: self._watch().writable, timeout)
        if self.is_stored:
            spent = self._pump.loop.time() - began
            await self.confirm(None if timeout is None else max(0.0, timeout - spent))

    async def recv(self, timeout: float | None = None, *, bytes_max: int = RECEIVE_BYTES) -> bytes:
        """Waits for the next message, or for some bytes, at most `bytes_max`. Raises EndOfChannel behind the last."""
        return await until(
            lambda: self._native.try_receive(bytes_max), lambda: self._watch().readable, timeout
        )

    async def take(self, timeout: float | None = None) -> Delivery:
        """As `recv`, of a stored channel."""

        def attempt() -> Delivery | None:
            try:
                return Delivery(*self._native.take(0))
            except TimeoutError:
                return None

        return await until(attempt, lambda: self._watch().readable, timeout)

    async def ack(self, end: int | Delivery, timeout: float | None = None) -> None:
        """The program is done with everything up to there. Waits for the disk."""
        last = end.end if isinstance(end, Delivery) else end
        await self._note(lambda: self._native.ack(last, 0), timeout)

    async def confirm(self, timeout: float | None = None) -> None:
        """Waits until everything that was sent, acknowledged and noted here is on the disk."""
        mark = self._native.stored_mark()
        if mark is None:
            return
        try:
            await until(lambda: self._native.try_confirm(mark), lambda: self._watch().writable, timeout)
        except Timeout:
            # It says so in the words of the library.
            self._native.confirm(0)

    async def set_restart_point(self, point: Buffer, timeout: float | None = None) -> None:
        """Notes how far the work on the first message is that was not acknowledged. Waits for the disk."""
        await self._note(lambda: self._native.set_restart_point(point, 0), timeout)

    async def _note(self, note: Callable[[], None], timeout: float | None) -> None:
        try:
            note()
        except StoreError as error:
            if error.code != "UNCONFIRMED":
                raise
            await self.confirm(timeout)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            try:
                yield await self.recv()
            except EndOfChannel:
                return
