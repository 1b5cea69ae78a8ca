"""Paths inside a container's root file system, resolved so that no link in it leads out of it.

The kernel does the resolving (openat2(2), RESOLVE_IN_ROOT), so a container that changes its links meanwhile gains
nothing. All functions are synchronous; errors are OSError as from open(2).
"""

import ctypes
import os
from pathlib import Path

_SYS_OPENAT2 = 437
_RESOLVE_IN_ROOT = 0x10
_RESOLVE_NO_MAGICLINKS = 0x02
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

O_PATH: int = os.O_PATH


class _OpenHow(ctypes.Structure):
    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


def open_in_root(root: int, path: str, flags: int, mode: int = 0) -> int:
    """Open `path` as if the directory behind the descriptor `root` were `/`. Returns a descriptor (close-on-exec).

    With `os.O_NOFOLLOW` a link in the last component is an error (or, with O_PATH, opened itself).
    """
    how = _OpenHow(flags | os.O_CLOEXEC, mode, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
    name = os.fsencode(path)
    result = int(
        _libc.syscall(ctypes.c_long(_SYS_OPENAT2), root, name, ctypes.byref(how), ctypes.c_size_t(ctypes.sizeof(how)))
    )
    if result < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno), path)
    return result


def open_root(root: Path | str) -> int:
    """A descriptor of the directory that stands for `/`."""
    return os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def read_text(root: Path | str, path: str, limit: int = 1 << 20) -> str | None:
    """Content of a regular file of at most `limit` bytes inside `root`; None when there is none."""
    base = open_root(root)
    try:
        try:
            descriptor = open_in_root(base, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            return file.read(limit).decode("utf-8", "replace")
    finally:
        os.close(base)


def resolve(root: Path | str, path: str) -> Path:
    """The host path that `path` inside `root` leads to now. Only for what is not under the container's control."""
    base = open_root(root)
    try:
        descriptor = open_in_root(base, path, O_PATH)
        try:
            return Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        finally:
            os.close(descriptor)
    finally:
        os.close(base)


def make_directory(root: Path | str, path: str, mode: int = 0o755, uid: int = 0, gid: int = 0) -> int:
    """Open the directory `path` inside `root`, making what is missing of it. Returns a descriptor (O_PATH)."""
    base = open_root(root)
    try:
        current = os.dup(base)
        done = ""
        for part in [piece for piece in path.split("/") if piece not in ("", ".")]:
            done = f"{done}/{part}"
            try:
                following = open_in_root(base, done, O_PATH | os.O_DIRECTORY)
            except FileNotFoundError:
                if part == "..":
                    os.close(current)
                    raise
                try:
                    os.mkdir(part, mode, dir_fd=current)
                    if uid or gid:
                        os.chown(part, uid, gid, dir_fd=current, follow_symlinks=False)
                except FileExistsError:
                    # A dangling link, or somebody was faster: opening tells which.
                    pass
                try:
                    following = open_in_root(base, done, O_PATH | os.O_DIRECTORY)
                except OSError:
                    os.close(current)
                    raise
            except OSError:
                os.close(current)
                raise
            os.close(current)
            current = following
        return current
    finally:
        os.close(base)


def make_file(root: Path | str, path: str) -> None:
    """Make sure a file (or anything else) exists at `path` inside `root`: something to mount over."""
    head, _, name = path.rstrip("/").rpartition("/")
    directory = make_directory(root, head)
    try:
        base = open_root(root)
        try:
            os.close(open_in_root(base, path, O_PATH))
        except FileNotFoundError:
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=directory))
        finally:
            os.close(base)
    finally:
        os.close(directory)
