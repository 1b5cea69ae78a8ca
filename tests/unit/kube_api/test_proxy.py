"""Requests that are passed on to a node: logs as a stream, exec as a raw upgraded connection."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from wherry.host.instance import Instance
from wherry.kube_api.server import ApiServer, ServerOptions
from wherry.schema import builtin

HEADERS = {"Authorization": "Bearer t"}


class Node:
    """A stand-in for a node's HTTPS server: remembers requests, answers logs, echoes on upgraded connections."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.peer = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.requests.append(head)
        subject = writer.get_extra_info("ssl_object").getpeercert()["subject"]
        self.peer = dict(pair for part in subject for pair in part)["commonName"]
        if "Upgrade: echo" in head:
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
            while data := await reader.read(65536):
                writer.write(data)
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n")
            for line in (b"one\n", b"two\n"):
                writer.write(b"%x\r\n%b\r\n" % (len(line), line))
                await writer.drain()
            writer.write(b"0\r\n\r\n")
        writer.close()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[tuple[ApiServer, Node]]:
    instance = Instance("test", tmp_path / "root", tmp_path / "run")
    instance.root.mkdir()
    server = ApiServer(instance, ServerOptions(port=0, static_tokens={"t": ("root", ("system:masters",))}))
    await server.start()
    pair = server.pki.node_serving("n1", ["n1", "127.0.0.1"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    context.load_verify_locations(server.pki.ca.cert)
    context.verify_mode = ssl.CERT_REQUIRED
    node = Node()
    listener = await asyncio.start_server(node.handle, "127.0.0.1", 0, ssl=context)
    port = listener.sockets[0].getsockname()[1]
    client = server.client()
    await client.create(builtin.NODES, {"metadata": {"name": "n1"}})
    status = {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }
    await client.patch(builtin.NODES, "n1", {"status": status}, subresource="status")
    await client.create(builtin.SERVICE_ACCOUNTS, {"metadata": {"name": "default"}}, "default")
    pod = {"metadata": {"name": "p"}, "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]}}
    await client.create(builtin.PODS, pod, "default")
    yield server, node
    listener.close()
    await server.stop()


async def test_logs_are_streamed_from_the_node(world: tuple[ApiServer, Node]) -> None:
    server, node = world
    context = ssl.create_default_context(cafile=str(server.pki.ca.cert))
    async with aiohttp.ClientSession(server.url, headers=HEADERS) as session:
        path = "/api/v1/namespaces/default/pods/p/log"
        async with session.get(f"{path}?follow=true&tailLines=5", ssl=context) as response:
            assert (response.status, await response.text()) == (200, "one\ntwo\n")
        assert node.requests[0].startswith("GET /containerLogs/default/p/c?follow=true&tailLines=5 HTTP/1.1\r\n")
        assert "Bearer" not in node.requests[0]
        assert node.peer == "kube-apiserver-kubelet-client"
        async with session.get(f"{path}?container=x", ssl=context) as response:
            assert (await response.json())["message"] == "container x is not valid for pod p"
        async with session.get(f"{path}?tailLines=-1", ssl=context) as response:
            assert response.status == 422


async def test_exec_hands_the_connection_over(world: tuple[ApiServer, Node]) -> None:
    server, node = world
    context = ssl.create_default_context(cafile=str(server.pki.ca.cert))
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
    query = "command=ls&command=-l%20x&stdin=true&stdout=true&tty=false"
    writer.write(
        f"POST /api/v1/namespaces/default/pods/p/exec?{query} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t\r\n"
        "Connection: Upgrade\r\nUpgrade: echo\r\n\r\n".encode()
    )
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    assert node.requests[0].startswith("POST /exec/default/p/c?input=1&output=1&command=ls&command=-l+x HTTP/1.1\r\n")
    payload = bytes(range(256)) * 8192
    writer.write(payload)
    assert await asyncio.wait_for(reader.readexactly(len(payload)), 10) == payload
    writer.close()


async def test_a_node_that_does_not_answer_is_503(world: tuple[ApiServer, Node]) -> None:
    server, _ = world
    endpoint = {"status": {"daemonEndpoints": {"kubeletEndpoint": {"Port": 1}}}}
    await server.client().patch(builtin.NODES, "n1", endpoint, subresource="status")
    context = ssl.create_default_context(cafile=str(server.pki.ca.cert))
    async with (
        aiohttp.ClientSession(server.url, headers=HEADERS) as session,
        session.get("/api/v1/namespaces/default/pods/p/log", ssl=context) as response,
    ):
        assert response.status == 503
