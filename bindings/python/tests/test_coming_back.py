"""What outlives contact and processes: stored channels, restart points, embalmed objects."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

import clerver
from clerver import events
from conftest import SOON, Pair

READER = """
import sys
import clerver
node = clerver.Node(home=sys.argv[1], store_dir=sys.argv[2], announce=False, ttl_ms=20000, beat_ms=100)
node.listen(sys.argv[3])
session = node.accept(20)
jobs = session.accept_channel(20)
taken = jobs.take(20)
print(taken.data.decode(), taken.redelivered, taken.restart_point.decode() or "-", flush=True)
if sys.argv[4] == "works":
    jobs.set_restart_point(b"half", 20)
    print("half", flush=True)
    sys.stdin.read()
jobs.ack(taken, 20)
for _ in range(2):
    print(jobs.take(20).data.decode(), flush=True)
node.close(5)
"""


def reader(home: Path, address: str, how: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", READER, str(home / "key"), str(home / "reader"), address, how]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_stored_channel_outlives_its_killed_reader(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as free:
        address = "127.0.0.1:%d" % free.getsockname()[1]
    killed = reader(tmp_path, address, "works")
    options: dict[str, object] = {"home": tmp_path / "key", "store_dir": tmp_path / "writer", "announce": False}
    with clerver.Node(ttl_ms=20000, beat_ms=100, **options) as node:
        session = node.connect(address, SOON)
        jobs = session.open_channel("jobs", stored=True)
        assert jobs.is_stored
        jobs.send(b"first", SOON)
        jobs.send(b"second", SOON)
        jobs.confirm(SOON)
        assert killed.stdout is not None
        assert [killed.stdout.readline().split() for _ in range(2)] == [["first", "False", "-"], ["half"]]
        killed.kill()
        killed.wait()
        again = reader(tmp_path, address, "ends")
        # The next process goes on with what it had stored, and then with what comes over the revived session.
        jobs.send(b"third", SOON)
        out, _ = again.communicate(timeout=SOON)
        assert out == "first True half\nsecond\nthird\n"
        revived = (event for event in session.events() if isinstance(event, events.PeerRevived))
        assert next(revived).peer != session.peer


def test_an_ordinary_channel_has_nothing_to_acknowledge(pair: Pair) -> None:
    ours, theirs = pair.channel()
    ours.send(b"x")
    ours.confirm(SOON)
    taken = theirs.take(SOON)
    assert (taken.data, taken.redelivered) == (b"x", False)
    with pytest.raises(RuntimeError):
        theirs.ack(taken)


def embalmed(tmp_path: Path, **callbacks: object) -> tuple[Pair, int]:
    pair = Pair(tmp_path, ttl_ms=400, beat_ms=50, volatile=True, redial_max_ms=100)
    pair.server.register_kind("work", keep=60, **callbacks)  # type: ignore[arg-type]
    return pair, pair.theirs.attach("work", ["state"])


def test_an_object_is_embalmed_and_comes_back_with_its_session(tmp_path: Path) -> None:
    put_aside, revived = threading.Event(), threading.Event()

    def embalm(work: list[str]) -> bytes:
        put_aside.set()
        return work[0].encode()

    def revive(kept: bytes) -> list[str]:
        revived.set()
        return [kept.decode()]

    pair, number = embalmed(tmp_path, embalm=embalm, revive=revive)
    pair.relay.refuse()
    pair.relay.cut()
    assert pair.theirs.wait_state("embalmed", timeout=SOON) == "embalmed"
    assert put_aside.wait(SOON)
    pair.relay.refuse(False)
    assert pair.theirs.wait_state("live", timeout=SOON) == "live"
    assert revived.wait(SOON) and pair.theirs.with_object(number, lambda work: work) == ["state"]
    pair.close()


def test_an_embalm_that_raises_ends_the_object_and_a_revive_that_raises_discards_it(tmp_path: Path) -> None:
    destroyed, put_aside, discarded = threading.Event(), threading.Event(), threading.Event()

    def embalm(work: list[str]) -> bytes:
        put_aside.set()
        return b"kept"

    def fail(_: object) -> bytes:
        raise ValueError("not this time")

    pair, _ = embalmed(
        tmp_path / "a", embalm=fail, revive=lambda kept: kept, destroy=lambda work: destroyed.set()
    )
    pair.relay.refuse()
    pair.relay.cut()
    assert destroyed.wait(SOON)
    pair.close()
    pair, _ = embalmed(
        tmp_path / "b", embalm=embalm, revive=fail, discard=lambda kept: discarded.set()
    )
    pair.relay.refuse()
    pair.relay.cut()
    assert put_aside.wait(SOON)
    pair.relay.refuse(False)
    assert discarded.wait(SOON)
    pair.close()
