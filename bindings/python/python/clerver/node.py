"""Nodes."""

from __future__ import annotations

import atexit
import inspect
import logging
import os
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar, Union

from . import _clerver, events
from .channel import Buffer
from .errors import Closed, ClerverError
from .session import CLOSE_TIMEOUT, Session

logger = logging.getLogger("clerver")
"""Where nodes log, with the levels of `logging`; its level when a node opens says what the node tells at all."""

EXIT_TIMEOUT = 1.0
"""How long a node that is open when the interpreter ends gets to end in good order, in seconds."""

Reply = Union[Buffer, str, None]
"""What a handler may return, or a generator yield."""

Handler = Callable[["CallContext"], Any]
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Undelivered:
    """A channel whose data did not all arrive: `written` minus `held` bytes are missing."""

    session: int
    peer: str | None
    channel: events.ChannelReport


@dataclass(frozen=True)
class EndReport:
    """What was left when a drain or a close ended; `running` handlers did not return in time."""

    undelivered: list[Undelivered]
    running: list[str]


class CallContextBase:
    """What handlers of all kinds see of a call; of use until it is answered."""

    def __init__(self, native: _clerver.CallContext) -> None:
        self._native = native

    @property
    def request(self) -> bytes:
        """What the caller sent."""
        return self._native.request

    @property
    def call_id(self) -> tuple[str, int]:
        """Names the call at both ends, for making its effects unique."""
        return self._native.call_id

    @property
    def caller_level(self) -> int:
        """The level of the caller."""
        return self._native.caller_level

    @property
    def is_cancelled(self) -> bool:
        """Whether nobody waits for the reply any more."""
        return self._native.is_cancelled

    @property
    def remaining(self) -> float | None:
        """Seconds until the caller gives up; `None` when it never does."""
        return self._native.remaining


class CallContext(CallContextBase):
    """One call, as its handler sees it."""

    @property
    def session(self) -> Session:
        """The session of the caller. It does not keep that open."""
        return Session(self._native.session)

    def reply_part(self, part: Buffer) -> None:
        """Sends one part of a streamed reply; what the handler returns is the last one. Waits for room."""
        self._native.reply_part(part)

    def defer(self) -> DeferredReply:
        """Leaves the answer for later: what the handler returns does not count, and no thread waits meanwhile.

        `reply_part` then raises WouldBlock where it would wait.
        """
        return DeferredReply(self._native.defer())


class DeferredReply:
    """The duty to answer a call later, from any thread; the caller of one that is dropped gets CallFailed."""

    def __init__(self, native: _clerver.DeferredReply) -> None:
        self._native = native

    def finish(self, reply: Reply = None) -> None:
        """Answers with the reply, or with its last part. Does not wait."""
        self._native.finish(reply_bytes(reply))

    def fail(self, why: BaseException) -> None:
        """Answers as if the handler had raised this. Does not wait."""
        self._native.fail(why)


