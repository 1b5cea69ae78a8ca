"""Where COPY and ADD read from: the build context as it came, a directory, a stage's or an image's files.

A *source* answers what is at a path and reads it; paths are relative, without a leading slash. A context that
arrives as a tar stream is never unpacked: its bytes go into one unnamed file, each file's digest is computed on
the way, and COPY reads the pieces that it needs.
"""

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ..images.compression import decompress
from ..images.errors import BadArchive
from ..images.rootdir import RootDir, clean
from ..images.tarstream import (
    BLOCKDEV,
    CHAR,
    DIRECTORY,
    FIFO,
    HARDLINK,
    REGULAR,
    SYMLINK,
    Entry,
    TarReader,
)
from ..images.unpack import free
from .ignore import Patterns

_CHUNK = 1 << 20
_MAX_LINKS = 255


@dataclass
class Item:
    """A file, directory or link of a source. `mtime` in nanoseconds."""

    kind: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    link: bytes = b""
    digest: bytes = b""
    offset: int = 0
    children: dict[bytes, "Item"] = field(default_factory=dict)
    xattrs: dict[bytes, bytes] = field(default_factory=dict)
    inode: tuple[int, int] | None = None
    major: int = 0
    minor: int = 0


class Source(Protocol):
    """Blocking; errors of the disk are OSError."""

    def stat(self, path: bytes) -> Item | None:
        """What is at `path` itself (a link is not followed), or None."""
        ...

    def names(self, path: bytes) -> list[bytes]:
        """The sorted names in the directory at `path`."""
        ...

    def read(self, path: bytes) -> Iterator[bytes]:
        """The content of the file at `path`."""
        ...

    def digest(self, path: bytes, item: Item) -> bytes:
        """A digest of the content of the file at `path`."""
        ...

    def close(self) -> None: ...


class ArchiveSource:
    """A tar stream, kept as one unnamed file with an index."""

    def __init__(self, directory: Path) -> None:
        self._fd = os.open(directory, os.O_TMPFILE | os.O_RDWR, 0o600)
        self._root = Item(DIRECTORY, 0o755, 0, 0, 0, 0)
        self._end = 0
        self.entries = 0
        self._most, _ = free(self._fd)

    def fill(self, chunks: Iterable[bytes]) -> None:
        """Read the whole stream (plain or compressed). Raises BadArchive."""
        reader = TarReader(decompress(chunks))
        for entry in reader:
            self.entries += 1
            self._add(entry, reader)

    def _add(self, entry: Entry, reader: TarReader) -> None:
        path = clean(entry.name)
        if path == b".." or path.startswith(b"../"):
            raise BadArchive(f'"{os.fsdecode(entry.name)}" is outside of the build context')
        item = Item(
            entry.type, entry.mode, 0, 0, entry.size, entry.mtime, entry.linkname,
            xattrs=entry.xattrs, major=entry.major, minor=entry.minor,
        )  # fmt: skip
        if entry.type == REGULAR:
            item.offset = self._end
            digest = hashlib.sha256()
            content = reader.content()
            for piece in content if entry.sparse is None else _expanded(entry, content):
                digest.update(piece)
                self._write(piece)
            item.digest = digest.digest()
        elif entry.type == HARDLINK:
            target = self.stat(clean(entry.linkname))
            if target is None or target.kind != REGULAR:
                raise BadArchive(f"invalid hardlink {os.fsdecode(entry.name)} -> {os.fsdecode(entry.linkname)}")
            item = target
        elif entry.type not in (DIRECTORY, SYMLINK, CHAR, BLOCKDEV, FIFO):
            raise BadArchive(f"unhandled tar header type {entry.type!r}")
        if not path:
            self._root.mode = entry.mode
            return
        parent = self._root
        *above, name = path.split(b"/")
        for part in above:
            child = parent.children.get(part)
            if child is None or child.kind != DIRECTORY:
                child = parent.children[part] = Item(DIRECTORY, 0o755, 0, 0, 0, 0)
            parent = child
        existing = parent.children.get(name)
        if existing is not None and existing.kind == DIRECTORY == item.kind:
            item.children = existing.children
        parent.children[name] = item

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return self._end

    def _write(self, data: memoryview) -> None:
        if self._end + len(data) > self._most:
            raise BadArchive(f"the build context unpacks to more than {self._most} bytes")
        while len(data):
            written = os.pwrite(self._fd, data, self._end)
            self._end += written
            data = data[written:]

    def stat(self, path: bytes) -> Item | None:
        item = self._root
        for part in path.split(b"/") if path else ():
            found = item.children.get(part)
            if found is None:
                return None
            item = found
        return item

    def names(self, path: bytes) -> list[bytes]:
        item = self.stat(path)
        return sorted(item.children) if item else []

    def read(self, path: bytes) -> Iterator[bytes]:
        item = self.stat(path)
        assert item is not None
        offset, left = item.offset, item.size
        while left:
            data = os.pread(self._fd, min(left, _CHUNK), offset)
            if not data:
                raise OSError(f"build context lost bytes of {os.fsdecode(path)}")
            offset += len(data)
            left -= len(data)
            yield data

    def digest(self, path: bytes, item: Item) -> bytes:
        return item.digest

    def prune(self, ignore: Patterns) -> None:
        """Take out what `.dockerignore` names."""

        def sift(item: Item, path: str) -> None:
            for name, child in list(item.children.items()):
                here = f"{path}/{os.fsdecode(name)}" if path else os.fsdecode(name)
                hidden = ignore.matches(here)
                if child.kind == DIRECTORY and (not hidden or ignore.may_bring_back(here)):
                    sift(child, here)
                    if hidden and not child.children:
                        del item.children[name]
                elif hidden:
                    del item.children[name]

        sift(self._root, "")

    def close(self) -> None:
        os.close(self._fd)


