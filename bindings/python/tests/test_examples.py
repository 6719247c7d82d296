"""The examples, as a user would run them; types and stubs of the package."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[3] / "examples" / "python"
PACKAGE = Path(__file__).parents[1]


def start(home: Path, *words: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "CLERVER_HOME": str(home), "CLERVER_TTL_MS": "1500", "CLERVER_BEAT_MS": "200"}
    command = [sys.executable, str(EXAMPLES / "chat.py"), *map(str, words)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": (home / "stderr").open("a")}
    return subprocess.Popen(command, text=True, env=environment, **pipes)  # type: ignore[call-overload,no-any-return]


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip()


def test_the_chat_tells_who_says_what_and_who_was_killed(tmp_path: Path) -> None:
    server = start(tmp_path, "serve", "127.0.0.1:0")
    address = line(server).removeprefix("listening at ")
    ada = start(tmp_path, "join", address, "Ada")
    assert line(ada) == "Ada joined"
    bob = start(tmp_path, "join", address, "Bob")
    assert line(ada) == "Bob joined" and line(bob) == "Bob joined"
    assert ada.stdin is not None
    ada.stdin.write("hello\n")
    ada.stdin.flush()
    assert line(ada) == "Ada: hello" and line(bob) == "Ada: hello"
    bob.kill()
    assert line(ada) == "Bob left"
    ada.stdin.close()
    assert ada.wait(20) == 0
    assert "Traceback" not in (tmp_path / "stderr").read_text()
    for process in (server, bob):
        process.kill()
        process.wait()


def run(*words: object) -> None:
    done = subprocess.run([sys.executable, "-m", *map(str, words)], cwd=PACKAGE, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_package_tests_and_examples_are_typed_strictly() -> None:
    run("mypy", "--strict", "python/clerver", "tests", EXAMPLES)


def test_the_stub_says_what_the_native_half_has() -> None:
    run("mypy.stubtest", "clerver._clerver")


def test_everything_public_says_what_it_does() -> None:
    import inspect

    import clerver
    from clerver import aio, events

    for module in (clerver, aio, events):
        for name in module.__all__:
            thing = getattr(module, name)
            assert not inspect.isclass(thing) or thing.__doc__, name
            for member, function in vars(thing).items() if inspect.isclass(thing) else ():
                if callable(function) and not member.startswith("_"):
                    assert function.__doc__, f"{name}.{member}"
