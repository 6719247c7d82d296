"""Ctrl-C, threads, forks and the end of the interpreter, in processes of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import clerver
from conftest import SOON, Pair

WAITS = {
    "accept": "node.accept()",
    "connect": "node.connect('127.0.0.1:1')",
    "recv": "session.open_channel('x').recv()",
    "call": "session.call('slow')",
    "event": "[session.next_event() for _ in range(100)]",
    "state": "session.wait_state('lost')",
}

PROGRAM = """
import sys, threading
import clerver
options = dict(home=sys.argv[1], announce=False)
server, node = clerver.Node(**options), clerver.Node(**options)
gate = threading.Event()
server.serve("slow", lambda call: gate.wait(20) and b"")
session = node.connect(server.listen("127.0.0.1:0"), 20)
print("waits", flush=True)
try:
    {wait}
except KeyboardInterrupt:
    gate.set()
    print("interrupted", session.state, flush=True)
"""


def start(program: str, *words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-X", "faulthandler", "-c", program, *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("wait", WAITS)
def test_ctrl_c_interrupts_a_wait_and_the_session_lives(tmp_path: Path, wait: str) -> None:
    process = start(PROGRAM.format(wait=WAITS[wait]), tmp_path)
    assert process.stdout is not None and process.stdout.readline() == "waits\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=SOON)
    assert (out, process.returncode) == ("interrupted live\n", 0), err


def test_a_wait_leaves_the_other_threads_running(pair: Pair) -> None:
    ours, theirs = pair.channel()
    taken: list[bytes] = []
    reader = threading.Thread(target=lambda: taken.append(theirs.recv(SOON)))
    reader.start()
    ours.send(b"from another thread")
    reader.join(SOON)
    assert taken == [b"from another thread"]


def test_many_threads_call_on_one_session(pair: Pair) -> None:
    pair.server.serve("echo", lambda call: call.request)
    wrong: list[object] = []

    def call(number: int) -> None:
        for at in range(50):
            data = b"%d %d" % (number, at)
            if pair.ours.call("echo", data, SOON) != data:
                wrong.append(data)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


FORKING = """
import multiprocessing, sys
import clerver
options = dict(home=sys.argv[1], announce=False)
server, client = clerver.Node(**options), clerver.Node(**options)
session = client.connect(server.listen("127.0.0.1:0"), 20)
server.serve("echo", lambda call: call.request)

def child(answers):
    try:
        session.call("echo", b"from the child", 5)
    except RuntimeError as error:
        answers.put((error.code, 'child' in f'{error}'))

if __name__ == "__main__":
    fork = multiprocessing.get_context("fork")
    answers = fork.Queue()
    process = fork.Process(target=child, args=(answers,))
    process.start()
    print(answers.get(timeout=20))
    process.join()
    print(process.exitcode, session.call("echo", b"from the parent", 20))
"""


def test_a_child_of_a_fork_gets_a_clear_error_and_the_parent_goes_on(tmp_path: Path) -> None:
    process = start(FORKING, tmp_path)
    out, err = process.communicate(timeout=SOON)
    assert out == "('FORKED', True)\n0 b'from the parent'\n", err


ENDS = {
    "falls off the end": "",
    "sys.exit": "sys.exit(0)",
    "in a handler": "session.start('slow'); began.wait(20)",
    "in another thread's wait": "threading.Thread(target=lambda: session.next_event() and session.open_channel('x').recv(), daemon=True).start()",
}

ENDING = """
import sys, threading
import clerver
options = dict(home=sys.argv[1], announce=False)
server, node = clerver.Node(**options), clerver.Node(**options)
began = threading.Event()
server.serve("slow", lambda call: (began.set(), threading.Event().wait(100)) and b"")
server.register_kind("thing", destroy=lambda payload: print("destroyed", payload, flush=True))
session = node.connect(server.listen("127.0.0.1:0"), 20)
theirs = server.accept(20)
theirs.attach("thing", 7)
print("ends", flush=True)
{end}
"""


@pytest.mark.parametrize("end", ENDS)
def test_an_interpreter_ends_with_live_sessions_and_their_objects(tmp_path: Path, end: str) -> None:
    process = start(ENDING.format(end=ENDS[end]), tmp_path)
    out, err = process.communicate(timeout=SOON)
    assert process.returncode == 0, err
    # What a handler may still use that does not return is leaked, and not ended under its hands.
    assert out == ("ends\n" if end == "in a handler" else "ends\ndestroyed 7\n"), err


def test_what_a_killed_process_owned_is_destroyed(tmp_path: Path) -> None:
    options: dict[str, object] = {"home": tmp_path, "announce": False, "ttl_ms": 1000, "beat_ms": 100}
    destroyed = threading.Event()
    with clerver.Node(**options) as server:
        server.register_kind("thing", destroy=lambda payload: destroyed.set())
        program = "import clerver, sys, time; n = clerver.Node(home=sys.argv[1], announce=False, ttl_ms=1000, beat_ms=100)\n"
        program += "s = n.connect(sys.argv[2], 20); print('up', flush=True); time.sleep(100)"
        process = start(program, tmp_path, server.listen("127.0.0.1:0"))
        session = server.accept(SOON)
        session.attach("thing", 1)
        process.kill()
        process.communicate()
        assert destroyed.wait(SOON)


def test_the_extension_brings_its_own_openssl() -> None:
    assert clerver.OPENSSL_VERSION.startswith("OpenSSL 3.")
    import clerver._clerver as native

    file = native.__file__
    assert file is not None
    linked = subprocess.run(["ldd", file], capture_output=True, text=True, check=True).stdout
    assert "libssl" not in linked and "libcrypto" not in linked
    [wheel] = Path(sys.prefix, "wheels").glob("clerver-*.whl")
    command = [sys.executable, "-m", "auditwheel", "show", str(wheel)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "is consistent with" in told and '"manylinux_2_' in told, told
