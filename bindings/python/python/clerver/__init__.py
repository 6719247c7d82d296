"""Clerver: sessions that outlive their connections.

`Node` opens a clerver; sessions, channels, calls, services and living objects come from it. Everything here may be used
from any thread, waits without the interpreter lock, and is interrupted by Ctrl-C. `clerver.aio` is the same for asyncio.
Times are seconds; a `timeout` of `None` waits for ever.
"""

from . import errors, events
from ._clerver import OPENSSL_VERSION, __version__
from .channel import Buffer, Channel, Delivery
from .errors import (
    BadArgument,
    BadState,
    Busy,
    CallFailed,
    Cancelled,
    ClerverError,
    Closed,
    Defect,
    Denied,
    EndOfChannel,
    HandleClosed,
    Interrupted,
    InUse,
    LimitReached,
    Lost,
    NoService,
    NotRun,
    Stopped,
    StoreError,
    Timeout,
    TooLarge,
    Unreachable,
    WouldBlock,
)
from .events import ChannelReport, LossReport
from .node import CallContext, Connecting, DeferredReply, EndReport, Node, Undelivered
from .session import Call, ObjectInfo, PeerAddress, Session, SessionInfo, TaskRecord

__all__ = [
    "OPENSSL_VERSION",
    "BadArgument",
    "BadState",
    "Buffer",
    "Busy",
    "Call",
    "CallContext",
    "CallFailed",
    "Cancelled",
    "Channel",
    "ChannelReport",
    "ClerverError",
    "Closed",
    "Connecting",
    "Defect",
    "DeferredReply",
    "Delivery",
    "Denied",
    "EndOfChannel",
    "EndReport",
    "HandleClosed",
    "InUse",
    "Interrupted",
    "LimitReached",
    "LossReport",
    "Lost",
    "NoService",
    "Node",
    "NotRun",
    "ObjectInfo",
    "PeerAddress",
    "Session",
    "SessionInfo",
    "Stopped",
    "StoreError",
    "TaskRecord",
    "Timeout",
    "TooLarge",
    "Undelivered",
    "Unreachable",
    "WouldBlock",
    "__version__",
    "errors",
    "events",
]
