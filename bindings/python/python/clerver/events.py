"""Events of nodes and sessions: a class for each, with its fields, for `match` and `isinstance`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Union

from .errors import ClerverError

__all__ = [
    "Accepted",
    "AddressFailed",
    "ChannelOpened",
    "ChannelReport",
    "Closed",
    "ConnectFailed",
    "Connected",
    "DialRetry",
    "Draining",
    "Dropped",
    "LinkAttached",
    "LinkEnded",
    "LossReport",
    "Lost",
    "MoveBegan",
    "MoveFailed",
    "NodeEvent",
    "Notice",
    "ObjectAttached",
    "ObjectEnded",
    "ObjectRevived",
    "ObjectStuck",
    "ObjectUpdated",
    "Openable",
    "OwnIdElsewhere",
    "PeerAddresses",
    "PeerDrains",
    "PeerMoves",
    "PeerRevived",
    "Pinned",
    "Readable",
    "Refused",
    "Restored",
    "SessionEvent",
    "SessionReady",
    "SessionStateChanged",
    "Skew",
    "StateChanged",
    "Writable",
]


@dataclass(frozen=True)
class ChannelReport:
    """Bytes of a channel: written, handed to links, held by the peer; received here, taken here."""

    channel: int
    written: int
    sent: int
    held: int
    received: int
    taken: int


@dataclass(frozen=True)
class LossReport:
    """What was lost with a session, or left at its close.

    `calls` are channel numbers with `reply`, `not-run` or `unknown`; `objects` those that the peer kept for this end.
    """

    cause: ClerverError
    epoch: int
    channels: list[ChannelReport] = field(default_factory=list)
    calls: list[tuple[int, str]] = field(default_factory=list)
    objects: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Connected:
    """A connect of this node reached a session."""

    session: int
    peer: str
    shared: bool


@dataclass(frozen=True)
class ConnectFailed:
    """A connect gave up."""

    address: str
    why: ClerverError


@dataclass(frozen=True)
class AddressFailed:
    """Nobody, or somebody else, answered at an address; another one is tried."""

    address: str
    why: ClerverError


@dataclass(frozen=True)
class DialRetry:
    """A dial failed and is repeated in `after` seconds."""

    address: str
    why: ClerverError
    after: float


@dataclass(frozen=True)
class Accepted:
    """A peer made a session with this node; `accept` gives it out."""

    session: int
    peer: str


@dataclass(frozen=True)
class Restored:
    """A session that an earlier process left was found in the store; `accept` gives it out."""

    session: int
    peer: str


@dataclass(frozen=True)
class Refused:
    """A link was refused, here or by the peer; the remedy of `why` would allow it."""

    peer: str
    why: ClerverError


@dataclass(frozen=True)
class Pinned:
    """A host was pinned on first use under the name that the user gave."""

    name: str
    host: str


@dataclass(frozen=True)
class OwnIdElsewhere:
    """The host id of this node was used from another machine."""

    address: str


@dataclass(frozen=True)
class SessionStateChanged:
    """The state of a session changed."""

    session: int
    before: str
    state: str
    why: str


@dataclass(frozen=True)
class Draining:
    """How far a drain of this node is."""

    sessions: int
    undelivered_bytes: int
    running: list[str]


@dataclass(frozen=True)
class Notice:
    """A notice of the protocol."""

    text: str


@dataclass(frozen=True)
class Readable:
    """A watched channel or call has something to take, or its end."""

    token: int


@dataclass(frozen=True)
class Writable:
    """A watched channel has room, or its end."""

    token: int


@dataclass(frozen=True)
class SessionReady:
    """A watched session has events, a channel to accept, or its end."""

    token: int


@dataclass(frozen=True)
class Dropped:
    """The queue was full: this many older events were dropped before this one."""

    count: int


@dataclass(frozen=True)
class StateChanged:
    """The state changed; a suspended session waits `left` seconds for its peer."""

    before: str
    state: str
    why: str
    buffered_bytes: int
    left: float | None


@dataclass(frozen=True)
class Lost:
    """Continuity is broken; the only event after which data may be missing."""

    report: LossReport


@dataclass(frozen=True)
class Closed:
    """Ended in good order; the report lists what was never taken."""

    report: LossReport


@dataclass(frozen=True)
class LinkAttached:
    """A link joined the session."""

    name: str
    role: str
    address: str


@dataclass(frozen=True)
class LinkEnded:
    """A link left the session."""

    name: str
    why: ClerverError


@dataclass(frozen=True)
class Skew:
    """The wall clock of the peer is ahead of ours by so much."""

    milliseconds: int


@dataclass(frozen=True)
class PeerDrains:
    """The peer takes no new channels and calls."""


@dataclass(frozen=True)
class PeerAddresses:
    """The peer can be reached at these addresses."""

    addresses: list[str]


@dataclass(frozen=True)
class MoveBegan:
    """The session moves: `asked`, `go-to` or `congestion`."""

    to: str | None
    cause: str


@dataclass(frozen=True)
class MoveFailed:
    """No address answered that the session could move to; it stays."""

    why: ClerverError


@dataclass(frozen=True)
class PeerMoves:
    """The peer moves the session to another link."""

    cause: str


@dataclass(frozen=True)
class PeerRevived:
    """The peer is another process now, which found the session in its store."""

    peer: str


@dataclass(frozen=True)
class ChannelOpened:
    """The peer opened a channel; `accept_channel` gives it out."""

    channel: int


@dataclass(frozen=True)
class Openable:
    """There is room to open a channel again."""


@dataclass(frozen=True)
class ObjectAttached:
    """The peer keeps an object for this end."""

    object: int
    kind: str


@dataclass(frozen=True)
class ObjectEnded:
    """An object that the peer kept for this end is over."""

    object: int
    code: str


@dataclass(frozen=True)
class ObjectUpdated:
    """The owner left data in an object that is kept here."""

    object: int
    data: bytes


@dataclass(frozen=True)
class ObjectRevived:
    """An object that was put aside for an ended session is alive again here."""

    object: int
    from_session: int
    was: int


@dataclass(frozen=True)
class ObjectStuck:
    """The grace is over and this object still waits for a handler."""

    object: int


NodeEvent = Union[
    Connected,
    ConnectFailed,
    AddressFailed,
    DialRetry,
    Accepted,
    Restored,
    Refused,
    Pinned,
    OwnIdElsewhere,
    SessionStateChanged,
    Draining,
    Notice,
    Readable,
    Writable,
    SessionReady,
    Dropped,
]
"""Whatever `Node.next_event` answers."""

SessionEvent = Union[
    StateChanged,
    Lost,
    Closed,
    LinkAttached,
    LinkEnded,
    Skew,
    PeerDrains,
    PeerAddresses,
    MoveBegan,
    MoveFailed,
    PeerMoves,
    PeerRevived,
    ChannelOpened,
    Openable,
    ObjectAttached,
    ObjectEnded,
    ObjectUpdated,
    ObjectRevived,
    ObjectStuck,
    Dropped,
    Notice,
]
"""Whatever `Session.next_event` answers."""


def loss_report(fields: dict[str, Any]) -> LossReport:
    """A report from the fields that the native half gives."""
    channels = [ChannelReport(**channel) for channel in fields.pop("channels")]
    return LossReport(channels=channels, **fields)


def make(told: tuple[str, dict[str, Any]]) -> Any:
    """An event from the name and fields that the native half gives."""
    name, fields = told
    if "report" in fields:
        fields["report"] = loss_report(fields["report"])
    return globals()[name](**fields)
