"""`docker cp` and `docker export`: a container's files as tar streams, in and out.

Every path is resolved by the kernel inside the container's root (`rootpaths`), and trees are walked by descriptor
without following links, so neither a link in the image nor one made meanwhile leads to the host's files.
Specified in the Docker Engine API, `ContainerArchive`, `PutContainerArchive`, `ContainerExport`.
"""

import asyncio
import contextlib
import errno
import os
import posixpath
import shutil
import stat as modes
import tarfile
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from wherry.engine import users
from wherry.engine.errors import EngineError, Forbidden, InvalidParameter, NotFound
from wherry.engine.model import Container, timestamp
from wherry.engine.rootpaths import make_directory, open_in_root, open_root
from wherry.host import mounts
from wherry.images.threads import drain, feed

if TYPE_CHECKING:
    from wherry.engine.containers import Containers

_CHUNK = 1 << 17
_GO_BITS = (
    (modes.S_ISDIR, 1 << 31), (modes.S_ISLNK, 1 << 27), (modes.S_ISBLK, 1 << 26), (modes.S_ISCHR, 1 << 26 | 1 << 21),
    (modes.S_ISFIFO, 1 << 25), (modes.S_ISSOCK, 1 << 24),
)  # fmt: skip


async def stat(containers: "Containers", container: Container, path: str) -> dict[str, Any]:
    """What stands at `path`, a link itself and not what it leads to. Raises NotFound."""

    def look() -> dict[str, Any]:
        with _tree(containers, container) as root:
            return _stat(root, container, path)

    return await asyncio.to_thread(look)


async def get(containers: "Containers", container: Container, path: str) -> tuple[dict[str, Any], AsyncIterator[bytes]]:
    """(stat, tar stream of the file or folder at `path`). Raises NotFound before anything is sent."""
    about = await stat(containers, container, path)

    def produce() -> Iterator[bytes]:
        with _tree(containers, container) as root:
            directory, name = _open_parent(root, container, path)
            try:
                shown = "." if path.rstrip("/").endswith("/.") or path == "." else name if name != "." else "/"
                yield from _tar(directory, name, shown.strip("/") or ".")
            finally:
                os.close(directory)
            yield b"\0" * 1024

    return about, drain(produce)


def export(containers: "Containers", container: Container) -> AsyncIterator[bytes]:
    """The root file system without volumes and other mounts."""

    def produce() -> Iterator[bytes]:
        with _tree(containers, container, with_mounts=False) as root:
            directory = open_in_root(root, "/", os.O_RDONLY | os.O_DIRECTORY)
            try:
                for name in sorted(os.listdir(directory)):
                    yield from _tar(directory, name, name)
            finally:
                os.close(directory)
            yield b"\0" * 1024

    return drain(produce)


async def put(
    containers: "Containers",
    container: Container,
    path: str,
    chunks: AsyncIterable[bytes],
    *,
    keep_kinds: bool,
    own_ids: bool,
) -> None:
    """Unpack a tar stream (plain, gzip, bzip2 or xz) into the folder `path`.

    `keep_kinds`: a folder is not replaced by something else, nor the other way round. `own_ids`: what is made
    belongs to the container's user. Raises NotFound, InvalidParameter (no folder; a broken archive), Forbidden.
    """

    def unpack(parts: Iterable[bytes]) -> None:
        with _tree(containers, container) as root:
            try:
                target = open_in_root(root, path, os.O_PATH)
            except OSError as error:
                raise _missing(container, path, error) from None
            try:
                if not modes.S_ISDIR(os.fstat(target).st_mode):
                    raise InvalidParameter("extraction point is not a directory")
                _check_writable(container, path)
            finally:
                os.close(target)
            owner = None
            if own_ids:
                found = users.look_up(Path(f"/proc/self/fd/{root}"), container.config["User"])
                owner = (found.uid, found.gid)
            base = posixpath.normpath(path) if path.startswith("/") else posixpath.normpath(f"/{path}")
            try:
                with tarfile.open(fileobj=cast(IO[bytes], _Reader(parts)), mode="r|*") as archive:
                    for member in archive:
                        _extract(root, base, archive, member, keep_kinds, owner)
            except tarfile.TarError as error:
                raise InvalidParameter(f"Error processing tar file: {error}") from error
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EROFS, errno.EDQUOT):
                    raise EngineError(f"Error processing tar file: {os.strerror(error.errno)}") from error
                raise InvalidParameter(f"Error processing tar file: {error.strerror}: {error.filename}") from error

    await feed(chunks, unpack)


