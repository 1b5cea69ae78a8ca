"""Copying between this machine and a container's filesystem by tar archives, by the rules of `cp -r`.

A source that ends in `/.` stands for what is in the directory. A target that is a directory takes the source in
under its name; any other target is the source's new name. See `docker cp` in Docker's documentation.
"""

from __future__ import annotations

import base64
import os
import stat
import sys
import tarfile
import tempfile

from wherry.cli.docker.errors import CliError
from wherry.cli.format.gojson import loads
from wherry.docker_api.client import DockerError

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, BinaryIO, Protocol

    from wherry.docker_api.client import DockerClient

    class Connected(Protocol):
        """Whoever has a client of the engine: the docker command, and the compose command too."""

        @property
        def client(self) -> DockerClient: ...


_DIRECTORY = 1 << 31
"""Go's mode bit for a directory, in X-Docker-Container-Path-Stat."""
_LINK = 1 << 27


def path_stat(cli: Connected, container: str, path: str) -> dict[str, Any]:
    """What the engine says of a path: name, size, mode (Go's bits), linkTarget. DockerError when it is not there."""
    answer = cli.client.request("HEAD", f"/containers/{container}/archive", {"path": path})
    if answer.status >= 400:
        answer.close()
        # The answer to HEAD has no words; those of GET are the same case with some.
        return _stat_of(cli.client.call("GET", f"/containers/{container}/archive", {"path": path}).headers)
    answer.close()
    return _stat_of(answer.headers)


