"""The blocking API: sessions, channels, calls, services, events and reports."""

from __future__ import annotations

import logging
import os
import queue
import socket
import threading
from pathlib import Path

import pytest

import clerver
from clerver import events
from conftest import SOON, Pair


def test_messages_and_iteration_until_the_end(pair: Pair) -> None:
    ours, theirs = pair.channel()
    with ours:
        for message in (b"one", bytearray(b"two"), memoryview(b"_three_")[1:-1], b"", bytes(100_000)):
            ours.send(message, SOON)
    assert list(theirs) == [b"one", b"two", b"three", b"", bytes(100_000)]
    assert theirs.name == "test" and not theirs.is_bytes and theirs.id == ours.id


def test_a_view_is_read_only_and_outlives_its_channel(pair: Pair) -> None:
    ours, theirs = pair.channel()
    ours.send(b"x" * 50_000)
    view = theirs.recv_view(SOON)
    del theirs
    pair.close()
    assert view.readonly and view == b"x" * 50_000
    with pytest.raises(TypeError):
        view[0] = 1


def test_what_is_incomplete_never_looks_complete(pair: Pair) -> None:
    ours, theirs = pair.channel(bytes=True)
    with pytest.raises(KeyError), ours:
        ours.send(b"half")
        raise KeyError("the program failed")
    with pytest.raises(ConnectionResetError, match="the program failed"):
        while True:
            theirs.recv(SOON)


def test_a_channel_goes_on_over_a_cut_and_delivers_each_byte_once(pair: Pair) -> None:
    ours, theirs = pair.channel(bytes=True)
    data = os.urandom(3_000_000)

    def write() -> None:
        with ours:
            for at in range(0, len(data), 50_000):
                ours.send(data[at : at + 50_000])
                if at == 1_000_000:
                    pair.relay.cut()

    writer = threading.Thread(target=write)
    writer.start()
    assert b"".join(theirs) == data
    writer.join()
    assert pair.ours.info().links_total >= 2


def test_makefile_reads_and_writes_text_and_bytes(pair: Pair) -> None:
    ours, theirs = pair.channel(bytes=True)
    with ours.makefile("w", encoding="utf-8") as out:
        out.write("Grüße\nzweite Zeile\n")
    with theirs.makefile("r", encoding="utf-8") as text:
        assert text.readlines() == ["Grüße\n", "zweite Zeile\n"]
    with pytest.raises(ValueError, match="bytes=True"):
        pair.channel()[0].makefile()
    with pytest.raises(ValueError, match="mode"):
        theirs.makefile("x")


def test_makefile_raises_where_the_other_end_broke_off(pair: Pair) -> None:
    ours, theirs = pair.channel(bytes=True)
    ours.send(b"some")
    reader = theirs.makefile("rb", buffering=0)
    assert reader.read(10) == b"some"
    ours.reset("no more")
    with pytest.raises(ConnectionResetError):
        reader.read(10)


def test_a_real_socket_carries_bytes_and_ends_both_ways(pair: Pair) -> None:
    sock = pair.ours.dial_socket("plain")
    assert isinstance(sock, socket.socket)
    theirs = pair.theirs.accept_channel(SOON).to_socket()
    sock.settimeout(SOON)
    theirs.settimeout(SOON)
    sock.sendall(b"to the other end")
    sock.shutdown(socket.SHUT_WR)
    assert theirs.makefile("rb").read() == b"to the other end"
    theirs.sendall(b"and back")
    theirs.close()
    assert sock.makefile("rb").read() == b"and back"


def test_a_socket_of_a_lost_session_is_reset_and_never_ends_clean(tmp_path: Path) -> None:
    pair = Pair(tmp_path, ttl_ms=600)
    sock = pair.ours.dial_socket()
    sock.settimeout(SOON)
    theirs = pair.theirs.accept_channel(SOON)
    pair.relay.refuse()
    pair.relay.cut()
    with pytest.raises(ConnectionResetError):
        sock.recv(1)
    assert theirs.is_bytes and pair.ours.state == "lost"
    report = pair.ours.loss_report()
    assert report is not None and report.cause.category == "lost"
    pair.close()


