"""COPY and ADD: choosing the files, fingerprinting them for the cache, writing them.

Rules of the Dockerfile reference ("COPY", "ADD") as Docker's builder applies them; errors begin with
"COPY failed: " or "ADD failed: ".
"""

import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path

from ..images.compression import decompress
from ..images.compression import kind as compression_kind
from ..images.errors import BadArchive
from ..images.rootdir import RootDir
from ..images.tarstream import BLOCKDEV, CHAR, DIRECTORY, FIFO, REGULAR, SYMLINK
from ..images.unpack import Unpacker
from .errors import BuildError
from .ignore import Patterns, path_match
from .parser import Heredoc
from .sources import Item, Source, follow, walk


@dataclass
class Selection:
    """What one instruction copies: (source path, path in the destination, item); `inline` are heredocs."""

    source: Source | None
    roots: list[tuple[bytes, Item]]
    """The named sources after links were followed."""
    named: list[bytes]
    """The same as written (globs expanded), for their last names."""
    inline: list[tuple[str, bytes]] = field(default_factory=list)
    remote: list["Download"] = field(default_factory=list)
    excludes: Patterns = field(default_factory=lambda: Patterns([]))
    parents: bool = False
    cut: list[int] = field(default_factory=list)
    """How many leading directories `--parents` leaves out, for each name."""
    unpack: bool | None = False
    """ADD's extraction: None where the archive itself decides."""

    @property
    def count(self) -> int:
        return len(self.roots) + len(self.inline) + len(self.remote)


@dataclass
class Download:
    """A file that ADD fetched. `mtime` in nanoseconds, 0 when the server does not say."""

    url: str
    path: Path
    digest: bytes
    name: str
    mtime: int
    size: int


@dataclass(frozen=True)
class Ownership:
    """Given by --chown and --chmod; None keeps what the source has (a stage) or 0 (the context)."""

    uid: int | None = None
    gid: int | None = None
    mode: Callable[[int, bool], int] | None = None


def select(
    verb: str, source: Source | None, patterns: list[str], excludes: list[str], *, parents: bool, context: bool
) -> Selection:
    """Find what the patterns mean. Raises BuildError in Docker's words. Blocks."""
    selection = Selection(source, [], [], excludes=Patterns(excludes), parents=parents)
    where = "build context or excluded by .dockerignore" if context else "source"
    for pattern in patterns:
        if source is None:
            raise BuildError(f"{verb} failed: no build context")
        cleaned = _inside(pattern)
        if cleaned is None:
            raise BuildError(f"{verb} failed: forbidden path outside the build context: {pattern} ()")
        if re.search(r"[*?\[]", cleaned):
            found = list(_glob(source, cleaned))
            for path in found:
                _take(selection, source, path, verb, where)
        else:
            _take(selection, source, os.fsencode(cleaned), verb, where)
        if parents:
            _from_pivot(selection, pattern)
    return selection


def _from_pivot(selection: Selection, pattern: str) -> None:
    """`a/./b/c` keeps `b/c`: cut what stands before the pivot from the names that the pattern gave last."""
    before, pivot, _ = pattern.partition("/./")
    depth = len([part for part in before.split("/") if part not in ("", ".")]) if pivot else 0
    while depth and len(selection.cut) < len(selection.named):
        at = len(selection.cut)
        selection.named[at] = b"/".join(selection.named[at].split(b"/")[depth:])
        selection.cut.append(depth)
    selection.cut += [0] * (len(selection.named) - len(selection.cut))


def _inside(pattern: str) -> str | None:
    """The path below the context; None when it leads out of it."""
    parts: list[str] = []
    for part in pattern.split("/"):
        if part in ("", "."):
            continue
        if part == "..":
            if not parts:
                if pattern.startswith("/"):
                    continue
                return None
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)


