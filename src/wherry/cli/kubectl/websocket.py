"""A WebSocket to the API server: RFC 6455's framing, the client's side, over the same connection as http.py's."""

import base64
import os
import select
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from typing import Any

from wherry.cli.kubectl.http import HTTP, Wire, check

BINARY, CLOSE, PING, PONG = 2, 8, 9, 10


class SharedSocket:
    """A socket that one thread reads while others write.

    OpenSSL's connection may be used by one thread at a time, and not by a signal handler in the middle of a call: no
    call blocks while the lock is held.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._socket = connection
        self._lock = threading.Lock()

    def recv(self, size: int) -> bytes:
        while True:
            try:
                with self._lock:
                    return self._socket.recv(size)
            except (ssl.SSLWantReadError, BlockingIOError):
                self._wait(select.POLLIN)
            except ssl.SSLWantWriteError:
                self._wait(select.POLLOUT)

    def sendall(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                with self._lock:
                    view = view[self._socket.send(view) :]
            except (ssl.SSLWantWriteError, BlockingIOError):
                self._wait(select.POLLOUT)
            except ssl.SSLWantReadError:
                # The reader may take what is waited for here.
                self._wait(select.POLLIN, 50)

    def _wait(self, event: int, milliseconds: int | None = None) -> None:
        poll = select.poll()
        poll.register(self._socket, event)
        poll.poll(milliseconds)

    def close(self) -> None:
        self._socket.close()


class WebSocket:
    """An open connection. One thread may receive while others send."""

    def __init__(self, wire: Wire, protocol: str) -> None:
        self.wire = wire
        self.protocol = protocol
        self._lock = threading.Lock()
        wire.socket = SharedSocket(wire.socket)  # type: ignore[assignment]

    def send(self, data: bytes, opcode: int = BINARY) -> None:
        length = len(data)
        if length < 126:
            head = struct.pack("!BB", 0x80 | opcode, 0x80 | length)
        elif length < 65536:
            head = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, length)
        else:
            head = struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, length)
        mask = os.urandom(4)
        # The whole message as one number: Python has no faster way to combine two strings of bytes.
        repeated = (mask * (length // 4 + 1))[:length]
        masked = (int.from_bytes(data, "big") ^ int.from_bytes(repeated, "big")).to_bytes(length, "big")
        with self._lock:
            self.wire.socket.sendall(head + mask + masked)

    def messages(self) -> Iterator[bytes]:
        """Whole messages until the other side closes."""
        parts: list[bytes] = []
        while True:
            try:
                first, second = self.wire.exactly(2)
                length = second & 0x7F
                if length == 126:
                    (length,) = struct.unpack("!H", self.wire.exactly(2))
                elif length == 127:
                    (length,) = struct.unpack("!Q", self.wire.exactly(8))
                data = self.wire.exactly(length)
            except (OSError, ValueError):
                return
            opcode = first & 0x0F
            if opcode == CLOSE:
                return
            if opcode == PING:
                self.send(data, PONG)
            elif opcode != PONG:
                parts.append(data)
                if first & 0x80:
                    yield b"".join(parts)
                    parts = []

    def close(self) -> None:
        try:
            self.send(struct.pack("!H", 1000), CLOSE)
            self.wire.socket.close()
        except OSError:
            return


def connect(http: HTTP, path: str, query: Any, protocols: list[str]) -> WebSocket:
    """Open a WebSocket. Raises ServerError when the server refuses it."""
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        "Sec-WebSocket-Protocol": ", ".join(protocols),
    }
    response = http.send("GET", path, query, headers=headers, fresh=True)
    if response.status != 101:
        check(response.status if response.status >= 400 else 500, response.read())
    return WebSocket(response.wire, response.headers.get("sec-websocket-protocol", ""))
