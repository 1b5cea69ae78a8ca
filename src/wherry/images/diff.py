"""The upper directory of an overlay as a layer: its tar stream, its recipe, and what changed.

The stream depends on the content alone: names sorted bytewise, times cut to the second, no names of users. So
the same files give the same layer digest, and the recipe can be written without ever writing the archive.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .recipe import RecipeWriter
from .rootdir import RootDir
from .tarstream import (
    BLOCKDEV,
    CHAR,
    CHUNK,
    DIRECTORY,
    END,
    FIFO,
    HARDLINK,
    REGULAR,
    SYMLINK,
    Entry,
    encode_header,
    padding,
)
from .unpack import OPAQUE

_KINDS = {
    stat.S_IFREG: REGULAR, stat.S_IFDIR: DIRECTORY, stat.S_IFLNK: SYMLINK,
    stat.S_IFCHR: CHAR, stat.S_IFBLK: BLOCKDEV, stat.S_IFIFO: FIFO,
}  # fmt: skip


@dataclass
class Digested:
    """A layer that has been read once: its digest, the bytes of its files, the length of its archive."""

    diff_id: str
    size: int
    tar_size: int


def is_whiteout(found: os.stat_result) -> bool:
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def is_opaque(path: bytes) -> bool:
    try:
        return os.getxattr(path, OPAQUE, follow_symlinks=False) == b"y"
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP):
            return False
        raise


def clamp_times(top: Path, newest: int) -> None:
    """Set the date of everything below `top` that is newer than `newest` (seconds since 1970) back to it."""
    limit = newest * 1_000_000_000
    for folder, folders, files in os.walk(os.fsencode(top), topdown=False):
        for name in (*files, *folders):
            path = folder + b"/" + name
            if os.lstat(path).st_mtime_ns > limit:
                os.utime(path, ns=(limit, limit), follow_symlinks=False)


def walk(top: Path | bytes, *, flat: bool = False) -> Iterator[tuple[Entry, bytes | None]]:
    """Each entry of the tree with the path its content is at (None when it has none), parents first.

    The tree is an overlay's upper directory; with `flat` it is an ordinary tree (a mounted root, an unpacked
    archive), where a character device 0/0 is just that. The top itself is not an entry.
    """
    base = os.fsencode(top)
    links: dict[tuple[int, int], bytes] = {}
    yield from _walk(base, b"", links, flat)


def _walk(
    base: bytes, inside: bytes, links: dict[tuple[int, int], bytes], flat: bool
) -> Iterator[tuple[Entry, bytes | None]]:
    here = base + b"/" + inside if inside else base
    for name in sorted(os.listdir(here)):
        relative = inside + b"/" + name if inside else name
        full = base + b"/" + relative
        found = os.lstat(full)
        kind = _KINDS.get(stat.S_IFMT(found.st_mode))
        if kind is None:
            continue  # sockets belong to a running process, not to an image
        if kind == CHAR and not flat and is_whiteout(found):
            yield Entry((inside + b"/" if inside else b"") + b".wh." + name, REGULAR, 0, size=0), None
            continue
        entry = Entry(
            relative, kind, stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, 0,
            found.st_mtime_ns // 1_000_000_000 * 1_000_000_000,
        )  # fmt: skip
        if kind == REGULAR:
            if found.st_nlink > 1:
                first = links.setdefault((found.st_dev, found.st_ino), relative)
                if first is not relative:
                    entry.type, entry.linkname = HARDLINK, first
                    yield entry, None
                    continue
            entry.size = found.st_size
            _read_xattrs(full, entry)
            yield entry, full
        elif kind == DIRECTORY:
            entry.name += b"/"
            _read_xattrs(full, entry)
            opaque = not flat and is_opaque(full)
            yield entry, None
            if opaque:
                yield Entry(relative + b"/.wh..wh..opq", REGULAR, 0, size=0), None
            yield from _walk(base, relative, links, flat)
        else:
            if kind == SYMLINK:
                entry.linkname = os.readlink(full)
            elif kind in (CHAR, BLOCKDEV):
                entry.major, entry.minor = os.major(found.st_rdev), os.minor(found.st_rdev)
            _read_xattrs(full, entry)
            yield entry, None


def _read_xattrs(path: bytes, entry: Entry) -> None:
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return
        raise
    for name in names:
        if name.startswith(("trusted.overlay.", "system.", "security.selinux")):
            continue
        entry.xattrs[os.fsencode(name)] = os.getxattr(path, name, follow_symlinks=False)


def tar_stream(
    top: Path | bytes,
    *,
    flat: bool = False,
    recipe: RecipeWriter | None = None,
    adjust: Callable[[Entry], Entry | None] | None = None,
) -> Iterator[bytes]:
    """The tar stream of the tree. `adjust` may change an entry or leave it out (None)."""
    for entry, source in walk(top, flat=flat):
        if adjust is not None:
            changed = adjust(entry)
            if changed is None:
                continue
            entry = changed
        header = encode_header(entry)
        yield header
        if recipe:
            recipe.raw(header)
        if source is None or entry.type != REGULAR:
            continue
        yield from _file(source, entry.size)
        fill = padding(entry.size)
        yield fill
        if recipe:
            recipe.file(entry.name, entry.size)
            recipe.raw(fill)
    yield END
    if recipe:
        recipe.raw(END)


def _file(path: bytes, size: int) -> Iterator[bytes]:
    """Exactly `size` bytes: a file that is being written to is cut or filled with zeros, as tar does."""
    if not size:
        return
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        left = size
        while left:
            data = os.read(fd, min(left, CHUNK))
            if not data:
                data = bytes(min(left, CHUNK))
            left -= len(data)
            yield data
    finally:
        os.close(fd)


def digest_tree(top: Path, recipe_path: Path | None) -> Digested:
    """Read the upper directory once: the digest of its tar stream, and the recipe written beside it."""
    recipe = RecipeWriter(recipe_path) if recipe_path else None
    digest = hashlib.sha256()
    tar_size = 0
    size = 0

    def count(entry: Entry) -> Entry:
        nonlocal size
        size += entry.size
        return entry

    try:
        for data in tar_stream(top, recipe=recipe, adjust=count):
            digest.update(data)
            tar_size += len(data)
    finally:
        if recipe:
            recipe.close()
    return Digested("sha256:" + digest.hexdigest(), size, tar_size)


MODIFIED, ADDED, DELETED = 0, 1, 2


def changes(upper: Path, lowers: list[Path]) -> list[tuple[bytes, int]]:
    """What `upper` changes in the layers below (topmost first): (absolute path, kind), sorted.

    Kinds are those of Docker's API: 0 modified, 1 added, 2 deleted. A directory that is only in the upper
    because something inside it changed counts as modified when its own time or mode did.
    """
    found: list[tuple[bytes, int]] = []
    layers = [RootDir(path) for path in lowers]
    try:
        base = os.fsencode(upper)
        pending = [b""]
        while pending:
            inside = pending.pop()
            for name in os.listdir(base + b"/" + inside if inside else base):
                relative = inside + b"/" + name if inside else name
                full = base + b"/" + relative
                here = os.lstat(full)
                seen = lookup(layers, relative)
                below = seen[1] if seen else None
                if is_whiteout(here):
                    if below is not None:
                        found.append((b"/" + relative, DELETED))
                    continue
                if stat.S_ISDIR(here.st_mode):
                    pending.append(relative)
                if below is None:
                    found.append((b"/" + relative, ADDED))
                elif not _same_directory(here, below):
                    found.append((b"/" + relative, MODIFIED))
    finally:
        for layer in layers:
            layer.close()
    return sorted(found)


def _same_directory(one: os.stat_result, other: os.stat_result) -> bool:
    return (
        stat.S_ISDIR(one.st_mode)
        and stat.S_ISDIR(other.st_mode)
        and one.st_mode == other.st_mode
        and one.st_mtime_ns == other.st_mtime_ns
        and (one.st_uid, one.st_gid) == (other.st_uid, other.st_gid)
    )


def lookup(layers: list[RootDir], path: bytes) -> tuple[RootDir, os.stat_result] | None:
    """What the union of `layers` (topmost first) shows at `path`: the layer that has it, and its stat."""
    parts = path.split(b"/")
    for layer in layers:
        for depth in range(1, len(parts) + 1):
            try:
                fd, _ = layer.parent(b"/".join(parts[: depth - 1]))
                found = os.stat(parts[depth - 1], dir_fd=fd, follow_symlinks=False)
            except FileNotFoundError:
                break
            if is_whiteout(found):
                return None
            if depth == len(parts):
                return layer, found
            if not stat.S_ISDIR(found.st_mode):
                return None
            if is_opaque(f"/proc/self/fd/{layer.fd}/".encode() + b"/".join(parts[:depth])):
                # Nothing below this layer shows through here: decide in this layer.
                return (layer, layer.lstat(path)) if layer.lexists(path) else None
    return None
