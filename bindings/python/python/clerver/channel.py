"""Channels."""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Union

from . import _clerver, events
from .errors import Closed, EndOfChannel

if TYPE_CHECKING:
    from .session import Session

Buffer = Union[bytes, bytearray, memoryview]
"""Bytes-like objects. `bytes` are sent without a copy; whatever else has a buffer is copied first."""

RECEIVE_BYTES = 64 * 1024


@dataclass(frozen=True)
class Delivery:
    """What was taken of a stored channel: `ack(end)` when it is done with."""

    data: bytes
    end: int
    redelivered: bool
    restart_point: bytes


class ChannelBase:
    """What blocking and asyncio channels have in common: none of it waits."""

    def __init__(self, native: _clerver.Channel) -> None:
        self._native = native

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__name__} {self.id} {self.name!r}>"

    @property
    def id(self) -> int:
        """Its number in the session, the same at both ends."""
        return self._native.id

    @property
    def name(self) -> str:
        """What it is for, as the end that opened it said."""
        return self._native.name

    @property
    def is_bytes(self) -> bool:
        """Whether it is a stream of bytes rather than of messages."""
        return self._native.is_bytes

    @property
    def is_stored(self) -> bool:
        """Whether this end stores it."""
        return self._native.is_stored

    def end(self) -> None:
        """This end sends no more: the peer reads the rest and then the end."""
        self._native.end()

    def reset(self, why: str = "reset") -> None:
        """Breaks off: what was not sent is dropped, and the peer's reads end with ConnectionResetError."""
        self._native.reset(why)

    def stop(self) -> None:
        """This end reads no more: the peer's sends end with BrokenPipeError."""
        self._native.stop()

    def close(self) -> None:
        """Gives the channel back: what was written is delivered, what was not read is dropped."""
        self._native.close()

    def report(self) -> events.ChannelReport:
        """How many bytes were written, sent, held by the peer, received and taken."""
        return events.ChannelReport(**self._native.report())

    def to_socket(self, *, kind: str = "tcp") -> socket.socket:
        """Makes a connected `socket.socket` of a channel of bytes, which then belongs to that alone.

        A loss raises ConnectionResetError there, and is never a clean end. `kind` is `tcp` or `unix`.
        """
        return socket.socket(fileno=self._native.to_descriptor(kind))


class Channel(ChannelBase):
    """A channel of a session. May be used from any thread; iterating gives what comes, until its end.

    `with` ends it in good order, or breaks it off when its body raised: what is incomplete never looks complete.
    """

    def __enter__(self) -> Channel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        finish(self, value)

    @property
    def session(self) -> Session:
        """The session that it belongs to."""
        from .session import Session

        return Session(self._native.session)

    def send(self, data: Buffer, timeout: float | None = None) -> None:
        """Sends one message, or all of the bytes. Waits while the peer reads too slowly; on a stored channel also
        until it is on the disk."""
        self._native.send(data, timeout)

    def recv(self, timeout: float | None = None, *, bytes_max: int = RECEIVE_BYTES) -> bytes:
        """Waits for the next message, or for some bytes, at most `bytes_max`. Raises EndOfChannel behind the last."""
        return self._native.receive(bytes_max, timeout)

    def recv_view(self, timeout: float | None = None, *, bytes_max: int = RECEIVE_BYTES) -> memoryview:
        """As `recv`, as a read-only view of the library's own memory: nothing is copied."""
        return self._native.receive_view(bytes_max, timeout)

    def take(self, timeout: float | None = None) -> Delivery:
        """As `recv`, of a stored channel."""
        return Delivery(*self._native.take(timeout))

    def ack(self, end: int | Delivery, timeout: float | None = None) -> None:
        """The program is done with everything up to there: it is not delivered again. Waits for the disk."""
        self._native.ack(end.end if isinstance(end, Delivery) else end, timeout)

    def confirm(self, timeout: float | None = None) -> None:
        """Waits until everything that was sent is on the disk."""
        self._native.confirm(timeout)

    def set_restart_point(self, point: Buffer, timeout: float | None = None) -> None:
        """Notes how far the work on the first message is that was not acknowledged. Waits for the disk."""
        self._native.set_restart_point(point, timeout)

    def __iter__(self) -> Iterator[bytes]:
        while True:
            try:
                yield self.recv()
            except EndOfChannel:
                return

    def makefile(
        self,
        mode: str = "rb",
        buffering: int = io.DEFAULT_BUFFER_SIZE,
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> IO[Any]:
        """A file object of a channel of bytes, as `socket.makefile` gives; closing one that writes ends this direction.

        A loss raises ConnectionResetError, and never looks like the end of the file.
        """
        reads, writes = "r" in mode, "w" in mode
        if not (reads or writes) or set(mode) - set("rwb"):
            raise ValueError(f"mode has to be of 'r', 'w' and 'b', not {mode!r}")
        raw = _ChannelFile(self, reads, writes)
        file: Any
        if buffering == 0:
            if "b" not in mode:
                raise ValueError("text needs a buffer")
            return raw  # type: ignore[return-value]
        if reads and writes:
            file = io.BufferedRWPair(raw, raw, buffering)
        elif reads:
            file = io.BufferedReader(raw, buffering)
        else:
            file = io.BufferedWriter(raw, buffering)
        if "b" in mode:
            return file  # type: ignore[no-any-return]
        return io.TextIOWrapper(file, encoding, errors, newline)


def finish(channel: ChannelBase, raised: BaseException | None) -> None:
    """What `with` does at its end."""
    try:
        if raised is None:
            channel.end()
        else:
            channel.reset(f"{type(raised).__name__}: {raised}"[:200])
    except (ValueError, ConnectionError):
        # It is over already, and who used it was told.
        pass
    channel.close()


class _ChannelFile(io.RawIOBase):
    """A channel of bytes as a raw stream."""

    def __init__(self, channel: Channel, reads: bool, writes: bool) -> None:
        if not channel.is_bytes:
            raise ValueError("only a channel of bytes can be a file: open it with bytes=True")
        self._channel, self._reads, self._writes = channel, reads, writes

    def readable(self) -> bool:
        return self._reads

    def writable(self) -> bool:
        return self._writes

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._channel.recv_view(bytes_max=len(buffer))
        except EndOfChannel:
            return 0
        buffer[: len(data)] = data
        return len(data)

    def write(self, data: Any) -> int:
        self._channel.send(data)
        return len(memoryview(data).cast("B"))

    def close(self) -> None:
        if not self.closed and self._writes:
            try:
                self._channel.end()
            except (ValueError, Closed):
                # It is over already.
                pass
        super().close()