def _take(selection: Selection, source: Source, path: bytes, verb: str, where: str) -> None:
    resolved = follow(source, path)
    item = source.stat(resolved) if resolved is not None else None
    if item is None or resolved is None:
        shown = os.fsdecode(path)
        raise BuildError(f"{verb} failed: file not found in {where}: stat {shown}: file does not exist")
    selection.roots.append((resolved, item))
    selection.named.append(path)


def _glob(source: Source, pattern: str) -> Iterator[bytes]:
    if "**" in pattern:
        regex = path_match(pattern)
        for path, _ in walk(source, b""):
            if regex.fullmatch(os.fsdecode(path)):
                yield path
        return
    candidates = [b""]
    for part in pattern.split("/"):
        regex = path_match(part)
        literal = not re.search(r"[*?\[\\]", part)
        following: list[bytes] = []
        for candidate in candidates:
            item = source.stat(candidate)
            if item is None or item.kind != DIRECTORY:
                continue
            names = [os.fsencode(part)] if literal else source.names(candidate)
            for name in names:
                path = candidate + b"/" + name if candidate else name
                if (literal and source.stat(path) is not None) or (not literal and regex.fullmatch(os.fsdecode(name))):
                    following.append(path)
        candidates = following
    yield from candidates


def fingerprint(selection: Selection) -> str:
    """A digest of everything that will be copied: names, kinds, modes, owners, contents; not dates. Blocks."""
    digest = hashlib.sha256()

    def add(path: bytes, item: Item, at: bytes) -> None:
        content = b""
        if item.kind == REGULAR and selection.source is not None:
            content = selection.source.digest(at, item)
        digest.update(
            b"%b\0%b\0%o\0%d\0%d\0%b\0%b\0" % (path, item.kind, item.mode, item.uid, item.gid, item.link, content)
        )
        for key in sorted(item.xattrs):
            digest.update(key + b"=" + item.xattrs[key] + b"\0")

    for named, (path, item) in zip(selection.named, selection.roots, strict=True):
        add(named, item, path)
        if item.kind == DIRECTORY and selection.source is not None:
            for relative, inner in _chosen(selection, path):
                add(named + b"/" + relative, inner, path + b"/" + relative if path else relative)
    for name, content in selection.inline:
        digest.update(b"<<" + name.encode() + b"\0" + hashlib.sha256(content).digest())
    for download in selection.remote:
        digest.update(b"url\0" + download.url.encode() + b"\0" + download.digest)
    return digest.hexdigest()


def _chosen(selection: Selection, path: bytes) -> Iterator[tuple[bytes, Item]]:
    assert selection.source is not None
    for relative, item in walk(selection.source, path):
        if selection.excludes and selection.excludes.matches(os.fsdecode(relative)):
            continue
        yield relative, item