_ZEROS = memoryview(bytes(_CHUNK))


def _expanded(entry: Entry, content: Iterator[memoryview]) -> Iterator[memoryview]:
    """A sparse file with zeros in its holes."""
    position = 0
    data = memoryview(b"")
    for offset, length in [*(entry.sparse or ()), (entry.size, 0)]:
        while position < offset:
            zeros = _ZEROS[: offset - position]
            position += len(zeros)
            yield zeros
        while position < offset + length:
            if not data:
                data = next(content)
            piece = data[: offset + length - position]
            data = data[len(piece) :]
            position += len(piece)
            yield piece
    for _ in content:
        pass


class TreeSource:
    """A directory: a mounted root file system, or a context on this machine. Links resolve inside it."""

    def __init__(self, top: Path, *, owners: bool = True, ignore: Patterns | None = None) -> None:
        """Without `owners` all files count as root's (a context); `ignore` hides what `.dockerignore` names."""
        self.path = top
        self._root = RootDir(top)
        self._owners = owners
        self._ignore = ignore

    def stat(self, path: bytes) -> Item | None:
        if self._hidden(path) or not self._root.lexists(path):
            return None
        found = self._root.lstat(path)
        kinds = {
            stat.S_IFREG: REGULAR, stat.S_IFDIR: DIRECTORY, stat.S_IFLNK: SYMLINK, stat.S_IFCHR: CHAR,
            stat.S_IFBLK: BLOCKDEV, stat.S_IFIFO: FIFO,
        }  # fmt: skip
        kind = kinds.get(stat.S_IFMT(found.st_mode))
        if kind is None:
            return None
        item = Item(
            kind, stat.S_IMODE(found.st_mode), *self._ids(found), found.st_size, found.st_mtime_ns,
            inode=(found.st_dev, found.st_ino) if found.st_nlink > 1 and kind == REGULAR else None,
            major=os.major(found.st_rdev), minor=os.minor(found.st_rdev),
        )  # fmt: skip
        parent, _ = self._root.parent(path.rpartition(b"/")[0])
        name = path.rpartition(b"/")[2]
        if kind == SYMLINK:
            item.link = os.readlink(name, dir_fd=parent)
        elif path:
            here = f"/proc/self/fd/{parent}/".encode() + name
            for key in os.listxattr(here, follow_symlinks=False):
                if not key.startswith(("trusted.overlay.", "system.", "security.selinux")):
                    item.xattrs[os.fsencode(key)] = os.getxattr(here, key, follow_symlinks=False)
        return item

    def names(self, path: bytes) -> list[bytes]:
        fd = self._root.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            names = sorted(os.fsencode(name) for name in os.listdir(fd))
        finally:
            os.close(fd)
        if self._ignore:
            names = [name for name in names if not self._hidden(path + b"/" + name if path else name)]
        return names

    @property
    def is_filtered(self) -> bool:
        return bool(self._ignore)

    def unfiltered(self) -> "TreeSource":
        """The same directory with nothing hidden; it shares this one's descriptor."""
        other = TreeSource.__new__(TreeSource)
        other.path, other._root, other._owners, other._ignore = self.path, self._root, self._owners, None
        return other

    def _ids(self, found: os.stat_result) -> tuple[int, int]:
        return (found.st_uid, found.st_gid) if self._owners else (0, 0)

    def _hidden(self, path: bytes) -> bool:
        if not self._ignore or not path:
            return False
        text = os.fsdecode(path)
        return self._ignore.matches(text) and not self._ignore.may_bring_back(text)

    def read(self, path: bytes) -> Iterator[bytes]:
        fd = self._root.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            while data := os.read(fd, _CHUNK):
                yield data
        finally:
            os.close(fd)

    def digest(self, path: bytes, item: Item) -> bytes:
        digest = hashlib.sha256()
        for data in self.read(path):
            digest.update(data)
        return digest.digest()

    def close(self) -> None:
        self._root.close()


def follow(source: Source, path: bytes) -> bytes | None:
    """The path that `path` leads to with every link resolved inside the source; None when it leads nowhere."""
    done: list[bytes] = []
    pending = path.split(b"/")[::-1]
    links = 0
    while pending:
        part = pending.pop()
        if part in (b"", b"."):
            continue
        if part == b"..":
            if done:
                done.pop()
            continue
        item = source.stat(b"/".join([*done, part]))
        if item is None:
            return None
        if item.kind == SYMLINK:
            links += 1
            if links > _MAX_LINKS:
                return None
            if item.link.startswith(b"/"):
                done = []
            pending += item.link.split(b"/")[::-1]
        else:
            done.append(part)
    return b"/".join(done)


def walk(source: Source, path: bytes) -> Iterator[tuple[bytes, Item]]:
    """Everything below the directory at `path`, parents first, sorted: (path relative to it, item)."""
    pending = [b""]
    while pending:
        inside = pending.pop()
        here = b"/".join(part for part in (path, inside) if part)
        later: list[bytes] = []
        for name in source.names(here):
            relative = inside + b"/" + name if inside else name
            item = source.stat(here + b"/" + name if here else name)
            if item is None:
                continue
            yield relative, item
            if item.kind == DIRECTORY:
                later.append(relative)
        pending += reversed(later)
