"""HTTP/1.1 on one connection (RFC 9112): parse, hand to the application, write the answer, keep alive.

Requests of a connection are answered one after the other; what a client sends ahead waits. The application may
answer at once (`Application.answer` returns a Response), later (it returns a coroutine), as a stream of chunks,
or take the whole connection over (`Connection.hijack`) for an upgrade.
"""

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, cast

from wherry.kube_api.http.message import Request, Response, chunk, stream_head

log = logging.getLogger(__name__)

MAX_HEAD = 1 << 17
MAX_BODY = 3 << 20
MAX_AHEAD = 1 << 20
"""Bytes of further requests that may wait while one is being answered."""
HEAD_SECONDS = 30.0
IDLE_SECONDS = 180.0

Answer = Response | None
"""None: the application has written the answer itself (a stream, or a hijacked connection)."""


class Application(Protocol):
    """What a connection hands requests to."""

    def answer(self, request: Request) -> Response | Coroutine[Any, Any, Answer]:
        """Never raises; errors are responses."""
        ...

    def refuse(self, status: int, message: str) -> Response:
        """The answer to a request that cannot be read."""
        ...


class Upgraded(Protocol):
    """Who gets a hijacked connection's bytes."""

    def received(self, data: bytes) -> None: ...
    def ended(self) -> None: ...
    def lost(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...


class _Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Connection(asyncio.Protocol):
    """One client. `state` is for the application (e.g. who the client's certificate says it is)."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._app = server.application
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.state: Any = None
        self._buffer = b""
        self._request: Request | None = None
        """The request whose body is still coming in."""
        self._length = 0
        self._chunked = False
        self._task: asyncio.Task[None] | None = None
        self._busy = False
        self._close_after = False
        self._reading_paused = False
        self._upgraded: Upgraded | None = None
        self.closed = False
        self.writable = True
        self.on_writable: Callable[[], None] | None = None
        self.on_close: Callable[[], None] | None = None
        self.on_stop: Callable[[], None] | None = None
        """Ends a stream that would go on for long, because the server stops."""
        self.since = 0.0
        """When the present state (idle, or waiting for the rest of a request) began."""

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=1 << 20, low=1 << 18)
        self.since = time.monotonic()
        self._server.connections.add(self)

    def data_received(self, data: bytes) -> None:
        if self._upgraded is not None:
            self._upgraded.received(data)
            return
        if self._buffer:
            self._buffer += data
        else:
            self._buffer = data
        if self._busy:
            if len(self._buffer) > MAX_AHEAD and not self._reading_paused:
                self._reading_paused = True
                self.transport.pause_reading()
            return
        self._advance()

    def eof_received(self) -> bool:
        if self._upgraded is not None:
            self._upgraded.ended()
            # Half-open stays only without TLS, where the transport asks for it; asyncio warns of it otherwise.
            return self.transport.get_extra_info("ssl_object") is None
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._server.connections.discard(self)
        if self._upgraded is not None:
            self._upgraded.lost()
        if self.on_close is not None:
            self.on_close()
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        self.writable = False
        if self._upgraded is not None:
            self._upgraded.pause()

    def resume_writing(self) -> None:
        self.writable = True
        if self._upgraded is not None:
            self._upgraded.resume()
        elif self.on_writable is not None:
            self.on_writable()

    # -- reading requests

    def _advance(self) -> None:
        """Take requests from the buffer while there are whole ones and none is being answered."""
        try:
            while not self._busy and not self.closed and self._upgraded is None:
                if self._request is None and (not self._buffer or not self._read_head()):
                    return
                request = self._request
                assert request is not None
                if not self._read_body(request):
                    return
                self._request = None
                self._serve(request)
        except _Refused as refused:
            self._close_after = True
            self._buffer = b""
            self._request = None
            self._write(self._app.refuse(refused.status, str(refused)), False)

    def _read_head(self) -> bool:
        buffer = self._buffer
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(buffer) > MAX_HEAD:
                raise _Refused(431, "the request's head is too large")
            return False
        if end > MAX_HEAD:
            raise _Refused(431, "the request's head is too large")
        lines = buffer[:end].decode("latin-1").split("\r\n")
        self._buffer = buffer[end + 4 :]
        parts = lines[0].split(" ")
        if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
            raise _Refused(400, "malformed request line")
        method, target, version = parts
        headers: dict[str, str] = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon or not name or name[0] in " \t" or name[-1] in " \t":
                raise _Refused(400, "malformed header line")
            name = name.lower()
            value = value.strip()
            headers[name] = f"{headers[name]},{value}" if name in headers else value
        path, _, query = target.partition("?")
        request = Request(self, method, path, query, headers)
        self._close_after = version == "HTTP/1.0" or headers.get("connection", "").lower() == "close"
        self._frame_body(headers)
        self._request = request
        if headers.get("expect", "").lower() == "100-continue" and (self._length or self._chunked):
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return True

    def _frame_body(self, headers: dict[str, str]) -> None:
        encoding = headers.get("transfer-encoding")
        length = headers.get("content-length")
        self._chunked = False
        self._length = 0
        if encoding is not None:
            if encoding.lower() != "chunked" or length is not None:
                raise _Refused(400, "unsupported transfer encoding")
            self._chunked = True
        elif length is not None:
            if not length.isdecimal() or not length.isascii():
                raise _Refused(400, "malformed content length")
            self._length = int(length)
            if self._length > MAX_BODY:
                raise _Refused(413, f"Request entity too large: limit is {MAX_BODY}")

    def _read_body(self, request: Request) -> bool:
        if self._chunked:
            return self._read_chunks(request)
        length = self._length
        if not length:
            return True
        if len(self._buffer) < length:
            return False
        request.body = self._buffer[:length]
        self._buffer = self._buffer[length:]
        return True

    def _read_chunks(self, request: Request) -> bool:
        while True:
            line_end = self._buffer.find(b"\r\n")
            if line_end < 0:
                if len(self._buffer) > 1024:
                    raise _Refused(400, "malformed chunk")
                return False
            text = self._buffer[:line_end].split(b";")[0].strip()
            try:
                size = int(text, 16)
            except ValueError:
                raise _Refused(400, "malformed chunk") from None
            if size < 0 or size + len(request.body) > MAX_BODY:
                raise _Refused(413, f"Request entity too large: limit is {MAX_BODY}")
            if not size:
                trailer_end = self._buffer.find(b"\r\n\r\n", line_end)
                if self._buffer[line_end + 2 : line_end + 4] == b"\r\n":
                    self._buffer = self._buffer[line_end + 4 :]
                    return True
                if trailer_end < 0:
                    if len(self._buffer) > MAX_HEAD:
                        raise _Refused(431, "the request's trailer is too large")
                    return False
                self._buffer = self._buffer[trailer_end + 4 :]
                return True
            start, stop = line_end + 2, line_end + 2 + size
            if len(self._buffer) < stop + 2:
                return False
            request.body += self._buffer[start:stop]
            self._buffer = self._buffer[stop + 2 :]

    # -- answering

    def _serve(self, request: Request) -> None:
        answer = self._app.answer(request)
        if isinstance(answer, Response):
            self.since = time.monotonic()
            self._write(answer, request.method == "HEAD")
            return
        self._busy = True
        self._task = self._server.loop.create_task(self._later(request, answer))

    async def _later(self, request: Request, pending: Coroutine[Any, Any, Answer]) -> None:
        answer = await pending
        self._task = None
        if self.closed or self._upgraded is not None:
            return
        if answer is not None:
            self._write(answer, request.method == "HEAD")
        self._finish()

    def _finish(self) -> None:
        self._busy = False
        self.on_writable = self.on_close = self.on_stop = None
        self.since = time.monotonic()
        if self._close_after:
            self.transport.close()
            return
        if self._reading_paused:
            self._reading_paused = False
            self.transport.resume_reading()
        if self._buffer:
            self._advance()

    def _write(self, response: Response, head_only: bool) -> None:
        if self.closed:
            return
        self.transport.writelines(response.encode(head_only=head_only, close=self._close_after))
        if self._close_after and not self._busy:
            self.transport.close()

    # -- streams

    def start_stream(self, status: int, headers: list[tuple[str, str]]) -> None:
        """Begin an answer in chunks."""
        self.transport.write(stream_head(status, headers))

    def write_chunk(self, data: bytes) -> None:
        """Send a piece of a stream. Look at `writable` before sending much."""
        if data and not self.closed:
            self.transport.write(chunk(data))

    def end_stream(self) -> None:
        """Finish a stream; the connection goes on."""
        if not self.closed:
            self.transport.write(b"0\r\n\r\n")

    async def drained(self) -> None:
        """Wait until the client has taken most of what was sent. Raises ConnectionResetError."""
        if self.closed:
            raise ConnectionResetError("the client has gone")
        if self.writable:
            return
        future: asyncio.Future[None] = self._server.loop.create_future()

        def wake() -> None:
            if not future.done():
                future.set_result(None)

        self.on_writable = self.on_close = wake
        await future
        self.on_writable = self.on_close = None
        if self.closed:
            raise ConnectionResetError("the client has gone")

    # -- upgrades

    def hijack(self, upgraded: Upgraded) -> bytes:
        """Take the connection over; returns what the client has sent already."""
        self._upgraded = upgraded
        rest, self._buffer = self._buffer, b""
        if self._reading_paused:
            self._reading_paused = False
            self.transport.resume_reading()
        return rest

    @property
    def idle(self) -> bool:
        return not self._busy and self._upgraded is None

    @property
    def waiting_for_rest(self) -> bool:
        return not self._busy and self._upgraded is None and (bool(self._buffer) or self._request is not None)


class Server:
    """Listens and keeps track of its connections."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self.loop = asyncio.get_running_loop()
        self.connections: set[Connection] = set()
        self._listeners: list[asyncio.Server] = []
        self._sweep_handle: asyncio.TimerHandle | None = None

    async def start(self, addresses: Sequence[str], port: int, ssl_context: Any) -> int:
        """Listen on every address, which need not exist yet; returns the port (useful when 0 was asked for)."""
        for address in addresses:
            sock = _listening_socket(address, port)
            port = sock.getsockname()[1]
            listener = await self.loop.create_server(lambda: Connection(self), sock=sock, ssl=ssl_context, backlog=1024)
            self._listeners.append(listener)
        self._sweep()
        return port

    def _sweep(self) -> None:
        """Close connections that have been idle, or in the middle of a request, for too long."""
        now = time.monotonic()
        for connection in list(self.connections):
            if connection.idle and now - connection.since > (
                HEAD_SECONDS if connection.waiting_for_rest else IDLE_SECONDS
            ):
                connection.transport.close()
        self._sweep_handle = self.loop.call_later(10.0, self._sweep)

    async def stop(self, grace_seconds: float = 2.0) -> None:
        """Stop listening, let requests under way finish for a while, then close every connection."""
        if self._sweep_handle is not None:
            self._sweep_handle.cancel()
        for listener in self._listeners:
            listener.close()
        tasks = []
        for connection in list(self.connections):
            if connection.idle:
                connection.transport.close()
            elif connection._task is not None:
                if connection.on_stop is not None:
                    connection.on_stop()
                tasks.append(connection._task)
        if tasks:
            await asyncio.wait(tasks, timeout=grace_seconds)
        for connection in list(self.connections):
            connection.transport.abort()


IP_FREEBIND = 15


def _listening_socket(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
        sock.bind((address, port))
    except OSError:
        sock.close()
        raise
    return sock