class Writer:
    """Writes a selection into a mounted root file system."""

    def __init__(self, root: Path, ownership: Ownership, epoch: int | None = None) -> None:
        self._path = root
        self._root = RootDir(root)
        self._own = ownership
        self._epoch = epoch
        self._links: dict[tuple[int, int], bytes] = {}
        self._times: list[tuple[bytes, int]] = []

    def close(self) -> None:
        self._root.close()

    def write(self, selection: Selection, destination: str, verb: str) -> None:
        """`destination` is absolute; a trailing slash makes it a directory. Raises BuildError."""
        into_directory = destination.endswith(("/", "/."))
        if selection.count == 0:
            raise BuildError(f"{verb} failed: no source files were specified")
        if selection.count > 1 and not into_directory:
            raise BuildError(
                f"When using {verb} with more than one source file, "
                "the destination must be a directory and end with a /"
            )
        target = os.fsencode(_inside(destination) or "")
        existing = self._kind(target)
        for named, (path, item) in zip(selection.named, selection.roots, strict=True):
            if selection.parents:
                self._with_parents(selection, named, path, item, target)
            elif item.kind == DIRECTORY:
                self._tree(selection, path, item, target, verb)
            elif selection.unpack is not False and self._extract(selection, path, target):
                continue
            else:
                base = named.rpartition(b"/")[2]
                inside = into_directory or existing == "directory"
                self._single(selection, path, item, _join(target, base) if inside else target)
        for name, content in selection.inline:
            inside = into_directory or existing == "directory"
            self._inline(name, content, _join(target, name.encode()) if inside else target)
        for download in selection.remote:
            inside = into_directory or existing == "directory"
            self._download(download, target, inside=inside, unpack=bool(selection.unpack))
        for path, mtime in reversed(self._times):
            self._utime(path, mtime)

    def make_directories(self, path: str) -> None:
        """WORKDIR: the directory and its missing parents."""
        try:
            self._directories(os.fsencode(_inside(path) or ""))
        except NotADirectoryError:
            raise BuildError(f"cannot mkdir: {path} is not a directory") from None

    def _kind(self, path: bytes) -> str:
        try:
            fd = self._root.open(path, os.O_PATH)
        except OSError:
            return "none"
        try:
            return "directory" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file"
        finally:
            os.close(fd)

    def _with_parents(self, selection: Selection, named: bytes, path: bytes, item: Item, target: bytes) -> None:
        place = _join(target, named)
        if item.kind == DIRECTORY:
            self._tree(selection, path, item, place, "COPY")
        else:
            self._single(selection, path, item, place)

    def _tree(self, selection: Selection, path: bytes, item: Item, target: bytes, verb: str) -> None:
        kind = self._kind(target)
        if kind == "file":
            raise BuildError(f"{verb} failed: cannot copy to non-directory: /{os.fsdecode(target)}")
        if kind == "none":
            self._directories(target)
            self._apply(target, item)
        for relative, inner in _chosen(selection, path):
            here = _join(path, relative)
            there = _join(target, relative)
            if inner.kind == DIRECTORY:
                self._make_directory(there, inner, verb)
            else:
                self._one(selection, here, inner, there)

    def _make_directory(self, path: bytes, item: Item, verb: str) -> None:
        directory, _, name = path.rpartition(b"/")
        parent = self._parent(directory)
        try:
            os.mkdir(name, 0o755, dir_fd=parent)
        except FileExistsError:
            kind = self._kind(path)
            if kind == "file":
                raise BuildError(f"{verb} failed: cannot copy to non-directory: /{os.fsdecode(path)}") from None
            if kind == "none":
                raise
        self._apply(path, item)
        self._times.append((path, item.mtime))

    def _single(self, selection: Selection, path: bytes, item: Item, target: bytes) -> None:
        self._one(selection, path, item, target)

    def _one(self, selection: Selection, path: bytes, item: Item, target: bytes) -> None:
        directory, _, name = target.rpartition(b"/")
        if not name:
            raise BuildError("cannot overwrite / with a file")
        parent = self._parent(directory)
        self._make_room(parent, name, target)
        if item.inode is not None and item.inode in self._links:
            first = self._links[item.inode]
            source_parent = self._parent(first.rpartition(b"/")[0])
            os.link(first.rpartition(b"/")[2], name, src_dir_fd=source_parent, dst_dir_fd=parent, follow_symlinks=False)
            return
        if item.kind == REGULAR:
            assert selection.source is not None
            self._file(parent, name, selection.source.read(path), item)
            if item.inode is not None:
                self._links[item.inode] = target
            return
        if item.kind == SYMLINK:
            os.symlink(item.link, name, dir_fd=parent)
        else:
            kinds = {CHAR: stat.S_IFCHR, BLOCKDEV: stat.S_IFBLK, FIFO: stat.S_IFIFO}
            os.mknod(name, kinds[item.kind] | 0o600, os.makedev(item.major, item.minor), dir_fd=parent)
        uid, gid = self._owner(item)
        os.chown(name, uid, gid, dir_fd=parent, follow_symlinks=False)
        if item.kind != SYMLINK:
            os.chmod(name, item.mode, dir_fd=parent)
        mtime = self._time(item.mtime)
        os.utime(name, ns=(mtime, mtime), dir_fd=parent, follow_symlinks=False)

    def _file(self, parent: int, name: bytes, content: Iterable[bytes], item: Item) -> None:
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=parent)
        try:
            for data in content:
                view = memoryview(data)
                while len(view):
                    view = view[os.write(fd, view) :]
            uid, gid = self._owner(item)
            os.fchown(fd, uid, gid)
            os.fchmod(fd, self._mode(item.mode, False))
            for key, value in item.xattrs.items():
                os.setxattr(fd, key, value)
            mtime = self._time(item.mtime)
            os.utime(fd, ns=(mtime, mtime))
        finally:
            os.close(fd)

    def _inline(self, name: str, content: bytes, target: bytes) -> None:
        directory, _, last = target.rpartition(b"/")
        parent = self._parent(directory)
        self._make_room(parent, last, target)
        self._file(parent, last, [content], Item(REGULAR, 0o644, 0, 0, len(content), 0))

    def _download(self, download: Download, target: bytes, *, inside: bool, unpack: bool) -> None:
        if unpack and self._extract_file(download.path, target):
            return
        if inside:
            if not download.name:
                raise BuildError(f"cannot determine filename for source URL {download.url}: it has no path")
            target = _join(target, download.name.encode())
        directory, _, last = target.rpartition(b"/")
        parent = self._parent(directory)
        self._make_room(parent, last, target)
        item = Item(REGULAR, 0o600, 0, 0, download.size, download.mtime)
        with open(download.path, "rb") as file:
            self._file(parent, last, iter(lambda: file.read(1 << 20), b""), item)

    def _extract(self, selection: Selection, path: bytes, target: bytes) -> bool:
        """ADD of a local archive: unpack it. False when it is none."""
        source = selection.source
        assert source is not None
        return self._unpack(lambda: source.read(path), target)

    def _extract_file(self, path: Path, target: bytes) -> bool:
        def read() -> Iterator[bytes]:
            with open(path, "rb") as file:
                while data := file.read(1 << 20):
                    yield data

        return self._unpack(read, target)

    def _unpack(self, read: Callable[[], Iterable[bytes]], target: bytes) -> bool:
        if not _is_archive(read):
            return False
        self._directories(target)
        place = self._root.open(target, os.O_PATH | os.O_DIRECTORY)
        try:
            Unpacker.into(Path(f"/proc/self/fd/{place}"), decompress(read()), owner=(self._own.uid, self._own.gid))
        finally:
            os.close(place)
        self._root.forget()
        return True

    def _make_room(self, parent: int, name: bytes, target: bytes) -> None:
        try:
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return
        if stat.S_ISDIR(found.st_mode):
            raise BuildError(f"cannot copy to directory: /{os.fsdecode(target)} is a directory")
        os.unlink(name, dir_fd=parent)
        if stat.S_ISLNK(found.st_mode):
            self._root.forget()

    def _parent(self, directory: bytes) -> int:
        try:
            return self._root.parent(directory)[0]
        except FileNotFoundError:
            self._directories(directory)
        except NotADirectoryError:
            raise BuildError(f"mkdir /{os.fsdecode(directory)}: not a directory") from None
        return self._root.parent(directory)[0]

    def _directories(self, path: bytes) -> None:
        """Make the missing directories of `path`: mode 755, owned as --chown says."""
        made = b""
        for part in path.split(b"/") if path else ():
            above, made = made, _join(made, part)
            try:
                self._root.parent(made)
                continue
            except FileNotFoundError:
                pass
            except NotADirectoryError:
                raise BuildError(f"mkdir /{os.fsdecode(made)}: not a directory") from None
            parent = self._root.parent(above)[0]
            try:
                os.mkdir(part, 0o755, dir_fd=parent)
            except FileExistsError:
                # A link whose target is missing: what it names is made, as inside the container.
                self._directories(os.fsencode(_inside("/" + os.fsdecode(_link_target(parent, part, above))) or ""))
                continue
            os.chown(part, self._own.uid or 0, self._own.gid or 0, dir_fd=parent)
            os.chmod(part, self._mode(0o755, True) if self._own.mode else 0o755, dir_fd=parent)
            if self._epoch is not None:
                self._times.append((made, 0))

    def _apply(self, path: bytes, item: Item) -> None:
        fd = self._root.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            uid, gid = self._owner(item)
            os.fchown(fd, uid, gid)
            os.fchmod(fd, self._mode(item.mode, True))
            for key, value in item.xattrs.items():
                os.setxattr(fd, key, value)
        finally:
            os.close(fd)

    def _utime(self, path: bytes, mtime: int) -> None:
        fd = self._root.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            mtime = self._time(mtime)
            os.utime(fd, ns=(mtime, mtime))
        finally:
            os.close(fd)

    def _time(self, mtime: int) -> int:
        return mtime if self._epoch is None else self._epoch * 1_000_000_000

    def _owner(self, item: Item) -> tuple[int, int]:
        uid = item.uid if self._own.uid is None else self._own.uid
        gid = item.gid if self._own.gid is None else self._own.gid
        return uid, gid

    def _mode(self, mode: int, directory: bool) -> int:
        return self._own.mode(mode, directory) if self._own.mode else mode