def _stat_of(headers: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = loads(base64.b64decode(headers["x-docker-container-path-stat"]))
    return found


def copy_out(cli: Connected, container: str, source: str, target: str, *, follow: bool, owners: bool) -> int:
    """Copies from the container; `-` writes the archive to standard output. The bytes of the archive."""
    if target != "-":
        folder = os.path.dirname(os.path.abspath(target))
        if not os.path.isdir(folder):
            raise CliError(f'invalid output path: directory "{folder}" does not exist')
    rename = ""
    if follow:
        found = path_stat(cli, container, source)
        if found["mode"] & _LINK and found.get("linkTarget"):
            rename = os.path.basename(source.rstrip("/"))
            source = found["linkTarget"]
    try:
        answer = cli.client.call("GET", f"/containers/{container}/archive", {"path": source})
    except DockerError as error:
        raise CliError(f"Error response from daemon: {error.message}") from None
    if target == "-":
        size = 0
        for chunk in answer.chunks():
            size += len(chunk)
            sys.stdout.buffer.write(chunk)
        return size
    found = _stat_of(answer.headers)
    stream = _Stream(answer.chunks())
    contents = source.endswith("/.") or source == "."
    name = found["name"]
    into = target
    new_name: str | None = None
    if os.path.isdir(target):
        new_name = rename or None
        if contents:
            new_name = ""
    else:
        if target.endswith("/") and not found["mode"] & _DIRECTORY:
            raise CliError(f"cannot copy to directory: {target}: no such directory")
        if os.path.lexists(target) and found["mode"] & _DIRECTORY:
            raise CliError("cannot copy directory")
        if contents:
            os.makedirs(target)
            new_name = ""
        else:
            into, new_name = os.path.split(os.path.abspath(target))
    with tarfile.open(fileobj=stream, mode="r|") as archive:  # type: ignore[call-overload]
        for member in archive:
            member.name = _renamed(member.name, name, new_name)
            if member.islnk():
                member.linkname = _renamed(member.linkname, name, new_name)
            if member.name in ("", "."):
                continue
            _unpack(archive, member, into, owners)
    return stream.size


def _renamed(path: str, old: str, new: str | None) -> str:
    """`path` with its first part `old` replaced by `new` (left out when that is empty)."""
    path = path.removeprefix("./").rstrip("/")
    if new is None:
        return path
    first, _, rest = path.partition("/")
    if first != old:
        return path
    return "/".join(part for part in (new, rest) if part)


def unpack_tree(file: BinaryIO, folder: str) -> None:
    """Unpacks an archive of a whole filesystem into `folder`, which may have content. All becomes this user's."""
    os.makedirs(folder, exist_ok=True)
    with tarfile.open(fileobj=file) as archive:
        for member in archive:
            member.name = member.name.removeprefix("./").rstrip("/")
            if member.name not in ("", "."):
                _unpack(archive, member, folder, owners=False)


def _unpack(archive: tarfile.TarFile, member: tarfile.TarInfo, into: str, owners: bool) -> None:
    place = _inside(into, member.name)
    if member.islnk():
        _inside(into, member.linkname)
    if os.path.lexists(place) and not (member.isdir() and os.path.isdir(place)):
        if os.path.isdir(place) and not os.path.islink(place):
            raise CliError(f"cannot overwrite directory {place} with non-directory")
        os.unlink(place)
    if not owners:
        member.uid, member.gid, member.uname, member.gname = os.getuid(), os.getgid(), "", ""
    archive.extract(member, into, numeric_owner=True)


def _inside(folder: str, name: str) -> str:
    """The path of an archive's member below `folder`. CliError when it leads elsewhere.

    The archive is made by what runs in the container: a link that it put there first must not be followed.
    """
    parts = name.split("/")
    if name.startswith("/") or ".." in parts:
        raise CliError(f"refusing to unpack {name}: it leads out of {folder}")
    path = folder
    for part in parts[:-1]:
        path = os.path.join(path, part)
        if os.path.islink(path):
            raise CliError(f"refusing to unpack {name}: {path} is a symbolic link")
    return os.path.join(folder, name)


class _Stream:
    """Pieces as a file to read from."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._left = b""
        self.size = 0

    def read(self, count: int) -> bytes:
        while len(self._left) < count:
            piece = next(self._chunks, b"")
            if not piece:
                break
            self.size += len(piece)
            self._left += piece
        data, self._left = self._left[:count], self._left[count:]
        return data


def copy_in(cli: Connected, source: str, container: str, target: str, *, follow: bool, owners: bool) -> int:
    """Copies into the container; `-` sends the archive on standard input as it is. The bytes of the archive."""
    path = f"/containers/{container}/archive"
    try:
        found: dict[str, Any] | None = path_stat(cli, container, target)
        if found and found["mode"] & _LINK and found.get("linkTarget"):
            try:
                found = path_stat(cli, container, found["linkTarget"])
            except DockerError:
                found = None
    except DockerError as error:
        if "o such container" in error.message:
            raise
        found = None
    is_directory = bool(found and found["mode"] & _DIRECTORY)
    query = {"path": target, "noOverwriteDirNonDir": True, "copyUIDGID": owners or None}
    if source == "-":
        if not is_directory:
            raise CliError(f'destination "{container}:{target}" must be a directory')
        sent = _Counted(sys.stdin.buffer)
        cli.client.call("PUT", path, query, data=sent.pieces(), headers={"Content-Type": "application/x-tar"})
        return sent.size
    real = os.path.realpath(source) if follow else source
    contents = source.endswith("/.") or source == "."
    try:
        info = os.stat(real) if contents else os.lstat(real.rstrip("/") or "/")
    except OSError as error:
        raise CliError(f"lstat {os.path.abspath(source)}: {(error.strerror or '').lower()}") from None
    name = os.path.basename(os.path.abspath(source))
    if contents and not (found and not is_directory):
        if found is None:
            name, query["path"] = os.path.split(target.rstrip("/"))[::-1]
            query["path"] = query["path"] or "/"
        else:
            name = ""
    elif not is_directory:
        if target.endswith("/") and not stat.S_ISDIR(info.st_mode):
            raise CliError(f"Error response from daemon: Could not find the file {target} in container {container}")
        if found is not None and stat.S_ISDIR(info.st_mode):
            raise CliError("cannot copy directory")
        folder, name = os.path.split(target.rstrip("/"))
        query["path"] = folder or "/"
    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w") as archive:
            archive.add(real.rstrip("/") or "/", arcname=name or ".", filter=None if owners else _without_owner)
        size = file.tell()
        file.seek(0)
        cli.client.call("PUT", path, query, data=_Counted(file).pieces(), headers={"Content-Type": "application/x-tar"})
    return size


def _without_owner(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uname = member.gname = ""
    return member


class _Counted:
    """A file in pieces, counted."""

    def __init__(self, file: BinaryIO | Any) -> None:
        self._file = file
        self.size = 0

    def pieces(self) -> Iterator[bytes]:
        while data := self._file.read(1 << 18):
            self.size += len(data)
            yield data