# --- the tree ---


@contextlib.contextmanager
def _tree(containers: "Containers", container: Container, *, with_mounts: bool = True) -> Iterator[int]:
    """A descriptor of the container's root: its own view while it runs, else the snapshot and volumes mounted."""
    if container.state.alive:
        root = (
            f"/proc/{container.state.pid}/root" if with_mounts else containers.lifecycle.bundle(container.id) / "rootfs"
        )
        try:
            descriptor = open_root(root)
        except FileNotFoundError:
            raise NotFound(f"No such container: {container.id}") from None
        try:
            yield descriptor
        finally:
            os.close(descriptor)
        return
    place = containers.engine.instance.run / "containers" / f"cp-{os.urandom(8).hex()}"
    place.mkdir(mode=0o700)
    try:
        containers.engine.images.snapshots.mount(container.id, place)
        descriptor = open_root(place)
        try:
            if with_mounts:
                _bind_volumes(descriptor, container)
            yield descriptor
        finally:
            os.close(descriptor)
    finally:
        mounts.unmount_under(place)
        shutil.rmtree(place, ignore_errors=True)


def _bind_volumes(root: int, container: Container) -> None:
    for point in sorted(container.record.mounts, key=lambda point: point["Destination"].count("/")):
        if point["Type"] not in ("bind", "volume") or not os.path.isdir(point["Source"]):
            continue
        target = make_directory(f"/proc/self/fd/{root}", point["Destination"])
        try:
            # By its path, for the descriptor goes on leading below what is mounted over it; nothing runs in there.
            mounts.bind(point["Source"], os.readlink(f"/proc/self/fd/{target}"), read_only=not point["RW"])
        finally:
            os.close(target)


def _check_writable(container: Container, path: str) -> None:
    normal = posixpath.normpath(path)
    inside: dict[str, Any] | None = None
    for point in container.record.mounts:
        destination = point["Destination"]
        if (normal == destination or normal.startswith(destination + "/")) and (
            inside is None or len(destination) > len(inside["Destination"])
        ):
            inside = point
    if inside is not None:
        if not inside["RW"]:
            raise Forbidden("mounted volume is marked read-only")
    elif container.host_config["ReadonlyRootfs"]:
        raise Forbidden("container rootfs is marked read-only")


def _open_parent(root: int, container: Container, path: str) -> tuple[int, str]:
    """(descriptor of the folder, name in it); for a folder asked for with a trailing slash or dot, (itself, `.`)."""
    absolute = path if path.startswith("/") else f"/{path}"
    itself = absolute.endswith(("/", "/."))
    normal = posixpath.normpath(absolute)
    head, name = posixpath.split(normal)
    try:
        if itself or not name:
            # Through links: a trailing slash means what it leads to.
            descriptor = open_in_root(root, normal, os.O_RDONLY | os.O_DIRECTORY)
            return descriptor, "."
        return open_in_root(root, head, os.O_RDONLY | os.O_DIRECTORY), name
    except OSError as error:
        raise _missing(container, path, error) from None


def _missing(container: Container, path: str, error: OSError) -> EngineError:
    if error.errno == errno.ENOTDIR:
        return InvalidParameter(f"not a directory: {path}")
    if error.errno in (errno.ENOENT, errno.ELOOP, errno.EXDEV, errno.ENAMETOOLONG):
        return NotFound(f"Could not find the file {path} in container {container.name}")
    return EngineError(f"{path}: {error.strerror}")


