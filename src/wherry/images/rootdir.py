"""Paths inside a directory that is somebody else's root file system.

Every lookup goes through openat2(2) with RESOLVE_IN_ROOT: symbolic links and `..` resolve as they would after
chroot(2), so no name in an archive or an image can reach outside, and no check races with a later use.
"""

import ctypes
import errno
import os
from typing import Self

_SYS_OPENAT2 = 437
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_IN_ROOT = 0x10


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def open_in_root(root_fd: int, path: bytes, flags: int, mode: int = 0) -> int:
    """open(2) of `path` as if `root_fd` were `/`. Raises OSError; retries when a rename interferes (EAGAIN)."""
    how = _OpenHow(flags | os.O_CLOEXEC, mode, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
    while True:
        fd = _libc.syscall(
            ctypes.c_long(_SYS_OPENAT2), ctypes.c_int(root_fd), path or b".", ctypes.byref(how), ctypes.c_size_t(24)
        )
        if fd >= 0:
            return int(fd)
        error = ctypes.get_errno()
        if error not in (errno.EAGAIN, errno.EINTR):
            raise OSError(error, os.strerror(error), os.fsdecode(path))


def clean(path: bytes) -> bytes:
    """The path without a leading slash, `.` and empty parts, with `..` folded where it can be.

    What remains may still begin with `..`: the caller decides whether that is an attack.
    """
    parts: list[bytes] = []
    absolute = path.startswith(b"/")
    for part in path.split(b"/"):
        if part in (b"", b"."):
            continue
        if part == b"..":
            if parts and parts[-1] != b"..":
                parts.pop()
            elif not absolute:
                parts.append(part)
        else:
            parts.append(part)
    return b"/".join(parts)


class RootDir:
    """A directory tree that is resolved as a root. Keeps a few parent directories open, for speed."""

    def __init__(self, path: bytes | str | os.PathLike[str], cached: int = 64) -> None:
        self.fd = os.open(path, os.O_PATH | os.O_DIRECTORY)
        self._base = os.readlink(b"/proc/self/fd/%d" % self.fd)
        self._parents: dict[bytes, tuple[int, bytes]] = {}
        self._cached = cached

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.forget()
        os.close(self.fd)

    def forget(self) -> None:
        """Drop the open parents; needed after a directory or a symbolic link has been replaced."""
        for fd, _ in self._parents.values():
            os.close(fd)
        self._parents.clear()

    def parent(self, directory: bytes) -> tuple[int, bytes]:
        """(descriptor, real path below the root) of an existing directory; the descriptor stays ours.

        It is valid until the cache turns over: use it at once. Raises OSError (ENOENT, ENOTDIR, ELOOP).
        """
        known = self._parents.get(directory)
        if known is not None:
            return known
        fd = open_in_root(self.fd, directory, os.O_PATH | os.O_DIRECTORY)
        real = os.readlink(b"/proc/self/fd/%d" % fd)[len(self._base) :].strip(b"/")
        if len(self._parents) >= self._cached:
            oldest = next(iter(self._parents))
            os.close(self._parents.pop(oldest)[0])
        self._parents[directory] = (fd, real)
        return fd, real

    def open(self, path: bytes, flags: int, mode: int = 0) -> int:
        return open_in_root(self.fd, path, flags, mode)

    def lstat(self, path: bytes) -> os.stat_result:
        """stat of the last part itself, links in the parts before it resolved in the root."""
        directory, _, name = path.rpartition(b"/")
        if not name:
            return os.fstat(self.fd)
        fd, _ = self.parent(directory)
        return os.stat(name, dir_fd=fd, follow_symlinks=False)

    def lexists(self, path: bytes) -> bool:
        try:
            self.lstat(path)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return False
            raise
        return True
