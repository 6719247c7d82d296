"""`clerver.aio`: the same with coroutines, on asyncio and on uvloop."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

import clerver
from clerver import aio, events
from conftest import SOON, Relay


def threads() -> int:
    """Threads of Python. Those of the library that called a handler or the log are known to it as dummies."""
    return sum(not thread.name.startswith("Dummy-") for thread in threading.enumerate())


class Pair:
    def __init__(self, server: aio.Node, client: aio.Node, relay: Relay, ours: aio.Session, theirs: aio.Session) -> None:
        self.server, self.client, self.relay, self.ours, self.theirs = server, client, relay, ours, theirs

    async def channel(self, **options: bool) -> tuple[aio.Channel, aio.Channel]:
        return await self.ours.open_channel("test", **options), await self.theirs.accept_channel(SOON)


@pytest_asyncio.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    options: dict[str, object] = {"home": tmp_path, "beat_ms": 100, "ttl_ms": 5000, "announce": False}
    async with aio.Node(**options) as server, aio.Node(**options) as client:
        relay = Relay(server.listen("127.0.0.1:0"))
        ours = await client.connect(relay.address, SOON)
        yield Pair(server, client, relay, ours, await server.accept(SOON))
        relay.close()


async def test_channels_of_messages_and_bytes(pair: Pair) -> None:
    ours, theirs = await pair.channel()
    async with ours:
        for message in (b"one", b"", bytes(100_000)):
            await ours.send(message)
    assert [message async for message in theirs] == [b"one", b"", bytes(100_000)]


async def test_a_slow_reader_makes_the_sender_wait_and_a_cut_loses_nothing(pair: Pair) -> None:
    ours, theirs = await pair.channel(bytes=True)
    data = os.urandom(8_000_000)

    async def write() -> None:
        async with ours:
            await ours.send(data)

    writer = asyncio.create_task(write())
    received = await theirs.recv(SOON)
    pair.relay.cut()
    assert not writer.done()
    async for some in theirs:
        received += some
    await writer
    assert received == data


async def test_a_cancelled_recv_loses_no_message(pair: Pair) -> None:
    ours, theirs = await pair.channel()
    for round in range(50):
        reader = asyncio.create_task(theirs.recv())
        await asyncio.sleep(0)
        await ours.send(b"%d" % round)
        if round % 2:
            await asyncio.sleep(0.002)
        reader.cancel()
        try:
            message = await reader
        except asyncio.CancelledError:
            message = await theirs.recv(SOON)
        assert message == b"%d" % round
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await theirs.recv()
    with pytest.raises(clerver.Timeout):
        await theirs.recv(0.01)


async def test_services_are_coroutines_functions_and_generators(pair: Pair) -> None:
    main = threading.get_ident()

    @pair.server.service()
    async def shout(call: aio.CallContext) -> bytes:
        await asyncio.sleep(0)
        assert threading.get_ident() == main
        return call.request.upper()

    @pair.server.service()
    def plain(call: clerver.CallContext) -> str:
        return str(threading.get_ident() != main)

    @pair.server.service()
    def parts(call: clerver.CallContext) -> object:
        yield from (b"1", b"2")

    @pair.server.service()
    async def bad(call: aio.CallContext) -> bytes:
        raise ValueError("not this")

    assert await pair.ours.call("shout", b"x", SOON) == b"X"
    assert await pair.ours.call("plain") == b"True"
    call = await pair.ours.start("parts")
    assert [part async for part in call] == [b"1", b"2"] and call.outcome == "reply"
    with pytest.raises(clerver.CallFailed, match="ValueError: not this"):
        await pair.ours.call("bad")
    with pytest.raises(clerver.NoService):
        await pair.ours.call("nobody")
    assert await asyncio.gather(*(pair.ours.call("shout", b"a%d" % n) for n in range(100))) == [
        b"A%d" % n for n in range(100)
    ]


async def test_a_cancelled_call_cancels_its_handler(pair: Pair) -> None:
    began, cancelled = asyncio.Event(), asyncio.Event()

    @pair.server.service()
    async def patience(call: aio.CallContext) -> None:
        began.set()
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    call = asyncio.create_task(pair.ours.call("patience"))
    await asyncio.wait_for(began.wait(), SOON)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.wait_for(cancelled.wait(), SOON)
    with pytest.raises(clerver.Timeout):
        await pair.ours.call("patience", timeout=0.05)


async def test_events_states_and_objects(pair: Pair) -> None:
    destroyed: asyncio.Queue[object] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    pair.server.register_kind("thing", destroy=lambda kept: loop.call_soon_threadsafe(destroyed.put_nowait, kept))
    number = pair.theirs.attach("thing", "payload")
    async for event in pair.ours.events():
        if isinstance(event, events.ObjectAttached):
            assert event.object == number
            break
    pair.relay.cut()
    async for event in pair.ours.events():
        if isinstance(event, events.LinkAttached) and event.name != "a1":
            break
    assert await pair.ours.wait_state("live", timeout=SOON) == "live"
    await pair.ours.close()
    assert await asyncio.wait_for(destroyed.get(), SOON) == "payload"
    assert await pair.theirs.wait_state("closed", timeout=SOON) == "closed"
    assert [type(event).__name__ async for event in pair.theirs.events()][-1] == "Closed"
    with pytest.raises(clerver.ClerverError):
        await pair.theirs.accept_channel(SOON)
    assert isinstance(await pair.server.next_event(SOON), events.Accepted)


async def test_heartbeats_go_on_while_the_loop_is_busy(tmp_path: Path) -> None:
    options: dict[str, object] = {"home": tmp_path, "beat_ms": 50, "ttl_ms": 300, "announce": False}
    async with aio.Node(**options) as server, aio.Node(**options) as client:
        session = await client.connect(server.listen("127.0.0.1:0"), SOON)
        threading.Event().wait(1.0)
        assert session.state == "live"


async def test_no_thread_waits_for_a_coroutine(pair: Pair) -> None:
    ours, theirs = await pair.channel()
    before = threads()
    waiting = [asyncio.create_task(theirs.recv()) for _ in range(200)]
    await asyncio.sleep(0.05)
    assert threads() == before
    for at in range(200):
        await ours.send(b"%d" % at)
    assert sorted(map(int, await asyncio.gather(*waiting))) == list(range(200))


async def test_no_thread_waits_for_connects_closes_drains_and_handlers(pair: Pair) -> None:
    ours, theirs = await pair.channel(bytes=True)
    enough = asyncio.Event()

    @pair.server.service()
    async def patience(call: aio.CallContext) -> bytes:
        await enough.wait()
        return call.request

    calls = [asyncio.create_task(pair.ours.call("patience", b"%d" % at)) for at in range(300)]
    while len(pair.theirs.history()) < 256:
        await asyncio.sleep(0.01)
    before = threads()
    while (await ours_is_full(ours)) is None:
        pass
    connecting = [asyncio.create_task(pair.client.connect("127.0.0.1:1")) for _ in range(50)]
    drains = [asyncio.create_task(pair.ours.drain()) for _ in range(50)]
    draining = asyncio.create_task(pair.client.drain(SOON))
    await asyncio.sleep(0.05)
    assert threads() <= before
    for connect in connecting:
        connect.cancel()
    ends = await asyncio.gather(*connecting, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ends)
    ours.end()
    async for _ in theirs:
        pass
    await asyncio.wait_for(asyncio.gather(*drains), SOON)
    assert not (await draining).undelivered
    enough.set()
    assert await asyncio.gather(*calls) == [b"%d" % at for at in range(300)]
    closing = [asyncio.create_task(session.close()) for session in (pair.ours, pair.theirs)]
    await asyncio.wait_for(asyncio.gather(*closing), SOON)
    assert pair.ours.state == pair.theirs.state == "closed" and threads() <= before


async def ours_is_full(channel: aio.Channel) -> bool | None:
    """Sends until there is no room."""
    try:
        await channel.send(bytes(100_000), 0.05)
    except TimeoutError:
        return True
    return None


async def test_all_handles_of_a_session_hear_of_it(pair: Pair) -> None:
    @pair.server.service()
    async def opens(call: aio.CallContext) -> bytes:
        # Another handle of the session for which the test waits below.
        await call.session.drain(SOON)
        with pytest.raises(clerver.Timeout):
            await call.session.accept_channel(0.01)
        return b"done"

    accepting = asyncio.create_task(pair.theirs.accept_channel(SOON))
    assert await pair.ours.call("opens", timeout=SOON) == b"done"
    await pair.ours.open_channel("after")
    assert (await accepting).name == "after"
    shared = await pair.client.connect(pair.relay.address, SOON)
    assert shared.id == pair.ours.id
    for session in (shared, pair.ours, shared):
        with pytest.raises(clerver.Timeout):
            await session.accept_channel(0.01)
    await asyncio.wait_for(pair.ours.close(), SOON)
    assert shared.state == "live"
    await asyncio.wait_for(shared.close(), SOON)
    assert shared.state == "closed"


async def test_waits_that_are_over_leave_nothing_behind(pair: Pair) -> None:
    ours, theirs = await pair.channel()
    for _ in range(20):
        with pytest.raises(clerver.Timeout):
            await theirs.recv(0.001)
    assert not theirs._watched.readable._waiters and not ours._watched.readable._waiters


async def test_a_handler_that_is_cancelled_may_clean_up(pair: Pair) -> None:
    cleaned: asyncio.Queue[str] = asyncio.Queue()
    began = asyncio.Event()

    @pair.server.service()
    async def tidy(call: aio.CallContext) -> None:
        began.set()
        try:
            await asyncio.sleep(100)
        finally:
            await pair.theirs.wait_state("closed", timeout=SOON)
            await asyncio.sleep(0.05)
            cleaned.put_nowait("done")

    call = await pair.ours.start("tidy")
    await asyncio.wait_for(began.wait(), SOON)
    call.cancel()
    await asyncio.sleep(0.05)
    await pair.ours.close(0)
    assert await asyncio.wait_for(cleaned.get(), SOON) == "done"


async def test_a_close_says_what_it_could_not_deliver(pair: Pair) -> None:
    ours, _ = await pair.channel(bytes=True)
    while (await ours_is_full(ours)) is None:
        pass
    with pytest.raises(clerver.Timeout):
        await pair.ours.drain(0.05)
    with pytest.raises(clerver.ClerverError) as error:
        await pair.ours.close(0.1)
    assert error.value.code == "TIMEOUT"
    report = pair.ours.loss_report()
    assert report is not None and report.channels


async def told(node: aio.Node, timeout: float) -> events.NodeEvent | None:
    """The next event, if there is one in time."""
    try:
        return await node.next_event(timeout)
    except TimeoutError:
        return None


async def test_a_connect_says_what_it_tried(pair: Pair) -> None:
    with pytest.raises(clerver.Timeout, match="127.0.0.1:1"):
        await pair.client.connect("127.0.0.1:1", 0.2)
    with pytest.raises(clerver.BadArgument):
        await pair.client.connect("127.0.0.1:0")
    connect = asyncio.create_task(pair.client.connect("127.0.0.1:1"))
    await asyncio.sleep(0.05)
    connect.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connect
    # Nobody dials there any more.
    while await told(pair.client, 0) is not None:
        pass
    assert not isinstance(await told(pair.client, 0.5), events.DialRetry)
    waiting = asyncio.create_task(pair.client.connect("127.0.0.1:1"))
    await asyncio.sleep(0)
    await pair.client.close()
    with pytest.raises(clerver.Closed):
        await asyncio.wait_for(waiting, SOON)


async def test_handlers_in_the_loop_stream_with_backpressure(pair: Pair) -> None:
    @pair.server.service()
    async def generates(call: aio.CallContext) -> AsyncIterator[bytes]:
        for part in range(100):
            await asyncio.sleep(0)
            yield b"%d" % part

    @pair.server.service()
    async def streams(call: aio.CallContext) -> bytes:
        assert isinstance(call.session, aio.Session)
        for _ in range(100):
            await call.reply_part(bytes(100_000))
        return b"end"

    @pair.server.service()
    async def refuses(call: aio.CallContext) -> bytes:
        raise clerver.NotRun("not now")

    @pair.server.service()
    async def returns_nonsense(call: aio.CallContext) -> object:
        return 7

    assert [part async for part in await pair.ours.start("generates")] == [b"%d" % part for part in range(100)]
    call = await pair.ours.start("streams")
    await asyncio.sleep(0.05)
    parts = [part async for part in call]
    assert [len(part) for part in parts] == [100_000] * 100 + [3]
    with pytest.raises(clerver.NotRun, match="not now"):
        await pair.ours.call("refuses")
    with pytest.raises(clerver.CallFailed, match="TypeError"):
        await pair.ours.call("returns_nonsense")


async def test_a_closed_node_wakes_everybody(pair: Pair) -> None:
    _, theirs = await pair.channel()
    waits = [theirs.recv(), pair.server.accept(), pair.theirs.accept_channel(), pair.server.next_event()]
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    await asyncio.sleep(0)
    await pair.server.close()
    for ended in await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), SOON):
        assert isinstance(ended, (clerver.ClerverError, events.Accepted)), ended
    with pytest.raises(RuntimeError, match="not open"):
        await aio.Node().connect("127.0.0.1:1")


async def test_stored_channels_wait_for_the_disk_without_a_thread(tmp_path: Path) -> None:
    def options(name: str) -> dict[str, object]:
        return {"home": tmp_path, "store_dir": tmp_path / name, "beat_ms": 100, "ttl_ms": 5000, "announce": False}

    async with aio.Node(**options("server")) as server, aio.Node(**options("client")) as client:
        ours = await client.connect(server.listen("127.0.0.1:0"), SOON)
        session = await server.accept(SOON)
        jobs = await ours.open_channel("jobs", stored=True)
        before = threads()
        await asyncio.wait_for(asyncio.gather(*(jobs.send(b"%d" % at, SOON) for at in range(100))), SOON)
        theirs = await session.accept_channel(SOON)
        for at in range(100):
            taken = await theirs.take(SOON)
            assert taken.data == b"%d" % at
            await theirs.set_restart_point(b"half of %d" % at, SOON)
            await theirs.ack(taken, SOON)
        await theirs.confirm(SOON)
        assert threads() == before
        ordinary = await ours.open_channel("ordinary")
        await ordinary.confirm(SOON)
        with pytest.raises(clerver.BadState):
            await ordinary.ack(0, SOON)
