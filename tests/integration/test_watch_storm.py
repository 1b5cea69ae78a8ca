"""A watch storm: five hundred watchers, a hundred updates a second, and a kill in between."""

import asyncio
import time
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import pytest
from server_process import ServerProcess, eventually

from wherry.client import kubeconfig
from wherry.client.http import HttpClient
from wherry.host.instance import Instance
from wherry.schema.builtin import CONFIG_MAPS

pytestmark = pytest.mark.root

WATCHERS = 500
PER_SECOND, UPDATES = 100, 300
"""Of each half of the storm."""
OBJECTS = 10
PATH = "/api/v1/namespaces/default/configmaps"
_VERSION = b'"resourceVersion":"'


class Watcher(asyncio.Protocol):
    """Reads a watch as raw bytes, as cheaply as can be: only the revisions are kept. Resumes by itself."""

    def __init__(self, connection: kubeconfig.Connection, revision: int) -> None:
        self.connection = connection
        self.seen = [revision]
        self.connections = 0
        self._rest = b""
        self._gone = asyncio.Event()
        self._waiting: tuple[int, asyncio.Future[None]] | None = None
        self._transport: asyncio.Transport | None = None

    async def run(self) -> None:
        """Until cancelled: watch from the last revision on, again and again."""
        address = urlsplit(self.connection.server)
        assert address.port is not None
        loop = asyncio.get_running_loop()
        try:
            while True:
                self._gone.clear()
                self._rest = b""
                try:
                    await loop.create_connection(
                        lambda: self, address.hostname, address.port, ssl=self.connection.tls,
                        ssl_handshake_timeout=60,
                    )  # fmt: skip
                    await self._gone.wait()
                except OSError:
                    await asyncio.sleep(0.2)
        finally:
            if self._transport is not None:
                self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.connections += 1
        self._transport = cast(asyncio.Transport, transport)
        query = f"watch=1&allowWatchBookmarks=false&resourceVersion={self.seen[-1]}"
        self._transport.write(f"GET {PATH}?{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        lines = (self._rest + data).split(b"}\n")
        self._rest = lines.pop()
        for line in lines:
            start = line.index(_VERSION) + len(_VERSION)
            self.seen.append(int(line[start : line.index(b'"', start)]))
        if self._waiting is not None and self.seen[-1] >= self._waiting[0]:
            self._waiting[1].set_result(None)
            self._waiting = None

    async def reached(self, revision: int) -> None:
        if self.seen[-1] < revision:
            self._waiting = (revision, asyncio.get_running_loop().create_future())
            await self._waiting[1]

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone.set()


async def write(client: HttpClient, count: int) -> list[int]:
    """So many updates, a hundred a second; their revisions as they were acknowledged."""
    written = []
    began = time.monotonic()
    for number in range(count):
        patch = {"data": {"n": str(number)}}
        name = f"c{number % OBJECTS}"
        done = await eventually(lambda n=name, p=patch: client.patch(CONFIG_MAPS, n, p, "default"))
        written.append(int(done["metadata"]["resourceVersion"]))
        await asyncio.sleep(max(0.0, began + (number + 1) / PER_SECOND - time.monotonic()))
    return written


async def all_have(watchers: list[Watcher], revision: int) -> None:
    async with asyncio.timeout(60):
        for one in watchers:
            await one.reached(revision)


def memory(server: ServerProcess) -> float:
    """MiB that the server alone uses (PSS)."""
    assert server.process is not None
    for line in Path(f"/proc/{server.process.pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no Pss")


async def test_nobody_misses_anything_in_a_storm_with_a_restart(wherry_instance: Instance) -> None:
    server = ServerProcess(wherry_instance)
    server.start()
    tasks: list[asyncio.Task[None]] = []
    try:
        async with server.client() as client:
            for number in range(OBJECTS):
                made = await client.create(
                    CONFIG_MAPS, {"metadata": {"name": f"c{number}"}, "data": {"text": "x" * 500}}, "default"
                )
            start = int(made["metadata"]["resourceVersion"])
            watchers = [Watcher(client.connection, start) for _ in range(WATCHERS)]
            tasks = [asyncio.create_task(one.run()) for one in watchers]
            first = await write(client, 1)
            await all_have(watchers, first[-1])
            quiet = memory(server)
            written = first + await write(client, UPDATES)
            await all_have(watchers, written[-1])
            grown = memory(server) - quiet
            rest = asyncio.create_task(write(client, UPDATES))
            await asyncio.sleep(UPDATES / PER_SECOND / 3)
            server.kill()
            await asyncio.to_thread(server.start)
            written += await rest
            await all_have(watchers, written[-1])
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        server.stop()
    seen = watchers[0].seen
    assert seen == sorted(set(seen)), "once and in order"
    assert set(written) <= set(seen), "nothing lost"
    assert all(one.seen == seen for one in watchers), "and that for all of them"
    assert all(one.connections > 1 for one in watchers), "the restart was seen"
    assert grown < 150, "what is sent to many is kept once"