def test_services_reply_stream_and_fail(pair: Pair) -> None:
    @pair.server.service()
    def shout(call: clerver.CallContext) -> bytes:
        assert call.session.peer == pair.client.id and call.caller_level == 255
        return call.request.upper()

    @pair.server.service("count")
    def parts(call: clerver.CallContext) -> object:
        for number in range(int(call.request)):
            yield str(number)

    @pair.server.service()
    def text(call: clerver.CallContext) -> str:
        call.reply_part(b"Gr")
        return "üße"

    assert pair.ours.call("shout", b"hello", SOON) == b"HELLO"
    assert list(pair.ours.start("count", b"3", SOON)) == [b"0", b"1", b"2"]
    assert pair.ours.call("text", timeout=SOON).decode() == "Grüße"
    with pytest.raises(LookupError, match="nobody"):
        pair.ours.call("nobody", timeout=SOON)
    pair.server.unserve("shout")
    with pytest.raises(clerver.NoService):
        pair.ours.call("shout", b"x", SOON)
    assert [record.service for record in pair.theirs.history()] == ["shout", "count", "text"]


def test_an_inline_service_runs_on_the_thread_of_the_node(pair: Pair) -> None:
    names: queue.Queue[str] = queue.Queue()

    @pair.server.service(inline=True)
    def inline(call: clerver.CallContext) -> bytes:
        names.put(threading.current_thread().name)
        return call.request

    assert pair.ours.call("inline", b"x", SOON) == b"x"
    assert pair.ours.call("inline", b"x", SOON) == b"x"
    assert names.get() == names.get()


def test_a_call_can_be_cancelled_and_its_handler_sees_it(pair: Pair) -> None:
    began, ended = threading.Event(), threading.Event()

    @pair.server.service()
    def patience(call: clerver.CallContext) -> None:
        began.set()
        while not call.is_cancelled:
            ended.wait(0.01)
        ended.set()

    call = pair.ours.start("patience")
    assert began.wait(SOON)
    call.cancel()
    with pytest.raises(clerver.Cancelled):
        call.result(SOON)
    assert ended.wait(SOON)


def test_objects_live_as_long_as_their_owner(pair: Pair) -> None:
    destroyed: queue.Queue[object] = queue.Queue()
    pair.server.register_kind("file", destroy=destroyed.put, print=lambda payload: f"holds {payload}")
    payload = {"name": "a.txt"}
    number = pair.theirs.attach("file", payload)
    assert pair.theirs.with_object(number, lambda kept: kept is payload)
    attached = next(e for e in pair.ours.events() if isinstance(e, events.ObjectAttached))
    assert (attached.object, attached.kind) == (number, "file")
    pair.ours.update(number, b"data")
    updated = next(e for e in pair.theirs.events() if isinstance(e, events.ObjectUpdated))
    assert updated.data == b"data" and pair.theirs.objects()[1].data == b"data"
    assert any("holds {'name': 'a.txt'}" in line for line in pair.theirs.print_objects())
    pair.ours.release(number)
    assert destroyed.get(timeout=SOON) is payload
    other = pair.theirs.attach("file", "by session")
    assert other != number
    pair.ours.close()
    assert destroyed.get(timeout=SOON) == "by session"


def test_events_tell_states_and_links_with_their_cause(pair: Pair) -> None:
    pair.relay.cut()
    seen = pair.ours.events()
    ended = next(e for e in seen if isinstance(e, events.LinkEnded))
    assert isinstance(ended.why, ConnectionError)
    attached = next(e for e in seen if isinstance(e, events.LinkAttached))
    assert attached.address == pair.relay.address and attached.role == "primary"
    pair.ours.close()
    assert any(isinstance(e, events.Closed) for e in pair.ours.events())
    assert any(isinstance(e, events.Accepted) for e in [pair.server.next_event(SOON)])


def test_states_and_addresses_can_be_read(pair: Pair) -> None:
    assert pair.ours.wait_state("live", timeout=SOON) == "live"
    info = pair.ours.info()
    assert info.peer == pair.server.id and info.ttl == 5.0 and info.beat == 0.1 and info.links == 1
    assert pair.ours.sid == pair.theirs.sid
    assert [row.address for row in pair.ours.addresses()] == [pair.relay.address]
    pair.server.announce(["127.0.0.1:9"])
    assert pair.server.addresses() == ["127.0.0.1:9"]
    told = next(e for e in pair.ours.events() if isinstance(e, events.PeerAddresses))
    assert told.addresses == ["127.0.0.1:9"]
    assert pair.client.counters()["sessions"] == 1
    pair.client.reload_trust()


def test_a_session_roams_and_is_sent_elsewhere(pair: Pair) -> None:
    second = pair.server.listen("127.0.0.1:0")
    pair.ours.roam(second)
    moved = (e for e in pair.ours.events() if isinstance(e, events.LinkAttached))
    assert next(e for e in moved if e.address == second)
    pair.theirs.go_to(pair.relay.address)
    assert next(e for e in moved if e.address == pair.relay.address)


