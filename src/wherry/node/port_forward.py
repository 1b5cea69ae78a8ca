"""Forwarding connections into a pod's network namespace.

Three ways in: SPDY/3.1 over an upgraded connection, the same tunnelled in WebSocket messages (what kubectl does since
1.31, subprotocol `SPDY/3.1+portforward.k8s.io`), and the older WebSocket channels, two per port (`v4.channel.k8s.io`).
In SPDY each connection is a pair of streams with one `requestID`: `error`, which stays empty unless something fails,
and `data`. Specified in https://kubernetes.io/docs/tasks/access-application-cluster/port-forward-access-application-cluster/.
"""

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.host import namespaces
from wherry.node.spdy import SpdyError, SpdySession, SpdyStream

if TYPE_CHECKING:
    from aiohttp import web

log = logging.getLogger(__name__)

PROTOCOL = "portforward.k8s.io"
TUNNEL = f"SPDY/3.1+{PROTOCOL}"
CHANNELS = ("v4.channel.k8s.io", "v4.base64.channel.k8s.io")
CHUNK = 32 * 1024

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def dial(netns: str, port: int) -> Connection:
    """Connect to `port` on the loopback inside the namespace at `netns` ("" is the host's). Raises OSError."""

    def connect() -> socket.socket:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=10)
        except ConnectionRefusedError:
            with contextlib.suppress(OSError):
                return socket.create_connection(("::1", port), timeout=10)
            raise

    if netns:
        connected = await asyncio.to_thread(namespaces.run_inside, Path(netns), connect)
    else:
        connected = await asyncio.to_thread(connect)
    connected.setblocking(False)
    return await asyncio.open_connection(sock=connected)


def failure(port: int, uid: str, error: OSError) -> str:
    """What the error stream says, as kubectl shows it."""
    why = f"failed to connect to localhost:{port} inside the pod's network namespace: {error.strerror or error}"
    return f"error forwarding port {port} to pod {uid}, uid : {why}"


class Forwarder:
    """One client's SPDY session with any number of forwarded connections."""

    def __init__(self, send: Callable[[bytes], Awaitable[None]], netns: str, uid: str) -> None:
        self._netns = netns
        self._uid = uid
        self._pairs: dict[str, dict[str, SpdyStream]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._session = SpdySession(send, self._accept)

    async def run(self, receive: Callable[[], Awaitable[bytes]]) -> None:
        try:
            await self._session.run(receive)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, stream: SpdyStream) -> None:
        kind, port = stream.headers.get("streamtype", ""), stream.headers.get("port", "")
        if kind not in ("error", "data") or not port.isdigit() or not 0 < int(port) < 65536:
            raise SpdyError(f"invalid stream type {kind!r} or port {port!r}")
        request = stream.headers.get("requestid") or str(stream.id if kind == "error" else stream.id - 2)
        pair = self._pairs.setdefault(request, {})
        if kind in pair:
            raise SpdyError(f"{kind} stream of request {request} exists already")
        pair[kind] = stream
        if len(pair) == 2:
            del self._pairs[request]
            task = asyncio.create_task(self._forward(pair["data"], pair["error"], int(port)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _forward(self, data: SpdyStream, error: SpdyStream, port: int) -> None:
        try:
            reader, writer = await dial(self._netns, port)
        except OSError as problem:
            await error.write(failure(port, self._uid, problem).encode())
            await error.finish()
            await data.reset()
            return

        async def inward() -> None:
            async for chunk in data:
                writer.write(chunk)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()

        async def outward() -> None:
            while chunk := await reader.read(CHUNK):
                await data.write(chunk)
            await data.finish()

        try:
            sending = asyncio.create_task(inward())
            await outward()
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            await error.finish()
        except (OSError, ConnectionError) as problem:
            log.debug("forwarded connection to port %d broke: %s", port, problem)
        finally:
            writer.close()


async def tunnel(ws: "web.WebSocketResponse", netns: str, uid: str) -> None:
    """SPDY in binary WebSocket messages, until the client closes."""
    from aiohttp import WSMsgType

    async def receive() -> bytes:
        while True:
            message = await ws.receive()
            if message.type in (WSMsgType.BINARY, WSMsgType.TEXT):
                data = message.data if isinstance(message.data, bytes) else message.data.encode()
                if data:
                    return data
            elif message.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
                return b""

    await Forwarder(ws.send_bytes, netns, uid).run(receive)


async def channels(ws: "web.WebSocketResponse", ports: Sequence[int], netns: str, uid: str) -> None:
    """The channel protocol: channel 2i carries data of port i, channel 2i+1 its errors; each begins with the port."""
    from aiohttp import WSMsgType

    writers: dict[int, asyncio.StreamWriter] = {}
    tasks: list[asyncio.Task[None]] = []

    async def outward(index: int, reader: asyncio.StreamReader) -> None:
        while chunk := await reader.read(CHUNK):
            await ws.send_bytes(bytes((2 * index,)) + chunk)

    for index, port in enumerate(ports):
        for channel in (2 * index, 2 * index + 1):
            await ws.send_bytes(bytes((channel,)) + struct.pack("<H", port))
    for index, port in enumerate(ports):
        try:
            reader, writer = await dial(netns, port)
        except OSError as problem:
            await ws.send_bytes(bytes((2 * index + 1,)) + failure(port, uid, problem).encode())
            continue
        writers[2 * index] = writer
        tasks.append(asyncio.create_task(outward(index, reader)))

    async def inward() -> None:
        async for message in ws:
            if message.type == WSMsgType.BINARY and message.data:
                writer = writers.get(message.data[0])
                if writer is not None:
                    writer.write(message.data[1:])
                    await writer.drain()

    receiving = asyncio.create_task(inward())
    try:
        if tasks:
            connections = asyncio.ensure_future(asyncio.wait(tasks))
            await asyncio.wait([receiving, connections], return_when=asyncio.FIRST_COMPLETED)
            connections.cancel()
    finally:
        for task in (receiving, *tasks):
            task.cancel()
        await asyncio.gather(receiving, *tasks, return_exceptions=True)
        for writer in writers.values():
            writer.close()
