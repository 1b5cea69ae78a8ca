"""Standard streams of a container or an exec, live: who writes, who reads, who falls behind.

A *hub* is the one connection to a container's monitor; an *attachment* is one client's view of it. Several may be
attached at once; each gets every byte from its beginning on. A client that reads too slowly holds the container
up once `HIGH_WATER` bytes wait for it, as with Docker.
"""

import asyncio
import contextlib
import os
import socket
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from wherry.engine import monitor
from wherry.engine.errors import InvalidParameter

STDIN, STDOUT, STDERR = 0, 1, 2
Frame = tuple[int, bytes]

HIGH_WATER = 1 << 20
LOW_WATER = 1 << 18
_PACKET = 8193
_CHUNK = 8192
"""The monitor reads its attach socket in packets of at most this size."""


class Attachment:
    """One client's connection to a running process: iterate over `(stream, bytes)`, and write to stdin.

    The iteration ends when the process has ended and all its output was read, or after `detach`.
    """

    def __init__(
        self,
        *,
        stdout: bool = True,
        stderr: bool = True,
        tty: bool = False,
        write: Callable[[bytes], Awaitable[None]] | None = None,
        close_stdin: Callable[[], None] | None = None,
        on_room: Callable[[], None] | None = None,
        on_detach: Callable[["Attachment"], None] | None = None,
    ) -> None:
        self.tty = tty
        self._wanted = {stream for stream, wanted in ((STDOUT, stdout), (STDERR, stderr)) if wanted}
        self._write = write
        self._close_stdin = close_stdin
        self._on_room = on_room
        self._on_detach = on_detach
        self._frames: deque[Frame] = deque()
        self._waiting_bytes = 0
        self._wake = asyncio.Event()
        self._ended = False
        self.detached = False

    @property
    def has_stdin(self) -> bool:
        return self._write is not None

    @property
    def full(self) -> bool:
        """Whether the client has fallen so far behind that the process must wait."""
        return self._waiting_bytes >= HIGH_WATER

    def feed(self, stream: int, data: bytes) -> None:
        """Output for this client (from the hub)."""
        if stream in self._wanted and not self.detached:
            self._frames.append((stream, data))
            self._waiting_bytes += len(data)
            self._wake.set()

    def prepend(self, frames: list[Frame]) -> None:
        """What the log already has, before anything live."""
        for stream, data in reversed(frames):
            if stream in self._wanted:
                self._frames.appendleft((stream, data))
                self._waiting_bytes += len(data)
        self._wake.set()

    def take(self) -> list[Frame]:
        """All that waits to be read, at once."""
        frames = list(self._frames)
        self._frames.clear()
        self._waiting_bytes = 0
        if self._on_room is not None:
            self._on_room()
        return frames

    def end(self) -> None:
        """No more output will come."""
        self._ended = True
        self._wake.set()

    async def write(self, data: bytes) -> None:
        """To the process's stdin; dropped when it has none or has ended."""
        if self._write is not None and not self.detached:
            await self._write(data)

    def close_stdin(self) -> None:
        """The client has sent all it wants to."""
        if self._close_stdin is not None and not self.detached:
            self._close_stdin()

    def detach(self) -> None:
        """Stop: the process goes on. Idempotent."""
        if self.detached:
            return
        self.detached = True
        self._frames.clear()
        self._waiting_bytes = 0
        self.end()
        if self._on_detach is not None:
            self._on_detach(self)

    def __aiter__(self) -> AsyncIterator[Frame]:
        return self

    async def __anext__(self) -> Frame:
        while not self._frames:
            if self._ended:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        frame = self._frames.popleft()
        before = self._waiting_bytes
        self._waiting_bytes -= len(frame[1])
        if before >= LOW_WATER > self._waiting_bytes and self._on_room is not None:
            self._on_room()
        return frame


