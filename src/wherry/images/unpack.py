"""A layer's tar stream into a directory that overlayfs can use as a lower layer.

Whiteouts (`.wh.name`, `.wh..wh..opq`; OCI image specification, "layer.md") become overlayfs' own: a character
device 0/0, and the `trusted.overlay.opaque` attribute. The recipe that rebuilds the archive is written in the
same pass. Nothing in the archive can reach outside the directory: see `rootdir`.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from .errors import BadArchive, ImageError
from .recipe import RecipeWriter
from .rootdir import RootDir, clean
from .tarstream import BLOCKDEV, CHAR, DIRECTORY, FIFO, HARDLINK, REGULAR, SYMLINK, Entry, TarReader

OPAQUE = "trusted.overlay.opaque"
_WHITEOUT = b".wh."
_OPAQUE_MARK = b".wh..wh..opq"
_ZEROS = bytes(1 << 20)


@dataclass
class Limits:
    """What an archive may hold before it is refused; guards against archives that unpack to fill the disk.

    None stands for nine tenths of what the disk has free when the archive begins.
    """

    bytes: int | None = None
    entries: int | None = None

    def within(self, fd: int) -> tuple[int, int]:
        """Bytes and entries for an archive that is unpacked on the disk of `fd`."""
        free_bytes, free_entries = free(fd)
        return (
            free_bytes if self.bytes is None else self.bytes,
            free_entries if self.entries is None else self.entries,
        )


def free(fd: int) -> tuple[int, int]:
    """Nine tenths of the bytes and of the inodes that are free; some file systems have any number of inodes."""
    disk = os.fstatvfs(fd)
    return disk.f_bavail * disk.f_frsize * 9 // 10, disk.f_favail * 9 // 10 if disk.f_files else _MANY


_MANY = 20_000_000


@dataclass
class Unpacked:
    """What came of it. `size` is the sum of the files' bytes, as Docker counts a layer."""

    size: int = 0
    entries: int = 0
    implied: list[bytes] = field(default_factory=list)
    """Directories that the archive has no entry for; their owner and mode are those of the layers below."""
    outer_links: list[tuple[bytes, bytes]] = field(default_factory=list)
    """(name, target) of hard links to files of the layers below."""


_LARGE = 64 << 20
_ARCHIVES_FAULT = (
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EINVAL,
    errno.ENOENT,
    errno.EMLINK,
)


def as_image_error(error: OSError) -> ImageError:
    """What the system says to an archive's entry, in the words of this house."""
    name = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else ""
    text = f"{name}: {(error.strerror or str(error)).lower()}".removeprefix(": ")
    return BadArchive(text) if error.errno in _ARCHIVES_FAULT else ImageError(text)


