"""Mounts: bind, overlay, tmpfs, unmount, and what is mounted where. Synchronous: call it in a thread.

Specified in mount(2), umount2(2), fsopen(2), mount_setattr(2) and the kernel's filesystems/overlayfs page.
Every function raises OSError with the target as its filename. Paths are absolute.

An overlay's options must fit one page in mount(2). Kernels from 6.5 take lower layers one by one
(`lowerdir+`), so any number fits; on older ones the layers' common folder becomes the working directory of a
thread of its own, and the layers are named relative to it.
"""

import ctypes
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Propagation = Literal["private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable"]

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MNT_DETACH = 0x2
UMOUNT_NOFOLLOW = 0x8

_PROPAGATION_FLAGS = {
    "private": 1 << 18,
    "shared": 1 << 20,
    "slave": 1 << 19,
    "unbindable": 1 << 17,
}

_AT_FDCWD = -100
_SYS_MOVE_MOUNT, _SYS_FSOPEN, _SYS_FSCONFIG, _SYS_FSMOUNT, _SYS_MOUNT_SETATTR = 429, 430, 431, 432, 442
_FSCONFIG_SET_FLAG, _FSCONFIG_SET_STRING, _FSCONFIG_CMD_CREATE = 0, 1, 6
_CLOEXEC = 1
_MOVE_MOUNT_F_EMPTY_PATH = 4
_AT_RECURSIVE = 0x8000
_MOUNT_ATTR_RDONLY = 1
_CLONE_FS = 0x200

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


@dataclass(frozen=True)
class MountEntry:
    """One line of /proc/self/mountinfo (proc(5)): where, what kind, from what, and the options."""

    target: str
    fstype: str
    source: str
    root: str
    options: str
    super_options: str
    propagation: str


def mount(source: str, target: str | Path, fstype: str, flags: int = 0, data: str = "") -> None:
    """mount(2) as it is."""
    result = _libc.mount(
        os.fsencode(source), os.fsencode(target), fstype.encode(), ctypes.c_ulong(flags), data.encode() or None
    )
    if result != 0:
        _raise(target)


def bind(
    source: str | Path,
    target: str | Path,
    *,
    read_only: bool = False,
    recursive: bool = True,
    propagation: Propagation | None = None,
) -> None:
    """Make `source` (file or folder) visible at `target`, which must exist and be of the same kind.

    `read_only` reaches the mounts below it too when `recursive`. On failure nothing stays mounted.
    """
    mount(os.fspath(source), target, "", MS_BIND | (MS_REC if recursive else 0))
    try:
        if read_only:
            _set_read_only(target, recursive=recursive)
        if propagation is not None:
            set_propagation(target, propagation)
    except OSError:
        unmount(target, lazy=True)
        raise


def set_propagation(target: str | Path, propagation: Propagation) -> None:
    """Change how mounts below `target` spread (shared subtrees in the kernel's documentation)."""
    recursive = propagation.startswith("r")
    kind = propagation[1:] if recursive else propagation
    mount("none", target, "", _PROPAGATION_FLAGS[kind] | (MS_REC if recursive else 0))


def overlay(
    lowers: Sequence[str | Path],
    upper: str | Path | None,
    work: str | Path | None,
    target: str | Path,
    *,
    options: Sequence[str] = (),
) -> None:
    """Mount an overlay of `lowers` (topmost first) at `target`; without `upper` and `work` it is read-only.

    `options` are further overlay options such as `index=off` or `volatile`.
    """
    try:
        _overlay_by_file_descriptor(lowers, upper, work, target, options)
    except OSError as error:
        # EINVAL: no `lowerdir+` (before 6.5); ENOSYS: no fsopen (before 5.2, or a seccomp filter says so).
        if error.errno not in (22, 38):
            raise
        _overlay_by_option_string(lowers, upper, work, target, options)


def tmpfs(target: str | Path, *, size: int | None = None, mode: int = 0o1777, flags: int = MS_NOSUID) -> None:
    """Mount an empty tmpfs of at most `size` bytes (None: the kernel's half of memory)."""
    data = f"mode={mode:o}" + (f",size={size}" if size else "")
    mount("tmpfs", target, "tmpfs", flags, data)


def unmount(target: str | Path, *, lazy: bool = False) -> bool:
    """Unmount what is topmost at `target`; False when nothing is mounted there.

    `lazy` detaches at once even when busy: the kernel frees it when the last user goes.
    """
    flags = UMOUNT_NOFOLLOW | (MNT_DETACH if lazy else 0)
    if _libc.umount2(os.fsencode(target), flags) == 0:
        return True
    errno = ctypes.get_errno()
    if errno in (2, 22):  # ENOENT: no such path; EINVAL: not a mount point
        return False
    raise OSError(errno, os.strerror(errno), os.fspath(target))


