"""One end of the vectors, in Python: reads a command per line, does it with the package `clerver`, and answers in one
line. `README.md` has the commands."""

from __future__ import annotations

import queue
import sys
import threading
from typing import Callable

import clerver
from clerver import events

WAIT = 20.0
"""Longer than anything takes that works."""

SHOWN_BYTES = 64
PATTERN = 251

SEEN: dict[type, tuple[str, Callable[..., str]]] = {
    events.Lost: ("lost", lambda event: event.report.cause.code),
    events.Closed: ("closed", lambda event: ""),
    events.LinkAttached: ("link-attached", lambda event: ""),
    events.LinkEnded: ("link-ended", lambda event: ""),
    events.PeerDrains: ("peer-drains", lambda event: ""),
    events.ObjectAttached: ("object-attached", lambda event: f"{event.object} {event.kind}"),
    events.ObjectEnded: ("object-ended", lambda event: str(event.object)),
    events.ObjectUpdated: ("object-updated", lambda event: f"{event.object} {encode(event.data)}"),
}


def pattern(start: int, size: int) -> bytes:
    """`size` bytes of the pattern from a place on."""
    return bytes(at % PATTERN for at in range(start, start + size))


def decode(word: str) -> bytes:
    """The data of a word."""
    if word.startswith("bytes:"):
        return pattern(0, int(word[6:]))
    if word.startswith("letters:"):
        return b"a" * int(word[8:])
    if word == "-":
        return b""
    head, *escapes = word.encode().split(b"%")
    return head + b"".join(bytes([int(escape[:2], 16)]) + escape[2:] for escape in escapes)


def encode(data: bytes) -> str:
    """Data as one word."""
    if not data:
        return "-"
    if len(data) > SHOWN_BYTES:
        known = "bytes" if data == pattern(0, len(data)) else "letters" if data == b"a" * len(data) else "other"
        return f"{known}:{len(data)}"
    plain = b"._~" + (b"-" if len(data) > 1 else b"")
    return "".join(chr(c) if chr(c).isalnum() and c < 128 or c in plain else f"%{c:02X}" for c in data)


def escaped(text: str) -> str:
    return "".join(chr(c) if c < 128 and chr(c).isalnum() else f"%{c:02X}" for c in text.encode())


def wait(words: list[str]) -> float:
    return int(words[0]) / 1000 if words else WAIT


