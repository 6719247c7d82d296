"""The same for asyncio: every wait for a peer is a coroutine, and no thread waits for one.

The node's descriptor tells the event loop that something came, and the node's own thread keeps the heartbeats, however
busy the loop is. A cancelled `recv`, `accept` or `call` loses no message. A node belongs to the loop that opened it.
"""

from .channel import Channel
from .node import Node
from .service import CallContext
from .session import Call, Session

__all__ = ["Call", "CallContext", "Channel", "Node", "Session"]
