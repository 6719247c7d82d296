"""Exceptions: all are `ClerverError`, and each is also the built-in exception that a Python programmer would catch."""

from __future__ import annotations

import builtins
from typing import ClassVar

from ._clerver import CODES

__all__ = [
    "ClerverError",
    "Timeout",
    "WouldBlock",
    "Unreachable",
    "NotRun",
    "Busy",
    "Cancelled",
    "Interrupted",
    "StoreError",
    "Denied",
    "Lost",
    "Closed",
    "EndOfChannel",
    "Stopped",
    "CallFailed",
    "HandleClosed",
    "BadArgument",
    "BadState",
    "InUse",
    "NoService",
    "TooLarge",
    "LimitReached",
    "Defect",
]

_TABLE = {name: (number, kind, remedy) for name, number, kind, remedy in CODES}


class ClerverError(Exception):
    """What failed, with whom and why. Raise one in a service to choose the code that the caller gets.

    `code` is the name of the code in every language, such as `TIMEOUT`; `number` is its number, and `category` what a
    program should do about it: `retry`, `again`, `denied`, `lost`, `misuse`, `limit` or `bug`. `remedy` tells a person
    what to do; it is shown in tracebacks.
    """

    default_code: ClassVar[str] = "CALL_FAILED"

    def __init__(self, message: str = "", *, code: str | None = None, remedy: str | None = None) -> None:
        super().__init__(message)
        self.code: str = code or self.default_code
        number, category, usual = _TABLE.get(self.code, _TABLE["BUG"])
        self.number: int = number
        self.category: str = category
        self.remedy: str = remedy or usual
        self.message: str = message

    def __str__(self) -> str:
        return self.message or self.code


class Timeout(ClerverError, builtins.TimeoutError):
    """The time allowed ran out; the operation may still take effect."""

    default_code = "TIMEOUT"


class WouldBlock(ClerverError, BlockingIOError):
    """No room, or nothing there yet."""

    default_code = "AGAIN"


class Unreachable(ClerverError, ConnectionRefusedError):
    """No address of the peer could be reached or resolved."""

    default_code = "UNREACHABLE"


class NotRun(ClerverError, ConnectionError):
    """The call was certainly not run: it is safe to call again."""

    default_code = "NOT_RUN"


class Busy(ClerverError, RuntimeError):
    """The peer takes nothing new now: it is too busy, or drains."""

    default_code = "BUSY"


class Cancelled(ClerverError, RuntimeError):
    """Its caller cancelled it."""

    default_code = "CANCELLED"


class Interrupted(ClerverError, InterruptedError):
    """A signal ended the wait."""

    default_code = "INTERRUPTED"


class StoreError(ClerverError, OSError):
    """It is not on the disk, or not known to be (`UNCONFIRMED`: then it must not be sent again)."""

    default_code = "STORE"


class Denied(ClerverError, PermissionError):
    """Keys, trust or levels do not allow it."""

    default_code = "DENIED"


class Lost(ClerverError, ConnectionResetError):
    """Continuity is broken: data may be missing."""

    default_code = "LOST"


class Closed(ClerverError, ConnectionAbortedError):
    """It was closed in good order."""

    default_code = "CLOSED"


class EndOfChannel(ClerverError, EOFError):
    """Everything was read."""

    default_code = "END"


class Stopped(ClerverError, BrokenPipeError):
    """The peer reads this channel no more."""

    default_code = "STOPPED"


class CallFailed(ClerverError, RuntimeError):
    """The handler ran and failed; the text is the handler's."""

    default_code = "CALL_FAILED"


class HandleClosed(ClerverError, ValueError):
    """The handle was closed, or what it names is over."""

    default_code = "HANDLE"


class BadArgument(ClerverError, ValueError):
    """An argument or an option is not valid."""

    default_code = "ARG"


class BadState(ClerverError, RuntimeError):
    """Not possible in this state, in a callback, or after a fork."""

    default_code = "STATE"


class InUse(ClerverError, OSError):
    """The address, store or name is taken."""

    default_code = "IN_USE"


class NoService(ClerverError, LookupError):
    """The peer offers no such service."""

    default_code = "NO_SERVICE"


class TooLarge(ClerverError, ValueError):
    """A message is larger than its limit."""

    default_code = "SIZE"


class LimitReached(ClerverError, RuntimeError):
    """A stated limit is reached."""

    default_code = "LIMIT"


class Defect(ClerverError, RuntimeError):
    """A peer broke the protocol, or Clerver has a defect: report it."""

    default_code = "BUG"


_BY_CODE: dict[str, type[ClerverError]] = {
    "TIMEOUT": Timeout,
    "UNREACHABLE": Unreachable,
    "RESOLVE": Unreachable,
    "LINK_FAILED": Unreachable,
    "NOT_RUN": NotRun,
    "BUSY": Busy,
    "DRAINING": Busy,
    "CANCELLED": Cancelled,
    "INTERRUPTED": Interrupted,
    "UNCONFIRMED": StoreError,
    "STORE": StoreError,
    "CLOSED": Closed,
    "END": EndOfChannel,
    "STOPPED": Stopped,
    "CALL_FAILED": CallFailed,
    "HANDLE": HandleClosed,
    "POISONED": HandleClosed,
    "STATE": BadState,
    "IN_CALLBACK": BadState,
    "FORKED": BadState,
    "UNSUPPORTED": BadState,
    "NOT_DRAINED": BadState,
    "IN_USE": InUse,
    "NO_SERVICE": NoService,
    "SIZE": TooLarge,
}

_BY_CATEGORY: dict[str, type[ClerverError]] = {
    "retry": Busy,
    "again": WouldBlock,
    "denied": Denied,
    "lost": Lost,
    "misuse": BadArgument,
    "limit": LimitReached,
    "bug": Defect,
}


def make(code: str, message: str, remedy: str) -> ClerverError:
    """The exception for an error of the library; for the native half."""
    _, category, _ = _TABLE.get(code, _TABLE["BUG"])
    kind = _BY_CODE.get(code) or _BY_CATEGORY[category]
    error = kind(message, code=code, remedy=remedy)
    error.add_note(f"[{code}] {remedy}")
    return error
