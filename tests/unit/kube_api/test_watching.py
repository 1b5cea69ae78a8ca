"""Watchers over HTTP that read slowly or not at all."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from wherry.host.instance import Instance
from wherry.kube_api import cache
from wherry.kube_api.call import MASTER
from wherry.kube_api.http import watching
from wherry.kube_api.http.protocol import Connection
from wherry.kube_api.local import LocalClient
from wherry.kube_api.options import ServerOptions
from wherry.kube_api.server import ApiServer
from wherry.schema import builtin

REQUEST = "GET /api/v1/configmaps?watch=1&resourceVersion={} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t\r\n\r\n"
SMALL = 64 << 10
"""Bytes that the client's socket takes before it is full."""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServer]:
    instance = Instance("test", tmp_path / "root", tmp_path / "run")
    instance.root.mkdir()
    server = ApiServer(instance, ServerOptions(port=0, static_tokens={"t": ("root", ("system:masters",))}))
    await server.start()
    yield server
    await server.stop()


async def watch(server: ApiServer, revision: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A watch of all config maps whose answer has begun and that is not read any further for now."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", server.port))
    context = ssl.create_default_context(cafile=str(server.pki.ca.cert))
    reader, writer = await asyncio.open_connection(sock=raw, ssl=context, server_hostname="localhost", limit=1 << 10)
    writer.write(REQUEST.format(revision).encode())
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer


def serving(server: ApiServer) -> Connection:
    """The server's end of the watch."""
    assert server._http is not None
    (connection,) = (one for one in server._http.connections if not one.idle)
    return connection


async def change(server: ApiServer, times: int, size: int) -> None:
    client = LocalClient(server.api, MASTER)
    for number in range(times):
        await client.patch(builtin.CONFIG_MAPS, "a", {"data": {"n": f"{number:0{size}}"}}, "default")


async def made(server: ApiServer) -> int:
    """A config map; its revision."""
    obj: dict[str, Any] = {"metadata": {"name": "a"}}
    found = await LocalClient(server.api, MASTER).create(builtin.CONFIG_MAPS, obj, "default")
    return int(found["metadata"]["resourceVersion"])


async def test_a_watcher_that_does_not_read_costs_little_and_is_cut(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "WINDOW", 32)
    reader, writer = await watch(server, await made(server))
    connection = serving(server)
    most = 0
    for _ in range(10):
        await change(server, 40, 100_000)
        most = max(most, connection.transport.get_write_buffer_size())
        if connection.closed:
            break
    assert most < 2 << 20
    async with asyncio.timeout(30):
        while not connection.closed:
            await change(server, 40, 100_000)
    with pytest.raises((ConnectionError, ssl.SSLError, asyncio.IncompleteReadError)):
        await reader.readexactly(40_000_000)
    writer.close()


async def test_a_watcher_that_reads_late_gets_everything_in_order(server: ApiServer) -> None:
    reader, writer = await watch(server, await made(server))
    await change(server, 150, 50_000)
    text = b""
    async with asyncio.timeout(30):
        while b'"n":"' + b"0" * (50_000 - 3) + b"149" not in text[-200_000:]:
            text += await reader.read(1 << 20)
    found = [int(piece[49_000 : piece.index(b'"')]) for piece in text.split(b'"n":"')[1:]]
    assert found == list(range(150))
    writer.close()


async def test_a_client_that_does_not_take_what_stood_there_is_let_go(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "INITIAL_SECONDS", 0.2)
    client = LocalClient(server.api, MASTER)
    for number in range(300):
        name = f"big{number}" if number else "a"
        obj = {"metadata": {"name": name}, "data": {"n": "x" * 100_000}}
        await client.create(builtin.CONFIG_MAPS, obj, "default")
    _reader, writer = await watch(server, 0)
    connection = serving(server)
    async with asyncio.timeout(30):
        while not connection.closed:
            await change(server, 1, 10)
            await asyncio.sleep(0.05)
    writer.close()


async def test_a_server_that_stops_ends_its_watches_properly(server: ApiServer) -> None:
    reader, writer = await watch(server, await made(server))
    await server.stop()
    assert await reader.read() == b"0\r\n\r\n"
    writer.close()