def _stat(root: int, container: Container, path: str) -> dict[str, Any]:
    directory, name = _open_parent(root, container, path)
    try:
        try:
            about = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except OSError as error:
            raise _missing(container, path, error) from None
        target = ""
        if modes.S_ISLNK(about.st_mode):
            target = _link_target(root, path, os.readlink(name, dir_fd=directory))
    finally:
        os.close(directory)
    shown = posixpath.basename(path.rstrip("/")) or "/"
    return {
        "name": shown,
        "size": about.st_size,
        "mode": go_mode(about.st_mode),
        "mtime": timestamp(about.st_mtime_ns),
        "linkTarget": target,
    }


def _link_target(root: int, path: str, link: str) -> str:
    """Where a link leads, as a path in the container."""
    parent = posixpath.dirname(posixpath.normpath(path if path.startswith("/") else f"/{path}"))
    wanted = link if link.startswith("/") else posixpath.join(parent, link)
    try:
        descriptor = open_in_root(root, wanted, os.O_PATH)
    except OSError:
        return posixpath.normpath(wanted)
    try:
        base = os.readlink(f"/proc/self/fd/{root}")
        return "/" + os.readlink(f"/proc/self/fd/{descriptor}").removeprefix(base).lstrip("/")
    finally:
        os.close(descriptor)


def go_mode(mode: int) -> int:
    """A mode as Go's os.FileMode holds it: what Docker's API sends."""
    result = modes.S_IMODE(mode) & 0o777
    for is_kind, bits in _GO_BITS:
        if is_kind(mode):
            result |= bits
    for bit, go in ((modes.S_ISUID, 1 << 23), (modes.S_ISGID, 1 << 22), (modes.S_ISVTX, 1 << 20)):
        if mode & bit:
            result |= go
    return result


# --- packing ---


def _tar(directory: int, name: str, shown: str, seen: dict[tuple[int, int], str] | None = None) -> Iterator[bytes]:
    """`name` in the folder `directory`, and all below it, as members from `shown` down."""
    links = {} if seen is None else seen
    try:
        about = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return
    if modes.S_ISSOCK(about.st_mode):
        return
    member = tarfile.TarInfo(shown)
    member.mode, member.uid, member.gid = modes.S_IMODE(about.st_mode), about.st_uid, about.st_gid
    member.mtime = int(about.st_mtime)
    content = -1
    if modes.S_ISDIR(about.st_mode):
        member.type = tarfile.DIRTYPE
    elif modes.S_ISLNK(about.st_mode):
        member.type, member.linkname = tarfile.SYMTYPE, os.readlink(name, dir_fd=directory)
    elif modes.S_ISREG(about.st_mode):
        key = (about.st_dev, about.st_ino)
        if about.st_nlink > 1 and key in links:
            member.type, member.linkname = tarfile.LNKTYPE, links[key]
        else:
            links[key] = shown
            content = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=directory)
            member.size = os.fstat(content).st_size
    elif modes.S_ISFIFO(about.st_mode):
        member.type = tarfile.FIFOTYPE
    else:
        member.type = tarfile.CHRTYPE if modes.S_ISCHR(about.st_mode) else tarfile.BLKTYPE
        member.devmajor, member.devminor = os.major(about.st_rdev), os.minor(about.st_rdev)
    try:
        yield member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
        if content >= 0:
            yield from _content(content, member.size)
    finally:
        if content >= 0:
            os.close(content)
    if member.type == tarfile.DIRTYPE:
        try:
            below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        except (FileNotFoundError, NotADirectoryError):
            return
        try:
            for entry in sorted(os.listdir(below)):
                yield from _tar(below, entry, entry if shown == "." else f"{shown}/{entry}", links)
        finally:
            os.close(below)


def _content(descriptor: int, size: int) -> Iterator[bytes]:
    """Exactly `size` bytes and the padding, also of a file that shrinks meanwhile."""
    left = size
    while left:
        block = os.read(descriptor, min(_CHUNK, left))
        if not block:
            block = b"\0" * min(_CHUNK, left)
        left -= len(block)
        yield block
    if size % 512:
        yield b"\0" * (512 - size % 512)


# --- unpacking ---


