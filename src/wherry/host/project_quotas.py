"""How much a directory may hold, where its filesystem can say so: ext4 and XFS mounted with `prjquota`.

A directory with a project id of its own hands it on to all that is made below it, and the filesystem counts and limits
what belongs to the id. Who has CAP_SYS_RESOURCE is not held back, which containers do not have. Everything blocks.

Specified in quotactl_fd(2) and ioctl_fsgetxattr(2).
"""

import ctypes
import fcntl
import hashlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path

_GET_ATTRIBUTES, _SET_ATTRIBUTES = 0x801C581F, 0x401C5820
_attributes = struct.Struct("=IIIII8x")
"""Flags, extent size, number of extents, project id, copy-on-write extent size."""
_HAND_ON = 0x200

_QUOTACTL_FD = 443
_GET_QUOTA, _SET_QUOTA = (0x800007 << 8) | 2, (0x800008 << 8) | 2
_quota = struct.Struct("=QQQQQQQQI4x")
"""Hard and soft limit in KiB, bytes used, the same of inodes, two times, and which of them are meant."""
_BLOCK_LIMITS = 1

_FIRST, _IDS = 0x57000000, 1 << 24


def limit(path: Path, size: int) -> bool:
    """Let the directory hold at most `size` bytes, from now on; again with another `size` to change it.

    False where the filesystem does not enforce it, or the directory already holds what was not counted; it is then as
    it was.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        flags, extent, number, project, copy = _attributes.unpack(
            fcntl.ioctl(descriptor, _GET_ATTRIBUTES, bytes(_attributes.size))
        )
        if not (project and flags & _HAND_ON):
            if os.listdir(descriptor):
                return False
            project = next(one for one in _ids(path) if _is_free(descriptor, one))
            _set_quota(descriptor, project, size)
            changed = _attributes.pack(flags | _HAND_ON, extent, number, project, copy)
            fcntl.ioctl(descriptor, _SET_ATTRIBUTES, changed)
        else:
            _set_quota(descriptor, project, size)
    except (OSError, StopIteration):
        return False
    finally:
        os.close(descriptor)
    return True


def _ids(path: Path) -> Iterator[int]:
    start = int.from_bytes(hashlib.sha256(os.fsencode(path)).digest()[:3], "big")
    return (_FIRST + (start + step) % _IDS for step in range(64))


def _is_free(descriptor: int, project: int) -> bool:
    """Raises OSError when the filesystem keeps no quotas of projects."""
    hard, _, used, *_ = _quota.unpack(_call(descriptor, _GET_QUOTA, project, bytes(_quota.size)))
    return not hard and not used


def _set_quota(descriptor: int, project: int, size: int) -> None:
    kibibytes = max(1, size // 1024)
    _call(descriptor, _SET_QUOTA, project, _quota.pack(kibibytes, kibibytes, 0, 0, 0, 0, 0, 0, _BLOCK_LIMITS))


def _call(descriptor: int, command: int, project: int, data: bytes) -> bytes:
    library = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(data, len(data))
    if library.syscall(_QUOTACTL_FD, descriptor, ctypes.c_uint(command), ctypes.c_uint(project), buffer):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return buffer.raw
