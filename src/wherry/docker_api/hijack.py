"""Hijacked connections: after the answer's header the connection carries a container's streams, raw, both ways.

Specified in the Docker Engine API, "Attach to a container": `101 UPGRADED` when the client asks for an upgrade, else
`200 OK`. With a terminal the bytes are the terminal's; without one each piece of output has a header of 8 bytes:
stream (0 stdin, 1 stdout, 2 stderr), three zeros, length (big endian). The client ends its input by half-closing:
the other half goes on until the output ends. Input may follow only after the answer's header, as clients do.
"""

import asyncio
import fcntl
import socket
import struct
import termios
import time
from collections import deque

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from wherry.docker_api.hangups import HangupWatcher
from wherry.docker_api.replies import HEADERS, MULTIPLEXED_STREAM, RAW_STREAM
from wherry.docker_api.routing import Call

_HEADERS = "".join(f"{key}: {value}\r\n" for key, value in HEADERS.items())
_READ_HIGH = 256 * 1024
_HEADER_WAIT = 0.02

HEADER = struct.Struct(">BxxxI")
"""Header of one piece of a multiplexed stream: stream number, length."""


class Connection(asyncio.Protocol):
    """One hijacked connection: `read` what the client sends, `write` to it, `close`."""

    def __init__(self, transport: asyncio.Transport, http: RequestHandler, hangups: HangupWatcher) -> None:
        self._transport = transport
        self._http = http
        self._hangups = hangups
        sock = transport.get_extra_info("socket")
        self._fd: int = sock.fileno() if sock is not None else -1
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._eof = False
        self._paused_reading = False
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done once the connection is gone altogether."""

    # --- the transport's side ---

    def data_received(self, data: bytes) -> None:
        self._chunks.append(data)
        self._buffered += len(data)
        self._readable.set()
        if self._buffered > _READ_HIGH and not self._paused_reading:
            self._paused_reading = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        self._eof = True
        self._readable.set()
        if self._fd >= 0:
            self._hangups.watch(self._fd, self._transport.abort)
        return True

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._hangups.forget(self._fd)
        self._eof = True
        self._readable.set()
        self._writable.set()
        if not self.lost.done():
            self.lost.set_result(None)
        # The server counts its connections by the protocol that it made.
        self._http.connection_lost(exc)

    # --- the handler's side ---

    async def read(self) -> bytes:
        """What has come since the last call; empty when the client has ended its half."""
        while not self._chunks:
            if self._eof:
                return b""
            self._readable.clear()
            await self._readable.wait()
        data = self._chunks.popleft() if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._buffered = 0
        if self._paused_reading:
            self._paused_reading = False
            self._transport.resume_reading()
        return data

    async def write(self, data: bytes) -> None:
        """Send, waiting while the client is slow. Raises ConnectionResetError when it has gone."""
        if self.lost.done():
            raise ConnectionResetError("the client has gone")
        self._transport.write(data)
        if not self._writable.is_set():
            await self._writable.wait()

    async def header_read(self) -> None:
        """Return when the client has taken the answer's header, or is slow about it.

        Some clients (docker-py) read the header through a buffer and go on without it: output that is there at once
        would end in the buffer and be lost.
        """
        deadline = time.monotonic() + _HEADER_WAIT
        while self._fd >= 0 and not self.lost.done() and time.monotonic() < deadline:
            if not struct.unpack("i", fcntl.ioctl(self._fd, termios.TIOCOUTQ, bytes(4)))[0]:
                return
            await asyncio.sleep(_HEADER_WAIT / 40)

    async def write_stream(self, stream: int, data: bytes) -> None:
        """Send a piece of output with its header."""
        await self.write(HEADER.pack(stream, len(data)) + data)

    def close(self) -> None:
        """Send what is still buffered, then close."""
        self._transport.close()


class Hijacked(web.StreamResponse):
    """Tells the server that the answer has been given and that nothing more is to be sent here."""

    def __init__(self) -> None:
        super().__init__()
        self.force_close()

    @property
    def prepared(self) -> bool:
        return True

    async def prepare(self, request: web.BaseRequest) -> None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None


def hijack(call: Call, *, multiplexed: bool) -> Connection:
    """Take the connection over from HTTP and send the answer's header. The handler returns `Hijacked()` at the end."""
    request = call.request
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("the client has gone")
    http = request.protocol
    connection = Connection(transport, http, call.hangups)
    transport.set_protocol(connection)
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if "Upgrade" in request.headers:
        kind = MULTIPLEXED_STREAM if multiplexed and call.version >= (1, 42) else RAW_STREAM
        header = f"HTTP/1.1 101 UPGRADED\r\nContent-Type: {kind}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
    else:
        header = f"HTTP/1.1 200 OK\r\nContent-Type: {RAW_STREAM}\r\n"
    transport.write(f"{header}{_HEADERS}\r\n".encode())
    return connection
