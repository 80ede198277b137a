"""Starts embedded services on the directory given, says where as one JSON line, and stays.

Its standard input ending stops it in good order; SIGINT makes it tell whether the services still answer.
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import asyncpg

from server.embedded.services import EmbeddedServices


def say(**facts: object) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


async def answers(services: EmbeddedServices) -> bool:
    """Both of them, asked over the wire."""
    connection = await asyncpg.connect(services.urls.database_url, timeout=5)
    try:
        rows = await connection.fetchval("SELECT 1")
    finally:
        await connection.close()
    reader, writer = await asyncio.open_connection("127.0.0.1", services.valkey.port)
    writer.write(b"PING\r\n")
    reply = await asyncio.wait_for(reader.readline(), 5)
    writer.close()
    return bool(rows == 1 and reply)


async def main() -> None:
    loop = asyncio.get_running_loop()
    interrupted = asyncio.Event()
    finished = asyncio.Event()
    loop.add_signal_handler(signal.SIGINT, interrupted.set)
    loop.add_reader(sys.stdin.fileno(), finished.set)
    async with EmbeddedServices(Path(sys.argv[1]), durable=False) as services:
        say(
            pid=os.getpid(),
            uid=os.getuid(),
            postgres=services.postgres.pid,
            valkey=services.valkey.pid,
            database_url=services.urls.database_url,
            database_admin_url=services.urls.database_admin_url,
            redis_url=services.urls.redis_url,
        )
        waiting = [asyncio.create_task(interrupted.wait()), asyncio.create_task(finished.wait())]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if interrupted.is_set():
            say(answers=await answers(services))
        for task in waiting:
            task.cancel()
    say(stopped=True)


asyncio.run(main())
