"""Notices that a client which has half-closed its connection is now gone altogether.

After a half-close the event loop no longer reads the connection, so it learns of the rest only when it writes. A
container that prints nothing would keep such a connection for ever. The kernel tells by EPOLLHUP.
"""

import asyncio
import select
from collections.abc import Callable
from contextlib import suppress


class HangupWatcher:
    """One epoll instance for all half-closed connections of a server. Belongs to the event loop's thread."""

    def __init__(self) -> None:
        self._epoll: select.epoll | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watched: dict[int, Callable[[], None]] = {}

    def watch(self, fd: int, gone: Callable[[], None]) -> None:
        """Call `gone` once when the peer of `fd` has closed both ways."""
        if self._epoll is None:
            self._epoll = select.epoll()
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self._epoll.fileno(), self._ready)
        # No events asked for: the kernel reports EPOLLHUP and EPOLLERR unasked.
        with suppress(OSError):
            self._epoll.register(fd, 0)
            self._watched[fd] = gone

    def forget(self, fd: int) -> None:
        """Idempotent; call it before the descriptor's number can be used again."""
        if self._watched.pop(fd, None) is not None and self._epoll is not None:
            # A closed descriptor has left the epoll instance by itself.
            with suppress(OSError):
                self._epoll.unregister(fd)

    def close(self) -> None:
        if self._epoll is not None and self._loop is not None:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None

    def _ready(self) -> None:
        if self._epoll is None:
            return
        for fd, _ in self._epoll.poll(0):
            gone = self._watched.get(fd)
            self.forget(fd)
            if gone is not None:
                gone()