def _link_target(parent: int, name: bytes, above: bytes) -> bytes:
    target = os.readlink(name, dir_fd=parent)
    return target if target.startswith(b"/") else _join(above, target)


def _join(one: bytes, other: bytes) -> bytes:
    return one + b"/" + other if one and other else one or other


def _is_archive(read: Callable[[], Iterable[bytes]]) -> bool:
    """Whether the bytes are a tar archive, compressed or not."""
    chunks = iter(read())
    head = next(chunks, b"")
    if compression_kind(head[:6]) == "none":
        return len(head) >= 512 and head[257:262] == b"ustar"
    try:
        inner = next(iter(decompress(iter([head]))), b"")
    except (BadArchive, StopIteration):
        return False
    return len(inner) >= 512 and inner[257:262] == b"ustar"


def parse_chmod(text: str) -> Callable[[int, bool], int]:
    """--chmod: octal (`755`) or symbolic (`u=rwX,go=rX`). Raises ValueError."""
    if re.fullmatch(r"0?[0-7]{1,4}", text):
        fixed = int(text, 8)
        return lambda mode, directory: fixed
    clauses = []
    for clause in text.split(","):
        match = re.fullmatch(r"([ugoa]*)([-+=])([rwxXst]*)", clause)
        if not match:
            raise ValueError(f'invalid chmod parameter: "{text}". it should be octal string and between 0 and 07777')
        clauses.append((match[1] or "a", match[2], match[3]))

    def change(mode: int, directory: bool) -> int:
        for who, operator, permissions in clauses:
            mode = _change(mode, directory, who, operator, permissions)
        return mode

    return change


def _change(mode: int, directory: bool, who: str, operator: str, permissions: str) -> int:
    executable = directory or bool(mode & 0o111)
    bits = mask = 0
    for kind, shift in (("u", 6), ("g", 3), ("o", 0)):
        if kind not in who and "a" not in who:
            continue
        mask |= 0o7 << shift
        for letter in permissions:
            if letter in "rwx" or (letter == "X" and executable):
                bits |= {"r": 4, "w": 2, "x": 1, "X": 1}[letter] << shift
            elif letter == "s" and kind in "ug":
                bits |= 0o4000 if kind == "u" else 0o2000
    if "t" in permissions:
        bits |= 0o1000
    if operator == "+":
        return mode | bits
    if operator == "-":
        return mode & ~bits
    return (mode & ~mask) | bits


def inline_content(heredoc: Heredoc) -> bytes:
    return heredoc.text.encode()


def http_time(text: str | None) -> int:
    """Nanoseconds of a Last-Modified header, 0 without one."""
    if not text:
        return 0
    try:
        return int(parsedate_to_datetime(text).timestamp()) * 1_000_000_000
    except ValueError:
        return 0