class _Reader:
    """Chunks as the file that `tarfile` reads a stream from."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = b""

    def read(self, size: int) -> bytes:
        parts = [self._rest]
        have = len(self._rest)
        while have < size:
            block = next(self._chunks, b"")
            if not block:
                break
            parts.append(block)
            have += len(block)
        data = b"".join(parts)
        self._rest = data[size:]
        return data[:size]


def _extract(
    root: int,
    base: str,
    archive: tarfile.TarFile,
    member: tarfile.TarInfo,
    keep_kinds: bool,
    owner: tuple[int, int] | None,
) -> None:
    name = posixpath.normpath(member.name.lstrip("/"))
    if name == ".." or name.startswith("../"):
        raise InvalidParameter(f'"{member.name}" is outside of "{base}"')
    uid, gid = owner or (member.uid, member.gid)
    path = posixpath.join(base, name) if name != "." else base
    if name == ".":
        return
    parent_path, last = posixpath.split(path)
    parent = make_directory(
        f"/proc/self/fd/{root}", parent_path, uid=owner[0] if owner else 0, gid=owner[1] if owner else 0
    )
    try:
        _clear(parent, last, member, keep_kinds, path)
        if member.isdir():
            with contextlib.suppress(FileExistsError):
                os.mkdir(last, 0o755, dir_fd=parent)
        elif member.issym():
            os.symlink(member.linkname, last, dir_fd=parent)
        elif member.islnk():
            _link(root, base, member, parent, last)
        elif member.isfile():
            _write(archive.extractfile(member), parent, last)
        elif member.isfifo():
            os.mkfifo(last, dir_fd=parent)
        elif member.ischr() or member.isblk():
            kind = modes.S_IFCHR if member.ischr() else modes.S_IFBLK
            os.mknod(last, kind | 0o600, os.makedev(member.devmajor, member.devminor), dir_fd=parent)
        else:
            raise InvalidParameter(f"unhandled tar header type {member.type!r} for {member.name}")
        if member.islnk():
            return
        os.chown(last, uid, gid, dir_fd=parent, follow_symlinks=False)
        if not member.issym():
            # By descriptor and without following: what was just made may have been replaced.
            made = os.open(last, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            try:
                if not modes.S_ISLNK(os.fstat(made).st_mode):
                    os.chmod(f"/proc/self/fd/{made}", member.mode & 0o7777)
            finally:
                os.close(made)
        with contextlib.suppress(OverflowError):
            os.utime(last, (member.mtime, member.mtime), dir_fd=parent, follow_symlinks=False)
    finally:
        os.close(parent)


def _clear(parent: int, last: str, member: tarfile.TarInfo, keep_kinds: bool, path: str) -> None:
    """Make room for a member."""
    try:
        about = os.stat(last, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return
    is_directory = modes.S_ISDIR(about.st_mode)
    if is_directory and member.isdir():
        return
    if keep_kinds and is_directory:
        raise InvalidParameter(f'cannot overwrite directory "{path}" with non-directory "{member.name}"')
    if keep_kinds and member.isdir():
        raise InvalidParameter(f'cannot overwrite non-directory "{path}" with directory "{member.name}"')
    if is_directory:
        shutil.rmtree(last, dir_fd=parent)
    else:
        os.unlink(last, dir_fd=parent)


def _link(root: int, base: str, member: tarfile.TarInfo, parent: int, last: str) -> None:
    target = posixpath.normpath(member.linkname.lstrip("/"))
    if target == ".." or target.startswith("../"):
        raise InvalidParameter(f'invalid hardlink "{member.linkname}" -> outside of "{base}"')
    head, name = posixpath.split(posixpath.join(base, target))
    source = open_in_root(root, head, os.O_PATH | os.O_DIRECTORY)
    try:
        os.link(name, last, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
    finally:
        os.close(source)


def _write(source: IO[bytes] | None, parent: int, last: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(last, flags, 0o600, dir_fd=parent)
    with os.fdopen(descriptor, "wb") as file:
        if source is not None:
            shutil.copyfileobj(source, file, _CHUNK)