def option_text(value: object) -> str:
    """An option as the text that the library reads."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)


def option_list(options: dict[str, object]) -> list[tuple[str, str]]:
    """Options that were given, as texts."""
    return [(name, option_text(value)) for name, value in options.items() if value is not None]


def reply_bytes(reply: Any) -> Buffer:
    """A `Reply` as bytes; text is UTF-8. What is neither is refused where it is sent."""
    if reply is None:
        return b""
    data: Buffer = reply.encode() if isinstance(reply, str) else reply
    return data


def guarded(name: str, handler: Handler) -> Callable[[_clerver.CallContext], Buffer]:
    """A handler for the native half: logs what it raises, and sends what a generator yields in parts."""
    if not callable(handler):
        raise TypeError(f"the handler of service {name!r} has to be callable, not {type(handler).__name__!r}")

    def run(native: _clerver.CallContext) -> Buffer:
        try:
            reply = handler(CallContext(native))
            if inspect.isgenerator(reply):
                for part in reply:
                    native.reply_part(reply_bytes(part))
                return b""
            return reply_bytes(reply)
        except ClerverError:
            raise
        except Exception:
            logger.exception("service %r raised", name)
            raise

    return run


def offering(serve: Callable[..., None], name: str | None, **options: Any) -> Callable[[F], F]:
    """A decorator that offers a function as a service, under its own name unless another one is given."""

    def offer(function: F) -> F:
        serve(name or function.__name__, function, **options)
        return function

    return offer


def connect_wish(
    addresses: str | Iterable[str], race: bool, any_node: bool, bulk_links: int, standby_links: int
) -> dict[str, Any]:
    """Options of a connect for the native half."""
    wanted = [addresses] if isinstance(addresses, str) else list(addresses)
    return {
        "addresses": wanted,
        "race": race,
        "any_node": any_node,
        "bulk_links": bulk_links,
        "standby_links": standby_links,
    }


def end_report(left: tuple[list[tuple[int, str | None, dict[str, int]]], list[str]]) -> EndReport:
    """A report from what the native half gives."""
    undelivered = [Undelivered(session, peer, events.ChannelReport(**row)) for session, peer, row in left[0]]
    return EndReport(undelivered, left[1])


_open: weakref.WeakSet[NodeBase] = weakref.WeakSet()


def _close_all() -> None:
    for node in list(_open):
        try:
            node._native.close(EXIT_TIMEOUT)
        except ClerverError:
            # In the child of a fork, it is the parent's.
            pass


atexit.register(_close_all)


class NodeBase:
    """What blocking and asyncio nodes have in common: none of it waits for peers."""

    def __init__(self, native: _clerver.Node) -> None:
        self._native = native
        _open.add(self)
        level = logger.getEffectiveLevel()
        native.set_log(min(level, logging.ERROR), logger.log)

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__name__} {self.id}>"

    @property
    def id(self) -> str:
        """Who this node is: host and process."""
        return self._native.id

    @property
    def host_id(self) -> str:
        """The id of the key that it runs under, which peers authorise."""
        return self._native.host_id

    def listen(self, address: str = "0.0.0.0:0", *, level_min: int | None = None) -> str:
        """Accepts connections of authorised peers at `host:port`, 0 for a free port, and answers the address it got."""
        return self._native.listen(address, level_min)

    def announce(self, addresses: Iterable[str] | None = None) -> None:
        """Tells peers where this node can be reached; `None` goes back to what the machine's interfaces say."""
        self._native.announce(None if addresses is None else list(addresses))

    def addresses(self) -> list[str]:
        """Where this node says that it can be reached."""
        return self._native.addresses()

    def unserve(self, name: str) -> None:
        """Offers a service no more; calls that run go on."""
        self._native.unserve(name)

    def register_kind(
        self,
        name: str,
        *,
        destroy: Callable[[Any], object] | None = None,
        embalm: Callable[[Any], Buffer] | None = None,
        revive: Callable[[bytes], Any] | None = None,
        keep: float | None = None,
        discard: Callable[[bytes], object] | None = None,
        abandon: Callable[[Any], object] | None = None,
        print: Callable[[Any], str] | None = None,
        level_min: int = 1,
    ) -> None:
        """Makes a kind of objects known; a payload is any Python object.

        `destroy` gets the payload once, when its owner is gone. `embalm` turns it into bytes when contact is lost for
        longer than the TTL, and `revive` makes it again within `keep` seconds; `discard` gets the bytes when nobody came
        back. `abandon` makes a handler stop that still uses it. `print` answers a line about it. All run on worker
        threads. What `destroy`, `discard` and `abandon` raise goes to `sys.unraisablehook`.
        """
        callbacks = {
            "destroy": destroy,
            "embalm": embalm,
            "revive": revive,
            "keep": keep,
            "discard": discard,
            "abandon": abandon,
            "print": print,
            "level_min": level_min,
        }
        self._native.register_kind(name, callbacks)

    def counters(self) -> dict[str, int]:
        """Counters since the start, and gauges of now."""
        return self._native.counters()

    def reload_trust(self) -> None:
        """Reads the trust files again; sessions with hosts that are refused now end."""
        self._native.reload_trust()


class Connecting:
    """A connect that was started. `with` gives it up at its end, if its session was not taken."""

    def __init__(self, native: _clerver.Connecting) -> None:
        self._native = native

    def __enter__(self) -> Connecting:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()

    def result(self, timeout: float | None = None) -> Session:
        """Waits for the session; it can be taken once. The connect goes on when `timeout` is over."""
        return Session(self._native.take(timeout))

    def cancel(self) -> None:
        """Gives up: `result` raises Cancelled. Without effect once there is a session."""
        self._native.cancel()


