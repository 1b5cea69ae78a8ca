"""What a build sends: a directory as a tar stream, without what .dockerignore leaves out."""

from __future__ import annotations

import os
import stat
import tarfile

from wherry.cli.docker.errors import CliError

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from wherry.build.ignore import Patterns

_BLOCK = 512
_PIECE = 1 << 18


class Context:
    """The pieces of an archive, and how many bytes of it were sent."""

    def __init__(self, folder: str, dockerfile: str, content: bytes | None) -> None:
        """`folder` may be empty for a Dockerfile without a context. `content` is a Dockerfile from elsewhere, sent
        under the name `dockerfile`."""
        self.folder = folder
        self.dockerfile = dockerfile
        self.content = content
        self.sent = 0

    def pieces(self) -> Iterator[bytes]:
        """The archive. CliError when a file cannot be read."""
        for piece in self._archive():
            self.sent += len(piece)
            yield piece
        yield b"\0" * (2 * _BLOCK)

    def __iter__(self) -> Iterator[bytes]:
        return self.pieces()

    def _archive(self) -> Iterator[bytes]:
        if self.content is not None:
            info = tarfile.TarInfo(self.dockerfile)
            info.size = len(self.content)
            yield info.tobuf(tarfile.PAX_FORMAT) + self.content + _padding(len(self.content))
        if not self.folder:
            return
        ignored = read_patterns(self.folder, self.dockerfile)
        yield from self._folder("", ignored)

    def _folder(self, below: str, ignored: Patterns) -> Iterator[bytes]:
        try:
            entries = sorted(os.scandir(os.path.join(self.folder, below)), key=lambda entry: entry.name)
        except OSError as error:
            reason = (error.strerror or "").lower()
            raise CliError(f"error checking context: open {error.filename}: {reason}") from None
        for entry in entries:
            path = f"{below}/{entry.name}" if below else entry.name
            needed = path in (".dockerignore", self.dockerfile, f"{self.dockerfile}.dockerignore")
            hidden = ignored.matches(path) and not needed
            folder = entry.is_dir(follow_symlinks=False)
            if hidden and not (folder and (ignored.may_bring_back(path) or self.dockerfile.startswith(f"{path}/"))):
                continue
            if path == self.dockerfile and self.content is not None:
                continue
            info = entry.stat(follow_symlinks=False)
            if stat.S_ISSOCK(info.st_mode):
                continue
            if not hidden:
                yield from self._member(path, entry.path)
            if folder:
                yield from self._folder(path, ignored)

    def _member(self, path: str, place: str) -> Iterator[bytes]:
        with tarfile.TarFile(fileobj=_Nothing(), mode="w") as maker:
            info = maker.gettarinfo(place, path)
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        # Hard links within the context would need their target first; their content is sent twice instead.
        if info.islnk():
            info.type, info.linkname, info.size = tarfile.REGTYPE, "", os.stat(place).st_size
        yield info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
        if not info.isreg():
            return
        try:
            file: BinaryIO = open(place, "rb")  # noqa: SIM115 - closed below
        except OSError as error:
            raise CliError(f"error checking context: can't stat '{path}': {error.strerror}") from None
        left = info.size
        with file:
            while left and (data := file.read(min(left, _PIECE))):
                left -= len(data)
                yield data
        # A file that shrank meanwhile still fills the size that its header promised.
        yield b"\0" * left + _padding(info.size)


class _Nothing:
    """A file that TarFile may write to."""

    def write(self, data: bytes) -> int:
        return len(data)

    def tell(self) -> int:
        return 0

    def read(self, count: int = -1) -> bytes:
        return b""

    def seek(self, offset: int, whence: int = 0) -> int:
        return 0

    def close(self) -> None:
        return


def _padding(size: int) -> bytes:
    return b"\0" * (-size % _BLOCK)


def read_patterns(folder: str, dockerfile: str) -> Patterns:
    """The patterns of `<dockerfile>.dockerignore` or `.dockerignore`."""
    from wherry.build.ignore import Patterns, read_ignore_file

    for name in (f"{dockerfile}.dockerignore", ".dockerignore"):
        try:
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                text = file.read()
        except OSError:
            continue
        try:
            return Patterns(read_ignore_file(text))
        except ValueError as error:
            raise CliError(f"error reading {name}: {error}") from None
    return Patterns([])
