"""Be told when files change: inotify(7) as an awaitable."""

import asyncio
import ctypes
import os
from pathlib import Path

IN_MODIFY = 0x2
IN_ATTRIB = 0x4
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_DELETE = 0x200

_IN_NONBLOCK, _IN_CLOEXEC = os.O_NONBLOCK, os.O_CLOEXEC
_libc = ctypes.CDLL(None, use_errno=True)


class Watch:
    """One folder (or file) that is watched. `await changed()` returns after the next change, or at once when one
    happened since the last call. Close it."""

    def __init__(self, path: Path, events: int = IN_MODIFY | IN_MOVED_TO | IN_CREATE) -> None:
        """Raises OSError when `path` is missing or the user's inotify limits are reached."""
        self._descriptor = _libc.inotify_init1(_IN_NONBLOCK | _IN_CLOEXEC)
        if self._descriptor < 0:
            _raise(path)
        if _libc.inotify_add_watch(self._descriptor, os.fsencode(path), events) < 0:
            os.close(self._descriptor)
            _raise(path)
        self._wake = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._descriptor, self._readable)

    async def changed(self) -> None:
        await self._wake.wait()
        self._wake.clear()

    def poke(self) -> None:
        """Wake whoever waits, for a reason of the caller's own."""
        self._wake.set()

    def close(self) -> None:
        """Idempotent."""
        if self._descriptor >= 0:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def _readable(self) -> None:
        # What changed does not matter, only that something did: empty the queue.
        try:
            os.read(self._descriptor, 65536)
        except BlockingIOError:
            return
        self._wake.set()


def _raise(path: Path) -> None:
    errno = ctypes.get_errno()
    raise OSError(errno, os.strerror(errno), os.fspath(path))
