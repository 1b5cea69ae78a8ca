"""Pass one HTTP request on to a backend, and its answer back: streamed, or as raw bytes after an upgrade.

No HTTP client is needed: the request is written as HTTP/1.1 and the answer's head is read; its body is passed on
piece by piece as it comes.
"""

import asyncio
import ssl
from typing import NamedTuple

from wherry.kube_api.http.message import Request
from wherry.kube_api.http.protocol import Answer, Connection
from wherry.schema import errors

CONNECT_SECONDS = 10.0
MAX_HEAD = 1 << 16
HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "te", "trailer", "transfer-encoding", "upgrade",
     "content-length",
     "host", "authorization", "expect", "impersonate-user", "impersonate-group", "impersonate-uid"}
)  # fmt: skip


class Target(NamedTuple):
    """Where a request goes. `prefix` is what Location headers are put behind."""

    host: str
    port: int
    path: str
    query: str = ""
    tls: ssl.SSLContext | None = None
    prefix: str = ""


async def relay(request: Request, target: Target) -> Answer:
    """Returns None when the answer has been sent. Raises ServiceUnavailable when the backend cannot be reached."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(target.host, target.port, ssl=target.tls, limit=MAX_HEAD)
    except (OSError, TimeoutError, ssl.SSLError) as error:
        raise errors.ServiceUnavailable(
            f"error trying to reach service: dial tcp {target.host}:{target.port}: {error}"
        ) from None
    try:
        upgrade = "upgrade" in request.headers.get("connection", "").lower() and "upgrade" in request.headers
        writer.write(_head(request, target, upgrade) + request.body)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError) as error:
            raise errors.ServiceUnavailable(f"error trying to reach service: {error}") from None
        status, headers = _parse(head)
        if upgrade and status == 101:
            await _tunnel(request.connection, reader, writer, head)
            return None
        await _pass_body(request, reader, status, headers, target)
        return None
    finally:
        writer.close()


def _head(request: Request, target: Target, upgrade: bool) -> bytes:
    path = f"{target.path}?{target.query}" if target.query else target.path
    lines = [f"{request.method} {path} HTTP/1.1", f"Host: {target.host}:{target.port}"]
    for name, value in request.headers.items():
        if name not in HOP_BY_HOP and not name.startswith("impersonate-extra-"):
            lines.append(f"{name}: {value}")
    if upgrade:
        lines += ["Connection: Upgrade", f"Upgrade: {request.headers['upgrade']}"]
    else:
        lines.append("Connection: close")
    if request.body or request.method in ("POST", "PUT", "PATCH"):
        lines.append(f"Content-Length: {len(request.body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


def _parse(head: bytes) -> tuple[int, list[tuple[str, str]]]:
    lines = head.decode("latin-1").split("\r\n")
    parts = lines[0].split(" ", 2)
    if len(parts) < 2 or not parts[1].isdecimal():
        raise errors.ServiceUnavailable("error trying to reach service: malformed HTTP response")
    headers = []
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers.append((name, value.strip()))
    return int(parts[1]), headers


async def _pass_body(
    request: Request, reader: asyncio.StreamReader, status: int, headers: list[tuple[str, str]], target: Target
) -> None:
    lower = {name.lower(): value for name, value in headers}
    kept = [
        (name, _location(value, target) if name.lower() == "location" else value)
        for name, value in headers
        if name.lower() not in HOP_BY_HOP
    ]
    connection = request.connection
    connection.start_stream(status if status in range(200, 600) else 502, kept)
    chunked = lower.get("transfer-encoding", "").lower() == "chunked"
    length = int(lower["content-length"]) if lower.get("content-length", "").isdecimal() else None
    gone = asyncio.get_running_loop().create_future()
    task = asyncio.current_task()

    def stop() -> None:
        if not gone.done():
            gone.set_result(None)
            assert task is not None
            task.cancel()

    connection.on_close = stop
    try:
        if request.method != "HEAD" and status not in (204, 304):
            await _copy(reader, connection, chunked, length, stop)
    except (asyncio.IncompleteReadError, ConnectionError, ValueError):
        connection.transport.abort()
        return
    connection.end_stream()


async def _copy(
    reader: asyncio.StreamReader, connection: Connection, chunked: bool, length: int | None, stop: object
) -> None:
    left = length
    while True:
        if chunked:
            size = int((await reader.readline()).split(b";")[0].strip() or b"0", 16)
            if not size:
                return
            data = await reader.readexactly(size)
            await reader.readexactly(2)
        else:
            if left == 0:
                return
            data = await reader.read(65536 if left is None else min(left, 65536))
            if not data:
                return
            if left is not None:
                left -= len(data)
        connection.write_chunk(data)
        if not connection.writable:
            on_close = connection.on_close
            await connection.drained()
            connection.on_close = on_close


def _location(value: str, target: Target) -> str:
    return target.prefix + value if target.prefix and value.startswith("/") else value


class _Tunnel:
    """The client's side of an upgraded connection; see `http.protocol.Upgraded`."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.open = asyncio.Event()
        self.open.set()
        self.gone = asyncio.Event()

    def received(self, data: bytes) -> None:
        self._writer.write(data)

    def ended(self) -> None:
        if self._writer.can_write_eof():
            self._writer.write_eof()
        else:
            self._writer.close()

    def lost(self) -> None:
        self.gone.set()
        self.open.set()
        self._writer.close()

    def pause(self) -> None:
        self.open.clear()

    def resume(self) -> None:
        self.open.set()


HIGH_WATER = 1 << 20


async def _tunnel(
    connection: Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes
) -> None:
    """Bytes both ways until either side ends."""
    tunnel = _Tunnel(writer)
    rest = connection.hijack(tunnel)
    if rest:
        writer.write(rest)
    connection.transport.write(head)
    try:
        while not tunnel.gone.is_set():
            data = await reader.read(65536)
            if not data:
                break
            connection.transport.write(data)
            await tunnel.open.wait()
            if writer.transport.get_write_buffer_size() > HIGH_WATER:
                connection.transport.pause_reading()
                await writer.drain()
                connection.transport.resume_reading()
    except (ConnectionError, ssl.SSLError):
        pass
    finally:
        connection.transport.close()
