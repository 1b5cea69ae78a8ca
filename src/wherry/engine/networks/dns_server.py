"""A small DNS server on given sockets, and the forwarder for what it does not know itself.

The answer function is synchronous and fast; what it declines (None) is forwarded. No caching: the upstream servers do.
"""

import asyncio
import contextlib
import logging
import secrets
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from wherry.engine.networks.dns_wire import SERVFAIL, BadQuery, Query, format_error, parse_query, response

log = logging.getLogger(__name__)

Answer = Callable[[Query, bool], bytes | Awaitable[bytes] | None]
"""(query, over TCP) → the answer, or something that will give it, or None to forward."""

_BURST = 64
_TCP_IDLE = 10.0


class Forwarder:
    """Sends queries on as they are. `servers` are addresses (port 53) in order of preference; may be replaced."""

    def __init__(self, servers: Sequence[str], *, timeout: float = 2.0, attempts: int = 2, port: int = 53) -> None:
        self.servers = tuple(servers)
        self._timeout = timeout
        self._attempts = attempts
        self._port = port

    async def ask(self, query: Query, tcp: bool) -> bytes:
        """The first answer that is not an error of the server's own; SERVFAIL when there is none."""
        last: bytes | None = None
        for _ in range(self._attempts):
            for server in self.servers:
                try:
                    async with asyncio.timeout(self._timeout):
                        answer = await self._ask_one(server, query.raw, tcp)
                except (OSError, TimeoutError):
                    continue
                if answer[3] & 0x0F in (SERVFAIL, 5):
                    last = answer
                    continue
                return answer
        return last or response(query, code=SERVFAIL)

    async def _ask_one(self, server: str, raw: bytes, tcp: bool) -> bytes:
        if tcp:
            # Some servers of small networks speak UDP only.
            with contextlib.suppress(OSError):
                return await self._ask_tcp(server, raw)
        return await self._ask_udp(server, raw)

    async def _ask_udp(self, server: str, raw: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        ident = secrets.token_bytes(2)
        with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
            sock.connect((server, self._port))
            await loop.sock_sendall(sock, ident + raw[2:])
            while True:
                answer = await loop.sock_recv(sock, 65535)
                if len(answer) >= 12 and answer[:2] == ident:
                    return raw[:2] + answer[2:]

    async def _ask_tcp(self, server: str, raw: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(server, self._port)
        try:
            writer.write(struct.pack("!H", len(raw)) + raw)
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            answer = await reader.readexactly(length)
        except asyncio.IncompleteReadError as error:
            raise OSError("connection closed") from error
        finally:
            writer.close()
        if len(answer) < 12:
            raise OSError("answer cut short")
        return answer


class DnsServer:
    """Serves `udp` and `tcp` (bound, `tcp` listening) until `close()`, which closes them."""

    def __init__(self, udp: socket.socket, tcp: socket.socket, answer: Answer, forwarder: Forwarder) -> None:
        self._udp, self._tcp = udp, tcp
        self._answer, self._forwarder = answer, forwarder
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.get_running_loop()
        self._closed = False
        udp.setblocking(False)

    async def start(self) -> None:
        self._loop.add_reader(self._udp.fileno(), self._readable)
        self._server = await asyncio.start_server(self._serve_tcp, sock=self._tcp)

    def close(self) -> None:
        """Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._udp.fileno())
        self._udp.close()
        if self._server is not None:
            self._server.close()
        else:
            self._tcp.close()
        for task in tuple(self._tasks):
            task.cancel()

    def _readable(self) -> None:
        for _ in range(_BURST):
            try:
                data, client = self._udp.recvfrom(4096)
            except OSError:
                return
            try:
                query = parse_query(data)
            except BadQuery:
                self._send(format_error(data), client)
                continue
            answer = self._answer(query, False)
            if isinstance(answer, bytes):
                self._send(answer, client)
            else:
                task = self._loop.create_task(self._answer_later(query, answer, client))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def _send(self, answer: bytes | None, client: Any) -> None:
        # A full socket buffer loses the answer, as the wire may: the client asks again.
        if answer is not None and not self._closed:
            with contextlib.suppress(OSError):
                self._udp.sendto(answer, client)

    async def _answer_later(self, query: Query, answer: Awaitable[bytes] | None, client: Any) -> None:
        self._send(await (answer or self._forwarder.ask(query, False)), client)

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                async with asyncio.timeout(_TCP_IDLE):
                    (length,) = struct.unpack("!H", await reader.readexactly(2))
                    data = await reader.readexactly(length)
                try:
                    query = parse_query(data)
                except BadQuery:
                    answer: bytes | None = format_error(data)
                else:
                    given = self._answer(query, True) or self._forwarder.ask(query, True)
                    answer = given if isinstance(given, bytes) else await given
                if answer is None:
                    return
                writer.write(struct.pack("!H", len(answer)) + answer)
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()
