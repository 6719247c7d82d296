"""The client of bench.c with asyncio."""

import asyncio
import sys
import time

from clerver import aio

MESSAGE = bytes(64 * 1024)
address, calls, messages = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


async def main() -> None:
    async with aio.Node() as node:
        session = await node.connect(address, 10)
        begun = 0
        for at in range(-calls // 10, calls):
            if at == 0:
                begun = time.perf_counter_ns()
            await session.call("echo", MESSAGE[:64], 10)
        called = (time.perf_counter_ns() - begun) // calls
        channel = await session.open_channel("sink")
        begun = time.perf_counter_ns()
        for _ in range(messages):
            await channel.send(MESSAGE)
        channel.end()
        await channel.recv()
        print(called, (time.perf_counter_ns() - begun) // messages)


asyncio.run(main())
