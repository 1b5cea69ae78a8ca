"""The event loop's ends of pipes and terminals: readers that feed an attachment, writers that wait their turn."""

import asyncio
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wherry.engine.streams import Attachment

_SIZE = 65536


async def readable(descriptor: int) -> None:
    """Return when `descriptor` has something to read, or has ended."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(descriptor, _finish, ready)
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)


async def writable(descriptor: int) -> None:
    """Return when `descriptor` takes more."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_writer(descriptor, _finish, ready)
    try:
        await ready
    finally:
        loop.remove_writer(descriptor)


def _finish(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)


class PipeReader:
    """Feeds what arrives on `descriptor` (which it owns) to an attachment, as long as that has room.

    With `started`, nothing is fed before that is true: until then the runtime speaks, not the process.
    """

    _RECHECK = 0.02

    def __init__(
        self, descriptor: int, stream: int, attachment: "Attachment", started: Callable[[], bool] | None = None
    ) -> None:
        self._started = started
        self._held: list[bytes] = []
        self._descriptor = descriptor
        self._stream = stream
        self._attachment = attachment
        self._reading = False
        os.set_blocking(descriptor, False)
        self.resume()

    def resume(self) -> None:
        if self._descriptor >= 0 and not self._reading and not self._attachment.full:
            asyncio.get_running_loop().add_reader(self._descriptor, self._readable)
            self._reading = True

    def drain(self, *, discard_held: bool = False) -> None:
        """Take what is there now, then close. `discard_held`: the process never started, so nothing is its own."""
        while self._descriptor >= 0 and self._read():
            continue
        self._close()
        self._started = None
        if not discard_held:
            self._release()
        self._held.clear()

    def _release(self) -> None:
        """Feed what was held, once the process has started."""
        if not self._held:
            return
        if self._started is not None and not self._started():
            asyncio.get_running_loop().call_later(self._RECHECK, self._release)
            return
        self._started = None
        for data in self._held:
            self._attachment.feed(self._stream, data)
        self._held.clear()

    def _readable(self) -> None:
        if self._read() and self._attachment.full:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            self._reading = False

    def _read(self) -> bool:
        try:
            data = os.read(self._descriptor, _SIZE)
        except BlockingIOError:
            return False
        except OSError:
            # EIO: the last user of a terminal has closed it.
            data = b""
        if not data:
            self._close()
            return False
        if self._started is not None:
            self._held.append(data)
            if len(self._held) == 1:
                self._release()
            return True
        self._attachment.feed(self._stream, data)
        return True

    def _close(self) -> None:
        if self._descriptor >= 0:
            if self._reading:
                asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1


class PipeWriter:
    """Writes to a descriptor (which it owns) without blocking. It may come later: writers wait for it."""

    def __init__(self, descriptor: int = -1) -> None:
        self._descriptor = -1
        self._opened = asyncio.Event()
        self._closed = False
        self._lock = asyncio.Lock()
        if descriptor >= 0:
            self.open(descriptor)

    def open(self, descriptor: int) -> None:
        if self._closed:
            os.close(descriptor)
            return
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._opened.set()

    async def write(self, data: bytes) -> None:
        """All of it; dropped when the other side is gone."""
        await self._opened.wait()
        async with self._lock:
            view = memoryview(data)
            while view and self._descriptor >= 0:
                try:
                    view = view[os.write(self._descriptor, view) :]
                except BlockingIOError:
                    await writable(self._descriptor)
                except OSError:
                    self.close()

    def close(self) -> None:
        """Idempotent. What is being written is cut short."""
        self._closed = True
        self._opened.set()
        if self._descriptor >= 0:
            asyncio.get_running_loop().remove_writer(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