def test_a_list_of_addresses_is_tried_in_order(tmp_path: Path) -> None:
    options = {"home": tmp_path, "announce": False}
    with clerver.Node(**options) as server, clerver.Node(**options) as client:
        session = client.connect(["127.0.0.1:1", server.listen("127.0.0.1:0")], SOON)
        failed = next(e for e in client.events() if isinstance(e, events.AddressFailed))
        assert failed.address == "127.0.0.1:1" and isinstance(failed.why, ConnectionError)
        assert session.state == "live"


def test_a_drain_waits_for_handlers_and_names_those_that_run(pair: Pair) -> None:
    began, gate = threading.Event(), threading.Event()

    @pair.server.service()
    def slow(call: clerver.CallContext) -> bytes:
        began.set()
        gate.wait(SOON)
        return b"done"

    call = pair.ours.start("slow")
    pair.ours.drain(SOON)
    assert began.wait(SOON)
    report = pair.server.drain(0.05)
    assert report.running == ['service "slow"'] and report.undelivered == []
    gate.set()
    assert pair.server.drain(SOON).running == []
    assert call.result(SOON) == b"done"


def test_a_close_tells_what_was_not_delivered(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    ours, theirs = pair.channel(bytes=True)
    pair.relay.refuse()
    pair.relay.cut()
    ours.send(b"nobody gets this")
    assert theirs.report().received < 16
    report = pair.client.close(0.05)
    assert [left.channel.written - left.channel.held >= 16 for left in report.undelivered] == [True]
    pair.close()


def test_nodes_log_to_logging(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "clerver"):
        pair = Pair(tmp_path)
        pair.relay.cut()
        next(e for e in pair.ours.events() if isinstance(e, events.LinkEnded))
        pair.close()
    assert {record.name for record in caplog.records} == {"clerver"}
    assert "pinned" in caplog.text


def test_a_node_waits_in_select(pair: Pair) -> None:
    import select

    assert select.select([pair.server], [], [], SOON)[0] == [pair.server]
    assert isinstance(pair.server.next_event(0), events.Accepted)


def test_a_node_that_its_caller_drives(tmp_path: Path) -> None:
    options: dict[str, object] = {"home": tmp_path, "announce": False}
    with clerver.Node(caller_driven=True, **options) as server, clerver.Node(**options) as client:
        address = server.listen("127.0.0.1:0")
        server.serve("echo", lambda call: call.request)
        answers: queue.Queue[bytes] = queue.Queue()
        caller = threading.Thread(target=lambda: answers.put(client.connect(address, SOON).call("echo", b"x", SOON)))
        caller.start()
        while answers.empty():
            server.run_once(0.05)
        assert answers.get() == b"x"
        caller.join()


def test_a_connect_that_was_started_is_waited_for_or_given_up(pair: Pair) -> None:
    with pair.client.connect_start(pair.relay.address, SOON) as connecting:
        session = connecting.result(SOON)
    assert session.id == pair.ours.id
    with pytest.raises(clerver.BadState):
        connecting.result(SOON)
    connecting = pair.client.connect_start("127.0.0.1:1")
    with pytest.raises(clerver.Timeout):
        connecting.result(0.05)
    threading.Timer(0.05, connecting.cancel).start()
    with pytest.raises(clerver.Cancelled):
        connecting.result(SOON)
    with pytest.raises(clerver.Timeout, match="127.0.0.1:1"):
        pair.client.connect_start("127.0.0.1:1", 0.1).result(SOON)


def test_replies_come_later_from_another_thread(pair: Pair) -> None:
    waiting: queue.Queue[tuple[clerver.CallContext, clerver.DeferredReply]] = queue.Queue()

    @pair.server.service()
    def later(call: clerver.CallContext) -> bytes:
        waiting.put((call, call.defer()))
        return b"this does not count"

    calls = [pair.ours.start("later", b"%d" % at, SOON) for at in range(100)]
    for _ in calls:
        call, reply = waiting.get(timeout=SOON)
        if call.request == b"7":
            reply.fail(ValueError("no sevens"))
        elif call.request == b"8":
            del reply
        else:
            call.reply_part(b"reply ")
            reply.finish(call.request.decode())
            with pytest.raises(clerver.BadState):
                reply.finish()
    for at, started in enumerate(calls):
        if at in (7, 8):
            with pytest.raises(clerver.CallFailed, match="no sevens" if at == 7 else "no answer"):
                started.result(SOON)
        else:
            assert started.result(SOON) == b"reply %d" % at


def test_a_close_that_was_started_is_waited_for(pair: Pair) -> None:
    ours, theirs = pair.channel()
    ours.send(b"the last")
    pair.ours.close_start(SOON)
    pair.ours.close(SOON)
    assert pair.ours.state == "closed" and theirs.recv(SOON) == b"the last"
