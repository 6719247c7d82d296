"""What the bindings cost beside C: a call of 64 B, and a message of 64 KiB of a stream, in turns, medians of all rounds.

    run.py C-PROGRAM NAME=COMMAND ..
"""

import os
import statistics
import subprocess
import sys
import tempfile

ROUNDS = int(os.environ.get("ROUNDS", "7"))
CALLS, MESSAGES = 5_000, 8_000
# Must reach: a call at the most so many times as long as in C, a stream at the least this part as fast.
MUST = {"Python": (1.6, 0.7), "asyncio": (3.0, 0.7), "Node": (2.5, 0.7)}

program, *others = sys.argv[1:]
clients = {"C": [program]} | {name: command.split() for name, command in (other.split("=", 1) for other in others)}
with tempfile.TemporaryDirectory() as home:
    os.environ.update(CLERVER_HOME=home, CLERVER_ANNOUNCE="false")
    server = subprocess.Popen([program, "serve"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    address = server.stdout.readline().strip()
    seen: dict[str, list[tuple[int, int]]] = {name: [] for name in clients}
    for _ in range(ROUNDS):
        for name, command in clients.items():
            said = subprocess.run([*command, address, str(CALLS), str(MESSAGES)], check=True, stdout=subprocess.PIPE, text=True)
            call, message = map(int, said.stdout.split())
            seen[name].append((call, message))
    server.kill()
    server.wait()

print(f"bindings: medians of {ROUNDS} rounds, on {os.cpu_count()} cores; ratios to C in the same run")
of_c = [statistics.median(column) for column in zip(*seen["C"])]
for name, rounds in seen.items():
    call, message = (statistics.median(column) for column in zip(*rounds))
    slower, faster = call / of_c[0], of_c[1] / message
    goals = ""
    if name in MUST:
        most, least = MUST[name]
        goals = f"  must {most:.1f}x{'' if slower <= most else ' NOT REACHED'}, {least:.1f}x{'' if faster >= least else ' NOT REACHED'}"
    print(f"  {name:<8} call {call / 1000:7.1f} us {slower:5.2f}x   stream {65.536e6 / message:7.0f} MB/s {faster:5.2f}x{goals}")