class Node(NodeBase):
    """One running clerver: client and server at once. May be used from any thread.

    Options are those of the library (`home`, `ttl_ms`, `beat_ms`, `store_dir`, ..); what is not given comes from the
    `CLERVER_*` environment, the configuration file and the defaults. `with` closes it.
    """

    def __init__(self, **options: object) -> None:
        super().__init__(_clerver.Node(option_list(options)))

    def __enter__(self) -> Node:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(CLOSE_TIMEOUT if kind is None else 1.0)

    def connect(
        self,
        addresses: str | Iterable[str],
        timeout: float | None = None,
        *,
        race: bool = False,
        any_node: bool = False,
        bulk_links: int = 0,
        standby_links: int = 0,
    ) -> Session:
        """Connects to a node at one of these addresses, tried in order or raced, and waits for the session.

        `any_node` takes another node there when the first is gone. `standby_links` (0 to 4) take over without a
        handshake; `bulk_links` (0 to 8) carry bulk beside the primary one.
        """
        wish = connect_wish(addresses, race, any_node, bulk_links, standby_links)
        return Session(self._native.connect(wish, timeout))

    def connect_start(
        self,
        addresses: str | Iterable[str],
        timeout: float | None = None,
        *,
        race: bool = False,
        any_node: bool = False,
        bulk_links: int = 0,
        standby_links: int = 0,
    ) -> Connecting:
        """Starts to connect and does not wait for it; it is given up after `timeout` seconds. As `connect` else."""
        wish = connect_wish(addresses, race, any_node, bulk_links, standby_links)
        return Connecting(self._native.connect_start(wish, timeout))

    def accept(self, timeout: float | None = None) -> Session:
        """Waits for the next session that a peer makes with this node."""
        return Session(self._native.accept(timeout))

    def sessions(self) -> Iterator[Session]:
        """The sessions that peers make, until the node is closed."""
        while True:
            try:
                yield self.accept()
            except Closed:
                return

    def serve(
        self,
        name: str,
        handler: Handler,
        *,
        inline: bool = False,
        level_min: int = 1,
        idempotent: bool = False,
    ) -> None:
        """Offers a service. `handler(call)` returns bytes or text, or is a generator whose values are the parts.

        It runs on a worker thread, beside others; what it raises becomes CallFailed at the caller, with type and text.
        With `inline` it runs on the node's own thread: fastest, but it must never wait.
        """
        self._native.serve(name, guarded(name, handler), inline, level_min, idempotent)

    def service(
        self, name: str | None = None, *, inline: bool = False, level_min: int = 1, idempotent: bool = False
    ) -> Callable[[F], F]:
        """A decorator that offers a function as a service, under its own name unless another one is given."""

        return offering(self.serve, name, inline=inline, level_min=level_min, idempotent=idempotent)

    def next_event(self, timeout: float | None = None) -> events.NodeEvent:
        """Waits for the next event of the node."""
        event: events.NodeEvent = events.make(self._native.next_event(timeout))
        return event

    def events(self) -> Iterator[events.NodeEvent]:
        """The events of the node, until it is closed."""
        while True:
            try:
                yield self.next_event()
            except Closed:
                return

    def drain(self, timeout: float | None = None) -> EndReport:
        """Takes nothing new, and waits until everything written is with the peers and all handlers have returned."""
        return end_report(self._native.drain(timeout))

    def close(self, timeout: float | None = CLOSE_TIMEOUT) -> EndReport:
        """Ends all sessions in good order, then the node. The second close does nothing."""
        report = end_report(self._native.close(timeout))
        _open.discard(self)
        return report

    def run_once(self, timeout: float | None = None) -> None:
        """With the option `caller_driven`: waits for sockets and timers, and does what there is to do on this thread."""
        self._native.run_once(timeout)

    def fileno(self) -> int:
        """A descriptor for `select` and the like: readable while events of the node wait. Do not read or close it."""
        return self._native.event_descriptor()