def mounts() -> Iterator[MountEntry]:
    """All mounts of this mount namespace, in the kernel's order."""
    with open("/proc/self/mountinfo", "rb") as file:
        for line in file:
            left, _, right = line.decode("utf-8", "surrogateescape").partition(" - ")
            fields = left.split(" ")
            fstype, source, super_options = [*right.rstrip("\n").split(" ", 2), "", ""][:3]
            tags = [field for field in fields[6:] if field]
            yield MountEntry(
                target=_unescape(fields[4]),
                fstype=fstype,
                source=_unescape(source),
                root=_unescape(fields[3]),
                options=fields[5],
                super_options=super_options,
                propagation=" ".join(tags),
            )


def mounts_under(prefix: str | Path) -> list[str]:
    """Targets at or below `prefix`, deepest and latest first: the order in which to unmount them."""
    wanted = os.fspath(prefix).rstrip("/")
    found = [entry.target for entry in mounts() if entry.target == wanted or entry.target.startswith(wanted + "/")]
    found.reverse()
    return sorted(found, key=lambda target: target.count("/"), reverse=True)


def unmount_under(prefix: str | Path, *, lazy: bool = True) -> int:
    """Unmount all at or below `prefix`; how many there were."""
    return sum(unmount(target, lazy=lazy) for target in mounts_under(prefix))


def is_mounted(target: str | Path) -> bool:
    """Whether something is mounted exactly at `target`."""
    wanted = os.fspath(target)
    return any(entry.target == wanted for entry in mounts())


def _overlay_by_file_descriptor(
    lowers: Sequence[str | Path],
    upper: str | Path | None,
    work: str | Path | None,
    target: str | Path,
    options: Sequence[str],
) -> None:
    context = _call(_SYS_FSOPEN, b"overlay", _CLOEXEC, target=target)
    try:

        def configure(command: int, key: str | None, value: str | Path | None) -> None:
            _call(
                _SYS_FSCONFIG,
                context,
                command,
                key.encode() if key else None,
                os.fsencode(value) if value is not None else None,
                0,
                target=target,
            )

        configure(_FSCONFIG_SET_STRING, "source", "overlay")
        for lower in lowers:
            configure(_FSCONFIG_SET_STRING, "lowerdir+", lower)
        if upper is not None and work is not None:
            configure(_FSCONFIG_SET_STRING, "upperdir", upper)
            configure(_FSCONFIG_SET_STRING, "workdir", work)
        for option in options:
            key, separator, value = option.partition("=")
            configure(_FSCONFIG_SET_STRING if separator else _FSCONFIG_SET_FLAG, key, value if separator else None)
        configure(_FSCONFIG_CMD_CREATE, None, None)
        mounted = _call(_SYS_FSMOUNT, context, _CLOEXEC, 0, target=target)
        try:
            _call(
                _SYS_MOVE_MOUNT,
                mounted,
                b"",
                _AT_FDCWD,
                os.fsencode(target),
                _MOVE_MOUNT_F_EMPTY_PATH,
                target=target,
            )
        finally:
            os.close(mounted)
    finally:
        os.close(context)


def _overlay_by_option_string(
    lowers: Sequence[str | Path],
    upper: str | Path | None,
    work: str | Path | None,
    target: str | Path,
    options: Sequence[str],
) -> None:
    base = os.path.commonpath([os.fspath(lower) for lower in lowers])
    if os.fspath(lowers[0]) == base:
        base = os.path.dirname(base)
    names = ":".join(_escape_option(os.path.relpath(lower, base)) for lower in lowers)
    data = f"lowerdir={names}"
    if upper is not None and work is not None:
        data += f",upperdir={_escape_option(os.fspath(upper))},workdir={_escape_option(os.fspath(work))}"
    data = ",".join([data, *options])
    errors: list[OSError] = []

    def in_own_directory() -> None:
        # The working directory belongs to the process unless a thread unshares it.
        try:
            if _libc.unshare(_CLONE_FS) != 0:
                _raise(target)
            os.chdir(base)
            mount("overlay", target, "overlay", 0, data)
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=in_own_directory, name="wherry-overlay")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


class _MountAttr(ctypes.Structure):
    _fields_ = [
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    ]


def _set_read_only(target: str | Path, *, recursive: bool) -> None:
    attributes = _MountAttr(attr_set=_MOUNT_ATTR_RDONLY)
    try:
        _call(
            _SYS_MOUNT_SETATTR,
            _AT_FDCWD,
            os.fsencode(target),
            _AT_RECURSIVE if recursive else 0,
            ctypes.byref(attributes),
            ctypes.c_size_t(ctypes.sizeof(attributes)),
            target=target,
        )
    except OSError as error:
        if error.errno != 38:  # ENOSYS before 5.12: then only the top mount can be made read-only
            raise
        mount("none", target, "", MS_REMOUNT | MS_BIND | MS_RDONLY)


def _call(number: int, *arguments: object, target: str | Path) -> int:
    result = int(_libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        _raise(target)
    return result


def _raise(target: str | Path) -> None:
    errno = ctypes.get_errno()
    raise OSError(errno, os.strerror(errno), os.fspath(target))


def _escape_option(path: str) -> str:
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")


def _unescape(field: str) -> str:
    if "\\" not in field:
        return field
    for escape, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(escape, character)
    return field
