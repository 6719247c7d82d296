"""What a program does wrong gets a clear error, and loses nothing."""

from __future__ import annotations

import gc
import resource
import threading
from pathlib import Path

import pytest

import clerver
from clerver import errors
from conftest import SOON, Pair


def test_wrong_types_are_refused_by_name(pair: Pair) -> None:
    ours, theirs = pair.channel()
    with pytest.raises(TypeError, match="encode it first"):
        ours.send("text")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not 'int'"):
        ours.send(7)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        pair.ours.call(b"bytes", b"")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        pair.client.connect([1])  # type: ignore[list-item]
    for timeout in (-1, float("nan")):
        with pytest.raises(ValueError, match="0 or more seconds"):
            theirs.recv(timeout)
    with pytest.raises(TypeError, match="callable"):
        pair.server.serve("x", 7)  # type: ignore[arg-type]
    ours.send(b"still there")
    assert theirs.recv(SOON) == b"still there"


def test_options_are_checked_by_name_and_value(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ttl_msec"):
        clerver.Node(home=tmp_path, ttl_msec=1)
    with pytest.raises(clerver.BadArgument, match="beat_ms") as refused:
        clerver.Node(home=tmp_path, beat_ms="often")
    assert refused.value.code == "CONFIG" and refused.value.remedy


def test_what_is_closed_says_so(pair: Pair) -> None:
    ours, theirs = pair.channel()
    ours.close()
    with pytest.raises(ValueError):
        ours.send(b"x")
    ours.close()
    assert list(theirs) == []
    pair.ours.close()
    pair.ours.close()
    with pytest.raises(clerver.ClerverError):
        pair.ours.call("x", b"", SOON)
    pair.client.close()
    pair.client.close()
    with pytest.raises(clerver.Closed):
        pair.client.accept(SOON)
    with pytest.raises(ConnectionAbortedError):
        pair.client.listen("127.0.0.1:0")


def test_what_a_handler_raises_reaches_the_caller_and_the_service_goes_on(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError("not even that")

    @pair.server.service()
    def handler(call: clerver.CallContext) -> object:
        match call.request:
            case b"raise":
                raise KeyError("missing")
            case b"busy":
                raise clerver.Busy("come back later")
            case b"type":
                return 7
            case b"odd":
                raise Odd
            case b"exit":
                raise SystemExit(3)
        return b"fine"

    with pytest.raises(clerver.CallFailed, match="KeyError: 'missing'"):
        pair.ours.call("handler", b"raise", SOON)
    assert "Traceback" in caplog.text
    with pytest.raises(clerver.Busy, match="come back later") as busy:
        pair.ours.call("handler", b"busy", SOON)
    assert busy.value.code == "BUSY" and busy.value.category == "retry"
    with pytest.raises(clerver.CallFailed, match="bytes-like object is required, not 'int'"):
        pair.ours.call("handler", b"type", SOON)
    for request in (b"odd", b"exit"):
        with pytest.raises(clerver.CallFailed):
            pair.ours.call("handler", request, SOON)
    assert pair.ours.call("handler", b"", SOON) == b"fine"


def test_a_destructor_that_raises_is_told_and_ends_its_object_all_the_same(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    heard = threading.Event()

    def hook(unraisable: object) -> None:
        told.append(str(getattr(unraisable, "exc_value", "")))
        heard.set()

    monkeypatch.setattr("sys.unraisablehook", hook)
    pair.server.register_kind("bad", destroy=lambda payload: payload["no such key"])
    pair.theirs.attach("bad", {})
    pair.ours.close()
    assert heard.wait(SOON) and told == ["'no such key'"]


def test_kinds_and_objects_that_do_not_exist(pair: Pair) -> None:
    with pytest.raises(clerver.ClerverError, match="nothing"):
        pair.theirs.attach("nothing", object())
    with pytest.raises(ValueError):
        pair.theirs.with_object(77, lambda payload: payload)
    with pytest.raises(ValueError, match="belong together"):
        pair.server.register_kind("half", embalm=lambda payload: b"")
    pair.server.register_kind("whole")
    with pytest.raises(clerver.InUse):
        pair.server.register_kind("whole")
    number = pair.theirs.attach("whole", 1)
    with pytest.raises(ZeroDivisionError):
        pair.theirs.with_object(number, lambda payload: payload / 0)
    assert pair.theirs.with_object(number, lambda payload: payload) == 1


def test_messages_beyond_the_limit_are_refused_and_the_channel_goes_on(tmp_path: Path) -> None:
    pair = Pair(tmp_path, message_bytes_max=100_000)
    ours, theirs = pair.channel()
    ours.send(bytes(100_000), SOON)
    with pytest.raises(ValueError, match="100001") as refused:
        ours.send(bytes(100_001), SOON)
    assert refused.value.code == "SIZE"  # type: ignore[attr-defined]
    with pytest.raises(clerver.TooLarge):
        pair.ours.call("x", bytes(200_000_000), SOON)
    assert theirs.recv(SOON) == bytes(100_000)
    pair.close()


def test_strangers_are_denied_with_what_would_allow_them(tmp_path: Path) -> None:
    options = {"announce": False}
    with clerver.Node(home=tmp_path / "a", **options) as server, clerver.Node(home=tmp_path / "b", **options) as client:
        with pytest.raises(PermissionError) as denied:
            client.connect(server.listen("127.0.0.1:0"), SOON)
        assert isinstance(denied.value, clerver.Denied) and client.host_id in str(denied.value)


def test_an_address_where_nobody_is(tmp_path: Path) -> None:
    with clerver.Node(home=tmp_path) as node:
        with pytest.raises(TimeoutError, match="127.0.0.1:1"):
            node.connect("127.0.0.1:1", 0.2)
        with pytest.raises(clerver.ClerverError):
            node.connect([], 0.2)


def test_every_code_has_an_exception_of_the_built_in_kin() -> None:
    from clerver._clerver import CODES

    assert len(CODES) > 40
    for name, number, category, remedy in CODES:
        error = errors.make(name, "what happened", remedy)
        assert (error.code, error.number, error.category) == (name, number, category)
        assert str(error) == "what happened" and len(type(error).__mro__) > 4, name
    kin = {"TIMEOUT": TimeoutError, "LOST": ConnectionResetError, "DENIED": PermissionError, "END": EOFError}
    for name, built_in in kin.items():
        assert isinstance(errors.make(name, "", ""), built_in)


def test_a_hundred_thousand_calls_hold_memory_flat(pair: Pair) -> None:
    @pair.server.service(inline=True)
    def fail(call: clerver.CallContext) -> bytes:
        if call.request == b"fail":
            raise clerver.NotRun("as asked")
        return call.request

    def calls(count: int) -> int:
        for at in range(count):
            if at % 10:
                pair.ours.call("fail", b"x" * 200, SOON)
            else:
                with pytest.raises(clerver.NotRun):
                    pair.ours.call("fail", b"fail", SOON)
        gc.collect()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    before = calls(10_000)
    assert calls(100_000) - before < 4_000, "KiB more after 100,000 calls"
