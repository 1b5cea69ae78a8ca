"""Being told by the kernel that something in a folder has changed (inotify)."""

import asyncio
import ctypes
import os
from pathlib import Path

_CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x8, 0x40, 0x80, 0x100, 0x200
_EVENTS = _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE
_CHUNK = 64 * 1024


class FolderWatch:
    """A context manager; `wait()` returns once something changed since it was last called. Raises OSError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor = -1
        self._changed = asyncio.Event()

    def __enter__(self) -> "FolderWatch":
        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0 or libc.inotify_add_watch(self._descriptor, os.fsencode(self._folder), _EVENTS) < 0:
            code = ctypes.get_errno()
            self._close()
            raise OSError(code, os.strerror(code), str(self._folder))
        asyncio.get_running_loop().add_reader(self._descriptor, self._read)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        self._close()

    async def wait(self) -> None:
        await self._changed.wait()
        self._changed.clear()

    def _read(self) -> None:
        # What exactly happened does not matter: whoever waits reads the folder again.
        try:
            os.read(self._descriptor, _CHUNK)
        except BlockingIOError:
            return
        self._changed.set()

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
