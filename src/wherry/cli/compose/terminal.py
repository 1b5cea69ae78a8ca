"""The caller's terminal joined to a container's: raw mode, sizes, and the bytes in both directions."""

import contextlib
import os
import signal
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from typing import Any

from wherry.docker_api.client import DockerClient, DockerError, Hijacked


@contextlib.contextmanager
def raw(active: bool) -> Iterator[None]:
    """Standard input in raw mode for the time being, when it is a terminal and `active`."""
    if not active or not sys.stdin.isatty():
        yield
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor, termios.TCSANOW)  # what has been typed already is not lost
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def console_size() -> list[int]:
    """Rows and columns of the terminal, for a body's `ConsoleSize`: so the first program in there knows it at once."""
    with contextlib.suppress(OSError):
        size = os.get_terminal_size(sys.stdout.fileno())
        return [size.lines, size.columns]
    return [0, 0]


def keep_size(client: DockerClient, path: str) -> None:
    """Tells the daemon the terminal's size now and whenever it changes. `path` ends in /resize."""

    def send(*_: Any) -> None:
        with contextlib.suppress(OSError, DockerError):
            size = os.get_terminal_size(sys.stdout.fileno())
            client.post(path, {"h": size.lines, "w": size.columns})

    send()
    signal.signal(signal.SIGWINCH, send)


def join(stream: Hijacked, *, stdin: bool, is_tty: bool, begin: Callable[[], None] | None = None) -> None:
    """Copies until the container's output ends. `begin` is called once the copying is set up."""
    if stdin:
        threading.Thread(target=_feed, args=(stream,), daemon=True).start()
    with raw(is_tty and stdin):
        if begin is not None:
            begin()
        pending = b""
        while data := stream.read():
            if not stream.multiplexed:
                _write(1, data)
                continue
            pending += data
            while len(pending) >= 8 and len(pending) >= 8 + int.from_bytes(pending[4:8], "big"):
                size = int.from_bytes(pending[4:8], "big")
                _write(pending[0], pending[8 : 8 + size])
                pending = pending[8 + size :]


def _feed(stream: Hijacked) -> None:
    with contextlib.suppress(OSError):
        while data := os.read(0, 65536):
            stream.write(data)
        stream.close_write()


def _write(number: int, data: bytes) -> None:
    target = sys.stderr.buffer if number == 2 else sys.stdout.buffer
    target.write(data)
    target.flush()