class End:
    """What is kept between commands."""

    def __init__(self) -> None:
        self.node: clerver.Node | None = None
        self.session: clerver.Session | None = None
        self.channels: dict[str, clerver.Channel] = {}
        self.calls: dict[str, clerver.Call] = {}
        self.notes: queue.Queue[str] = queue.Queue()
        self.gates = threading.Semaphore(0)

    # The node and what its callbacks saw.

    def open(self, *words: str) -> str:
        self.node = clerver.Node(**dict(word.split("=", 1) for word in words))
        return self.node.host_id

    def listen(self, address: str) -> str:
        return self.node.listen(address)

    def connect(self, address: str, *limit: str) -> None:
        self.session = self.node.connect(address, wait(list(limit)))

    def accept(self) -> None:
        self.session = self.node.accept(WAIT)

    def serve(self, name: str, behaviour: str, level: str = "1") -> None:
        def handler(call: clerver.CallContext) -> object:
            return self.behave(call, behaviour)

        self.node.serve(decode(name).decode(), handler, inline=behaviour == "inline", level_min=int(level))

    def unserve(self, name: str) -> None:
        self.node.unserve(name)

    def kind(self, name: str) -> None:
        self.node.register_kind(name, destroy=lambda text: self.notes.put(f"destroyed {encode(text)}"))

    def note(self, *limit: str) -> str:
        try:
            return self.notes.get(timeout=wait(list(limit)))
        except queue.Empty:
            raise clerver.Timeout("no note") from None

    def gate(self) -> None:
        self.gates.release()

    def drain(self) -> None:
        self.node.drain(WAIT)

    def close_node(self) -> None:
        self.node.close(WAIT)

    def behave(self, call: clerver.CallContext, behaviour: str) -> object:
        request = call.request
        match behaviour:
            case "echo" | "inline":
                return request
            case "parts":
                for at in range(len(request)):
                    call.reply_part(request[at : at + 1])
                return b"last"
            case "patience":
                self.notes.put(f"began {encode(request)}")
                while not call.is_cancelled:
                    threading.Event().wait(0.002)
                self.notes.put(f"cancelled {encode(request)}")
                return b""
            case "gate":
                self.notes.put(f"began {encode(request)}")
                self.gates.acquire()
                return request
            case "keep":
                return str(call.session.attach("thing", request))
            case "level":
                return str(call.caller_level)
            case "deadline":
                return b"none" if call.remaining is None else b"some"
            case "busy":
                raise clerver.Busy("as the case wants it")
        raise clerver.CallFailed("as the case wants it")

    # The session.

    def wait_state(self, state: str) -> None:
        self.session.wait_state(state, timeout=WAIT)

    def event(self, kind: str) -> str:
        while True:
            event = self.session.next_event(WAIT)
            found, words = SEEN.get(type(event), ("", str))
            if found == kind:
                return words(event)

    def close_session(self) -> None:
        self.session.close(WAIT)

    def attach(self, kind: str, text: str, *ttl: str) -> str:
        return str(self.session.attach(kind, decode(text), ttl=wait(list(ttl)) if ttl else None))

    def update(self, which: str, data: str) -> None:
        self.session.update(int(which), decode(data))

    def touch(self, which: str) -> None:
        self.session.touch(int(which))

    def release(self, which: str) -> None:
        self.session.release(int(which))

    def end_object(self, which: str) -> None:
        self.session.end_object(int(which))

    def objects(self) -> str:
        return str(sum(info.object != 0 for info in self.session.objects()))

    def call(self, service: str, data: str, *limit: str) -> str:
        return encode(self.session.call(decode(service).decode(), decode(data), wait(list(limit))))

    def start(self, name: str, service: str, data: str, *limit: str) -> None:
        deadline = None if limit == ("-1",) else wait(list(limit))
        self.calls[name] = self.session.start(service, decode(data), deadline)

    def part(self, name: str) -> str:
        part = self.calls[name].receive(WAIT)
        if part is None:
            raise clerver.EndOfChannel("the reply is whole")
        return encode(part)

    def outcome(self, name: str) -> str:
        return self.calls[name].outcome

    def cancel(self, name: str) -> None:
        self.calls[name].cancel()

    # Channels.

    def channel(self, number: str, form: str, name: str, *limit: str) -> None:
        try:
            self.channels[number] = self.session.open_channel(
                decode(name).decode(), bytes=form == "bytes", timeout=wait(list(limit)) if limit else 0
            )
        except clerver.Timeout as error:
            if limit:
                raise
            # What the end of a wait of nothing means.
            raise clerver.LimitReached(str(error), code="CHANNELS") from None

    def take(self, number: str) -> str:
        taken = self.channels[number] = self.session.accept_channel(WAIT)
        return f"{'bytes' if taken.is_bytes else 'messages'} {encode(taken.name.encode())}"

    def send(self, number: str, data: str) -> None:
        self.channels[number].send(decode(data), WAIT)

    def receive(self, number: str, *limit: str) -> str:
        return encode(self.channels[number].recv(wait(list(limit))))

    def write(self, number: str, total: str, piece: str, *limit: str) -> None:
        for start in range(0, int(total), int(piece)):
            data = pattern(start, min(int(piece), int(total) - start))
            self.channels[number].send(data, wait(list(limit)))

    def check(self, number: str, total: str) -> str:
        received = 0
        while total == "end" or received < int(total):
            try:
                data = self.channels[number].recv(WAIT)
            except clerver.EndOfChannel:
                if total == "end":
                    break
                raise
            if data != pattern(received, len(data)):
                raise clerver.Defect(f"bytes {received} to {received + len(data)} are wrong")
            received += len(data)
        return str(received)

    def end(self, number: str) -> None:
        self.channels[number].end()

    def reset(self, number: str, why: str) -> None:
        self.channels[number].reset(decode(why).decode())

    def stop(self, number: str) -> None:
        self.channels[number].stop()

    def let_go(self, number: str) -> None:
        del self.channels[number]


def answer(end: End, line: str) -> str:
    command, *words = line.split()
    try:
        said = getattr(end, command.replace("-", "_"))(*words)
        return f"ok {said}" if said else "ok"
    except clerver.ClerverError as error:
        return f"error {error.code} {escaped(error.message)}"
    except AttributeError:
        return f"error ARG {escaped('no such command')}"


def main() -> None:
    end = End()
    for line in sys.stdin:
        print(answer(end, line), flush=True)
    if end.node is not None:
        end.node.close(1)


main()