class Unpacker:
    """Unpacks one layer into `layer/fs`, with its recipe at `layer/recipe`. Blocks; use it in a thread."""

    def __init__(self, layer: Path, limits: Limits | None = None) -> None:
        (layer / "fs").mkdir(parents=True, exist_ok=True)
        self._begin(layer, layer / "fs", limits)
        self._recipe: RecipeWriter | None = RecipeWriter(layer / "recipe")
        self._overlay = True

    def _begin(self, layer: Path, top: Path, limits: Limits | None) -> None:
        self._layer = layer
        self._root = RootDir(top)
        self._most_bytes, self._most_entries = (limits or Limits()).within(self._root.fd)
        self._bytes = 0
        self._directories: dict[bytes, int] = {}
        self._orphans = 0
        self._owner: tuple[int | None, int | None] = (None, None)
        self.result = Unpacked()

    @classmethod
    def into(
        cls,
        top: Path,
        chunks: Iterable[bytes],
        *,
        owner: tuple[int | None, int | None] = (None, None),
        limits: Limits | None = None,
    ) -> Unpacked:
        """Unpack plainly into the existing directory `top`: no recipe, whiteout names are ordinary names.

        `owner` replaces the uid and the gid of all entries where it is not None.
        """
        unpacker = cls.__new__(cls)
        unpacker._begin(top, top, limits)
        unpacker._recipe = None
        unpacker._overlay = False
        unpacker._owner = owner
        return unpacker.run(chunks)

    def run(self, chunks: Iterable[bytes]) -> Unpacked:
        """Raises BadArchive for a malformed archive, OSError when the disk refuses."""
        try:
            reader = TarReader(chunks)
            for entry in reader:
                self._entry(entry, reader)
            if self._recipe:
                self._recipe.raw(reader.trailer)
            self._directory_times()
        except OSError as error:
            raise as_image_error(error) from error
        finally:
            self._root.close()
            if self._recipe:
                self._recipe.close()
        return self.result

    def _entry(self, entry: Entry, reader: TarReader) -> None:
        result = self.result
        result.entries += 1
        if result.entries > self._most_entries:
            raise BadArchive(f"archive holds more than {self._most_entries} entries")
        if self._recipe:
            self._recipe.raw(entry.header)
        path = clean(entry.name)
        if path == b".." or path.startswith(b"../"):
            raise BadArchive(f'"{os.fsdecode(entry.name)}" is outside of "/"')
        if b"\0" in path:
            raise BadArchive("archive/tar: invalid tar header")
        directory, _, name = path.rpartition(b"/")
        if self._overlay and name.startswith(_WHITEOUT):
            self._whiteout(directory, name)
        elif not path:
            if entry.type != DIRECTORY:
                raise BadArchive("archive holds an entry without a name")
            self._attributes(self._root.fd, b".", entry)
            self._directories[b"."] = entry.mtime
        elif entry.type == REGULAR:
            self._regular(entry, directory, name, reader)
            return
        elif entry.type == DIRECTORY:
            self._directory(entry, path, directory, name)
        elif entry.type in (SYMLINK, HARDLINK, CHAR, BLOCKDEV, FIFO):
            self._special(entry, path, directory, name)
        else:
            raise BadArchive(f"unhandled tar header type {entry.type.decode('latin-1')}")
        self._keep_raw(reader)

    def _keep_raw(self, reader: TarReader) -> None:
        for piece in reader.content():
            if self._recipe:
                self._recipe.raw(bytes(piece))

    def _regular(self, entry: Entry, directory: bytes, name: bytes, reader: TarReader) -> None:
        self.result.size += entry.size
        if entry.size > _LARGE and entry.sparse is None:
            self._check_room(entry)
        # Holes that the archive declares cost nothing; zeros that it spells out count.
        self._bytes += entry.size if entry.sparse is None else sum(length for _, length in entry.sparse)
        if self._bytes > self._most_bytes:
            raise BadArchive(f"archive unpacks to more than {self._most_bytes} bytes")
        parent, real = self._parent(directory)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(name, flags, 0o600, dir_fd=parent)
        except FileExistsError:
            self._replace(real, parent, name)
            parent, real = self._parent(directory)
            fd = os.open(name, flags, 0o600, dir_fd=parent)
        try:
            if entry.sparse is not None:
                self._write_sparse(fd, entry, reader)
            else:
                hole = False
                for piece in reader.content():
                    hole = _write(fd, piece)
                if hole:
                    os.ftruncate(fd, entry.size)
                if self._recipe:
                    self._recipe.file(real + b"/" + name if real else name, entry.size)
            self._attributes(fd, None, entry)
            os.utime(fd, ns=(entry.mtime, entry.mtime))
        finally:
            os.close(fd)

    def _check_room(self, entry: Entry) -> None:
        """Refuse a file that cannot fit before it fills the disk for everybody."""
        disk = os.fstatvfs(self._root.fd)
        if entry.size > disk.f_bavail * disk.f_frsize:
            raise ImageError(f"write {os.fsdecode(entry.name)}: no space left on device ({entry.size} bytes)")

    def _write_sparse(self, fd: int, entry: Entry, reader: TarReader) -> None:
        pieces = iter(entry.sparse or ())
        offset = left = 0
        for data in reader.content():
            if self._recipe:
                self._recipe.raw(bytes(data))
            while len(data):
                while not left:
                    offset, left = next(pieces)
                if offset + left > entry.size:
                    raise BadArchive("archive/tar: invalid tar header")
                written = os.pwrite(fd, data[:left], offset)
                offset += written
                left -= written
                data = data[written:]
        os.ftruncate(fd, entry.size)

    def _directory(self, entry: Entry, path: bytes, directory: bytes, name: bytes) -> None:
        parent, real = self._parent(directory)
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if not stat.S_ISDIR(found.st_mode):
                whiteout = _is_whiteout(found)
                self._replace(real, parent, name)
                parent, real = self._parent(directory)
                os.mkdir(name, 0o700, dir_fd=parent)
                if whiteout:
                    self._opaque(parent, name)
        with suppress(ValueError):
            self.result.implied.remove(path)
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
        try:
            self._attributes(fd, None, entry)
        finally:
            os.close(fd)
        self._directories[path] = entry.mtime

    def _special(self, entry: Entry, path: bytes, directory: bytes, name: bytes) -> None:
        parent, real = self._parent(directory)
        make: Callable[[int], None]
        if entry.type == SYMLINK:

            def make(at: int) -> None:
                os.symlink(entry.linkname, name, dir_fd=at)
        elif entry.type == HARDLINK:
            target = clean(entry.linkname)
            if not target or target == b".." or target.startswith(b"../"):
                raise BadArchive(f'invalid hardlink "{os.fsdecode(entry.linkname)}" -> "{os.fsdecode(entry.name)}"')
            if target == path:
                return
            target_dir, _, target_name = target.rpartition(b"/")
            try:
                source = self._root.open(target_dir, os.O_PATH | os.O_DIRECTORY)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                    raise
                self.result.outer_links.append((path, target))
                return

            def make(at: int) -> None:
                os.link(target_name, name, src_dir_fd=source, dst_dir_fd=at, follow_symlinks=False)
        else:
            kinds = {CHAR: stat.S_IFCHR, BLOCKDEV: stat.S_IFBLK, FIFO: stat.S_IFIFO}
            device = os.makedev(entry.major, entry.minor)
            if entry.type == CHAR and device == 0 and self._overlay:
                raise BadArchive(f'"{os.fsdecode(entry.name)}" is a character device 0/0, which overlayfs reserves')

            def make(at: int) -> None:
                os.mknod(name, kinds[entry.type] | 0o600, device, dir_fd=at)

        try:
            try:
                make(parent)
            except FileExistsError:
                self._replace(real, parent, name)
                parent, real = self._parent(directory)
                make(parent)
        except FileNotFoundError:
            if entry.type != HARDLINK:
                raise
            self.result.outer_links.append((path, target))
            return
        finally:
            if entry.type == HARDLINK:
                os.close(source)
        if entry.type == HARDLINK:
            return
        os.chown(name, *self._ids(entry), dir_fd=parent, follow_symlinks=False)
        if entry.type != SYMLINK:
            os.chmod(name, entry.mode, dir_fd=parent)
        if entry.xattrs:
            _set_xattrs(f"/proc/self/fd/{parent}/".encode() + name, entry.xattrs, follow=False)
        os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=parent, follow_symlinks=False)

    def _whiteout(self, directory: bytes, name: bytes) -> None:
        if name == _OPAQUE_MARK:
            self._parent(directory)
            above, _, last = directory.rpartition(b"/")
            if last:
                self._opaque(self._parent(above)[0], last)
            else:
                os.setxattr(f"/proc/self/fd/{self._root.fd}", OPAQUE, b"y")
            return
        if name.startswith(b".wh..wh."):
            return  # leftovers of AUFS (hard link directories) mean nothing here
        victim = name[len(_WHITEOUT) :]
        if victim in (b"", b".", b".."):
            raise BadArchive(f'invalid whiteout "{os.fsdecode(name)}"')
        parent, _ = self._parent(directory)
        try:
            os.mknod(victim, stat.S_IFCHR, 0, dir_fd=parent)
        except FileExistsError:
            # A whiteout speaks of the layers below only: what this archive has put there stays.
            if stat.S_ISDIR(os.stat(victim, dir_fd=parent, follow_symlinks=False).st_mode):
                self._opaque(parent, victim)

    def _opaque(self, parent: int, name: bytes) -> None:
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
        try:
            os.setxattr(fd, OPAQUE, b"y")
        finally:
            os.close(fd)

    def _parent(self, directory: bytes) -> tuple[int, bytes]:
        try:
            return self._root.parent(directory)
        except FileNotFoundError:
            pass
        except NotADirectoryError:
            if not self._overlay:
                raise BadArchive(f'"{os.fsdecode(directory)}" is not a directory') from None
        above, _, name = directory.rpartition(b"/")
        parent, real = self._parent(above)
        try:
            os.mkdir(name, 0o755, dir_fd=parent)
        except FileExistsError:
            # A file, a whiteout or a dangling link in the way of a directory that an entry implies.
            whiteout = _is_whiteout(os.stat(name, dir_fd=parent, follow_symlinks=False))
            self._replace(real, parent, name)
            parent, real = self._parent(above)
            os.mkdir(name, 0o755, dir_fd=parent)
            if whiteout:
                self._opaque(parent, name)
        self.result.implied.append(directory)
        return self._root.parent(directory)

    def _replace(self, real: bytes, parent: int, name: bytes) -> None:
        """Make room at `name`: the last entry of that name wins, the earlier one is kept for the recipe."""
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        self._root.forget()
        parent = self._root.parent(real)[0]
        if self._recipe is None or not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
            if stat.S_ISDIR(found.st_mode):
                import shutil

                shutil.rmtree(name, dir_fd=parent)
            else:
                os.unlink(name, dir_fd=parent)
            return
        orphans = self._layer / "replaced"
        orphans.mkdir(exist_ok=True)
        self._orphans += 1
        place = b"replaced/%d" % self._orphans
        os.rename(name, os.fsencode(self._layer) + b"/" + place, src_dir_fd=parent)
        self._recipe.replaced(real + b"/" + name if real else name, place)

    def _attributes(self, fd: int, name: bytes | None, entry: Entry) -> None:
        target = f"/proc/self/fd/{fd}" if name is not None else fd
        os.chown(target, *self._ids(entry))
        os.chmod(target, entry.mode)
        if entry.xattrs:
            _set_xattrs(target, entry.xattrs)

    def _ids(self, entry: Entry) -> tuple[int, int]:
        uid, gid = self._owner
        return entry.uid if uid is None else uid, entry.gid if gid is None else gid

    def _directory_times(self) -> None:
        # Last, and deepest first, because making an entry changes its directory's time.
        for path, mtime in reversed(self._directories.items()):
            try:
                fd = self._root.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    continue  # a later entry put something else there
                raise
            try:
                os.utime(fd, ns=(mtime, mtime))
            finally:
                os.close(fd)


def _write(fd: int, data: memoryview) -> bool:
    """Write all of `data`, leaving a hole for large runs of zeros; True when it ends in a hole."""
    if len(data) >= 1 << 16 and data[0] == 0 and data == _ZEROS[: len(data)]:
        os.lseek(fd, len(data), os.SEEK_CUR)
        return True
    while len(data):
        data = data[os.write(fd, data) :]
    return False


def _set_xattrs(target: int | str | bytes, xattrs: dict[bytes, bytes], *, follow: bool = True) -> None:
    for key, value in xattrs.items():
        if key.startswith(b"trusted.overlay."):
            continue  # would let an archive redirect the overlay itself
        try:
            if isinstance(target, int):
                os.setxattr(target, key, value)
            else:
                os.setxattr(target, key, value, follow_symlinks=follow)
        except OSError as error:
            # As Docker: a file system without this kind of attribute loses it, anything else is an error.
            if error.errno not in (errno.ENOTSUP, errno.EPERM):
                raise


def _is_whiteout(found: os.stat_result) -> bool:
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0
