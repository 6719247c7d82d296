"""The client of bench.c with the blocking package."""

import sys
import time

import clerver

MESSAGE = bytes(64 * 1024)
address, calls, messages = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with clerver.Node() as node:
    session = node.connect(address, 10)
    begun = 0
    for at in range(-calls // 10, calls):
        if at == 0:
            begun = time.perf_counter_ns()
        session.call("echo", MESSAGE[:64], 10)
    called = (time.perf_counter_ns() - begun) // calls
    channel = session.open_channel("sink")
    begun = time.perf_counter_ns()
    for _ in range(messages):
        channel.send(MESSAGE)
    channel.end()
    channel.recv()
    print(called, (time.perf_counter_ns() - begun) // messages)
