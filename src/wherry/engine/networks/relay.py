"""The userland path of published ports: what the kernel cannot translate.

That is a connection to an IPv6 address of the host when the container has IPv4 only, and to ::1 in any case. Such
connections reach the socket that holds the port, and are copied from there to the container.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any

Target = tuple[str, int]

_CHUNK = 1 << 16
UDP_IDLE = 90.0
"""Seconds after which a UDP client's association is forgotten."""


class TcpRelay:
    """Accepts on `listener` (which it does not own) and copies both ways until `close()`."""

    def __init__(self, listener: socket.socket, target: Target) -> None:
        self._target = target
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(listener.fileno(), self._accept)

    def close(self) -> None:
        """Idempotent; call it before the listener is closed."""
        if self._listener.fileno() >= 0:
            self._loop.remove_reader(self._listener.fileno())
        for task in tuple(self._tasks):
            task.cancel()

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        client.setblocking(False)
        task = self._loop.create_task(self._carry(client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_INET6 if ":" in self._target[0] else socket.AF_INET, socket.SOCK_STREAM)
        server.setblocking(False)
        with client, server, contextlib.suppress(OSError):
            await self._loop.sock_connect(server, self._target)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._copy(client, server))
                group.create_task(self._copy(server, client))

    async def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := await self._loop.sock_recv(source, _CHUNK):
                await self._loop.sock_sendall(sink, data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


class UdpRelay:
    """The same for datagrams: one socket towards the container per client."""

    def __init__(self, listener: socket.socket, target: Target) -> None:
        self._listener, self._target = listener, target
        self._loop = asyncio.get_running_loop()
        self._clients: dict[Any, tuple[socket.socket, asyncio.TimerHandle]] = {}
        self._loop.add_reader(listener.fileno(), self._from_client)

    def close(self) -> None:
        if self._listener.fileno() >= 0:
            self._loop.remove_reader(self._listener.fileno())
        for client in tuple(self._clients):
            self._forget(client)

    def _forget(self, client: Any) -> None:
        server, timer = self._clients.pop(client)
        timer.cancel()
        self._loop.remove_reader(server.fileno())
        server.close()

    def _touch(self, client: Any) -> None:
        server, timer = self._clients[client]
        timer.cancel()
        self._clients[client] = (server, self._loop.call_later(UDP_IDLE, self._forget, client))

    def _from_client(self) -> None:
        try:
            data, client = self._listener.recvfrom(_CHUNK)
        except OSError:
            return
        if client not in self._clients:
            family = socket.AF_INET6 if ":" in self._target[0] else socket.AF_INET
            server = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            try:
                server.connect(self._target)
            except OSError:
                server.close()
                return
            self._loop.add_reader(server.fileno(), self._from_server, server, client)
            self._clients[client] = (server, self._loop.call_later(UDP_IDLE, self._forget, client))
        self._touch(client)
        with contextlib.suppress(OSError):
            self._clients[client][0].send(data)

    def _from_server(self, server: socket.socket, client: Any) -> None:
        try:
            data = server.recv(_CHUNK)
        except OSError:
            return
        self._touch(client)
        with contextlib.suppress(OSError):
            self._listener.sendto(data, client)


Relay = TcpRelay | UdpRelay
MakeRelay = Callable[[socket.socket, Target], Relay]
RELAYS: dict[str, MakeRelay] = {"tcp": TcpRelay, "udp": UdpRelay}
