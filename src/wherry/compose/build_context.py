"""The tar stream of a build's context: a folder without what its `.dockerignore` leaves out, and its Dockerfile."""

import io
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

from wherry.build.ignore import Patterns, read_ignore_file
from wherry.compose.errors import ComposeError

PIECE_BYTES = 1 << 20
INLINE_NAME = ".dockerfile.inline"


class _Pieces(io.RawIOBase):
    """What tarfile writes, to be taken away piece by piece."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.data += data
        return len(data)

    def take(self) -> bytes:
        taken = bytes(self.data)
        self.data.clear()
        return taken


def dockerfile_of(context: Path, dockerfile: str, inline: str | None) -> tuple[str, bytes | None]:
    """(name in the context, its content if it is not a file of the context). Raises ComposeError."""
    if inline is not None:
        return INLINE_NAME, inline.encode()
    path = (context / dockerfile).resolve()
    if not path.is_file():
        raise ComposeError(f"failed to read dockerfile: open {context / dockerfile}: no such file or directory")
    try:
        return str(path.relative_to(context.resolve())), None
    except ValueError:
        return f".dockerfile.{path.name}", path.read_bytes()


def pack(context: Path, dockerfile: str, content: bytes | None) -> Iterator[bytes]:
    """The context as pieces of a tar. `dockerfile` and `content` as `dockerfile_of` gives them. Raises ComposeError."""
    if not context.is_dir():
        raise ComposeError(f"unable to prepare context: path {str(context)!r} not found")
    patterns, forced = _ignored(context, dockerfile)
    pieces = _Pieces()
    with tarfile.open(fileobj=pieces, mode="w|", bufsize=PIECE_BYTES, format=tarfile.PAX_FORMAT) as tar:
        for name in _files(context, patterns, forced):
            if name == dockerfile and content is not None:
                continue
            _add(tar, context, name)
            if len(pieces.data) >= PIECE_BYTES:
                yield pieces.take()
        if content is not None:
            member = tarfile.TarInfo(dockerfile)
            member.size, member.mode = len(content), 0o644
            tar.addfile(member, io.BytesIO(content))
    yield pieces.take()


def _add(tar: tarfile.TarFile, context: Path, name: str) -> None:
    path = context / name
    try:
        member = tar.gettarinfo(path, name)
        if member is None or stat.S_ISSOCK(path.lstat().st_mode):
            return
        member.uname = member.gname = ""
        if member.isreg():
            with open(path, "rb") as file:
                tar.addfile(member, file)
        else:
            tar.addfile(member)
    except OSError as error:
        raise ComposeError(f"error checking context: {path}: {error.strerror}") from None


def _ignored(context: Path, dockerfile: str) -> tuple[Patterns, set[str]]:
    """The patterns, and the files that are sent whatever they say: the builder itself needs them."""
    own = context / f"{dockerfile}.dockerignore"
    file = own if own.is_file() else context / ".dockerignore"
    if not file.is_file():
        return Patterns([]), set()
    try:
        patterns = Patterns(read_ignore_file(file.read_text()))
    except ValueError as error:
        raise ComposeError(f"{file}: {error}") from None
    return patterns, {dockerfile, ".dockerignore"}


def _files(context: Path, patterns: Patterns, forced: set[str]) -> Iterator[str]:
    """Paths relative to the context, folders before what is in them, in a stable order."""
    folders = [""]
    while folders:
        folder = folders.pop()
        below = []
        for entry in sorted(os.scandir(context / folder), key=lambda one: one.name):
            name = f"{folder}/{entry.name}" if folder else entry.name
            excluded = patterns.matches(name) and name not in forced
            is_folder = entry.is_dir(follow_symlinks=False)
            holds_forced = is_folder and any(one.startswith(f"{name}/") for one in forced)
            if not excluded:
                yield name
            if is_folder and (not excluded or holds_forced or patterns.may_bring_back(name)):
                below.append(name)
        folders += reversed(below)