class Hub:
    """The connection to one container's monitor, shared by all who are attached to it.

    It may be made before the container runs: attachments then wait for `connect`.
    """

    def __init__(self, *, stdin: bool, stdin_once: bool, tty: bool) -> None:
        self._stdin = stdin
        self._stdin_once = stdin_once
        self._tty = tty
        self._socket: socket.socket | None = None
        self._attachments: list[Attachment] = []
        self._connected = asyncio.Event()
        self._reading = False
        self._writer_lock = asyncio.Lock()
        self._stdin_closed = False
        self._ended = False

    @property
    def connected(self) -> bool:
        return self._socket is not None

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for the container's start."""
        return bool(self._attachments)

    def attach(self, *, stdin: bool, stdout: bool, stderr: bool) -> Attachment:
        attachment = Attachment(
            stdout=stdout,
            stderr=stderr,
            tty=self._tty,
            write=self._write if stdin and self._stdin else None,
            close_stdin=self._close_stdin if stdin and self._stdin and self._stdin_once else None,
            on_room=self._resume,
            on_detach=self._detached,
        )
        self._attachments.append(attachment)
        return attachment

    def connect(self, bundle: Path) -> None:
        """Connect to the monitor. Raises OSError when there is none."""
        if self._socket is not None:
            return
        self._socket = monitor.connect(bundle)
        self._ended = False
        self._connected.set()
        self._resume()

    def finish(self) -> None:
        """The container has ended: read what is left, then end all attachments."""
        if self._socket is not None and not self._ended:
            self._pause()
            self._drain()
        self._end()

    def _resume(self) -> None:
        if self._socket is None or self._reading or self._ended:
            return
        if not any(attachment.full for attachment in self._attachments):
            asyncio.get_running_loop().add_reader(self._socket.fileno(), self._readable)
            self._reading = True

    def _pause(self) -> None:
        if self._reading and self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._reading = False

    def _readable(self) -> None:
        for _ in range(64):
            if not self._receive():
                return
        if any(attachment.full for attachment in self._attachments):
            self._pause()

    def _receive(self) -> bool:
        """One packet; False when there is none now."""
        assert self._socket is not None
        try:
            packet = self._socket.recv(_PACKET)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            packet = b""
        if not packet:
            self._end()
            return False
        stream = STDERR if packet[0] == 3 else STDOUT
        data = packet[1:]
        for attachment in self._attachments:
            attachment.feed(stream, data)
        return True

    def _drain(self) -> None:
        while not self._ended and self._receive():
            continue

    def _end(self) -> None:
        self._pause()
        self._ended = True
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._connected.set()
        for attachment in self._attachments:
            attachment.end()
        self._attachments.clear()

    async def _write(self, data: bytes) -> None:
        if self._stdin_closed:
            return
        await self._connected.wait()
        loop = asyncio.get_running_loop()
        async with self._writer_lock:
            for start in range(0, len(data), _CHUNK):
                connection = self._socket
                if connection is None:
                    return
                with contextlib.suppress(OSError):
                    await loop.sock_sendall(connection, data[start : start + _CHUNK])

    def _close_stdin(self) -> None:
        if self._stdin_closed:
            return
        self._stdin_closed = True
        task = asyncio.get_running_loop().create_task(self._shut_down_writing())
        self._closing = task

    async def _shut_down_writing(self) -> None:
        await self._connected.wait()
        async with self._writer_lock:
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_WR)

    def _detached(self, attachment: Attachment) -> None:
        if attachment in self._attachments:
            self._attachments.remove(attachment)
        if attachment.has_stdin and self._stdin_once:
            # Docker closes stdin when the one client that was meant to feed it goes.
            self._close_stdin()
        if not self._attachments and self._socket is not None and not (self._stdin and self._stdin_once):
            self._pause()
            self._socket.close()
            self._socket = None
            self._connected.clear()
        else:
            self._resume()


DEFAULT_DETACH_KEYS = b"\x10\x11"
"""Ctrl-P, Ctrl-Q."""


def parse_detach_keys(text: str) -> bytes:
    """`ctrl-p,ctrl-q`, `a,b`, … as bytes. Raises InvalidParameter."""
    if not text:
        return DEFAULT_DETACH_KEYS
    result = bytearray()
    for key in text.split(","):
        if len(key) == 1:
            result += key.encode()
        elif key.startswith("ctrl-") and len(key) == 6 and key[5] in "abcdefghijklmnopqrstuvwxyz@[\\]^_":
            result.append(ord(key[5].upper()) - 64)
        else:
            raise InvalidParameter(f"Invalid detach keys ({text}) provided")
    return bytes(result)


class DetachKeys:
    """Finds the keys that mean "let go of the terminal" in what a client types."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._seen = 0

    def filter(self, data: bytes) -> tuple[bytes, bool]:
        """(what goes on to the process, whether to detach)."""
        result = bytearray()
        for byte in data:
            if byte == self._keys[self._seen]:
                self._seen += 1
                if self._seen == len(self._keys):
                    return bytes(result), True
                continue
            if self._seen:
                result += self._keys[: self._seen]
                self._seen = 0
                if byte == self._keys[0]:
                    self._seen = 1
                    continue
            result.append(byte)
        return bytes(result), False


def close_quietly(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        os.close(descriptor)
