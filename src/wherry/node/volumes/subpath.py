"""subPath mounts that cannot leave their volume, whatever symlinks a container puts there.

The path is walked one component at a time from the volume's own descriptor without following links, and the
descriptor reached at the end is what gets bind-mounted, so nothing can be swapped between check and use.
"""

import os
import stat
from pathlib import Path

from wherry.host import mounts
from wherry.node.volumes.hostpath import VolumeError


def prepare(volume: Path, subpath: str, target: Path, *, create: bool = True) -> Path:
    """Bind-mount `volume/subpath` onto `target` and return `target`. Missing folders are made. Blocking.

    Raises VolumeError when the path leaves the volume or cannot be made.
    """
    if subpath.startswith("/") or ".." in Path(subpath).parts:
        raise VolumeError(f"subPath {subpath!r} must be a relative path without '..'")
    root = os.path.realpath(volume)
    full = os.path.realpath(os.path.join(root, subpath))
    if full != root and not full.startswith(root + "/"):
        raise VolumeError(f"subpath {full!r} not within volume path {root!r}")
    descriptor = _walk(root, os.path.relpath(full, root), create=create)
    try:
        source = f"/proc/self/fd/{descriptor}"
        if os.path.ismount(target) or _is_mounted_file(target):
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            target.mkdir(exist_ok=True)
        else:
            target.touch()
        mounts.bind(source, target)
    finally:
        os.close(descriptor)
    return target


def _is_mounted_file(target: Path) -> bool:
    return target.is_file() and mounts.is_mounted(target)


def _walk(root: str, relative: str, *, create: bool) -> int:
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    current = os.open(root, flags | os.O_DIRECTORY)
    if relative == ".":
        return current
    for part in relative.split("/"):
        try:
            try:
                following = os.open(part, flags, dir_fd=current)
            except FileNotFoundError:
                if not create:
                    raise
                os.mkdir(part, 0o750, dir_fd=current)
                following = os.open(part, flags, dir_fd=current)
        except OSError as error:
            raise VolumeError(f"cannot open {part!r} of subPath {relative!r}: {error.strerror}") from error
        finally:
            os.close(current)
        current = following
        if stat.S_ISLNK(os.fstat(current).st_mode):
            os.close(current)
            raise VolumeError(f"unexpected symlink found {part!r} in subPath {relative!r}")
    return current
