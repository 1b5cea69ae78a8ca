"""How to rebuild a layer's tar stream from its unpacked directory, byte for byte.

A recipe holds everything of the archive except the content of regular files: headers, padding, end marker, as
raw bytes, and between them the name of each file whose content goes there. So a layer is on the disk once,
unpacked, and can still be saved or pushed with the digest it came with.

Format: a zstd stream of records. `R <u32 length> <bytes>` is raw; `F <u32 path length> <path> <u64 size>` is a
file's content. After the stream's end there is nothing. A file that a later entry of the same archive replaced
is kept aside; `overrides.json` beside the recipe lists [records before it was replaced, path, place].
"""

import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import zstandard

from .errors import ImageError
from .rootdir import RootDir
from .tarstream import CHUNK

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_FLUSH = 1 << 16


class RecipeWriter:
    """Writes the recipe of one layer to `path`, record by record."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "wb")  # noqa: SIM115 - closed by close()
        self._out = zstandard.ZstdCompressor(level=1).stream_writer(self._file)
        self._raw: list[bytes] = []
        self._pending = 0
        self._overrides_path = path.with_name("overrides.json")
        self._overrides: list[tuple[int, str, str]] = []
        self.files = 0

    def raw(self, data: bytes) -> None:
        if data:
            self._raw.append(data)
            self._pending += len(data)
            if self._pending > _FLUSH:
                self._flush()

    def file(self, path: bytes, size: int) -> None:
        self._flush()
        self._out.write(b"F" + _U32.pack(len(path)) + path + _U64.pack(size))
        self.files += 1

    def replaced(self, path: bytes, place: bytes) -> None:
        """What stood at `path` until now has been moved to `place` beside the layer's directory."""
        self._overrides.append((self.files, os.fsdecode(path), os.fsdecode(place)))

    def _flush(self) -> None:
        if self._pending:
            self._out.write(b"R" + _U32.pack(self._pending) + b"".join(self._raw))
            self._raw.clear()
            self._pending = 0

    def close(self) -> None:
        self._flush()
        self._out.close()  # type: ignore[no-untyped-call]
        self._file.close()
        if self._overrides:
            self._overrides_path.write_text(json.dumps(self._overrides))


def rebuild(layer: Path) -> Iterator[bytes]:
    """The tar stream of the unpacked layer in `layer` (its `fs` directory and its recipe), in chunks.

    The caller compares the digest. Raises ImageError when a file is missing or has changed its size.
    """
    overrides: list[tuple[int, bytes, bytes]] = []
    overrides_path = layer / "overrides.json"
    if overrides_path.exists():
        overrides = [(at, os.fsencode(p), os.fsencode(q)) for at, p, q in json.loads(overrides_path.read_text())]
    with open(layer / "recipe", "rb") as file, RootDir(layer) as root:
        stream = zstandard.ZstdDecompressor().stream_reader(file, read_size=1 << 17)
        index = 0
        while kind := stream.read(1):
            (length,) = _U32.unpack(_exactly(stream, 4))
            data = _exactly(stream, length)
            if kind == b"R":
                yield data
                continue
            (size,) = _U64.unpack(_exactly(stream, 8))
            yield from _content(root, _place(data, index, overrides), size)
            index += 1


def _place(path: bytes, index: int, overrides: list[tuple[int, bytes, bytes]]) -> bytes:
    for before, replaced, place in overrides:
        if index < before and (path == replaced or path.startswith(replaced + b"/")):
            return place + path[len(replaced) :]
    return b"fs/" + path


def _content(root: RootDir, path: bytes, size: int) -> Iterator[bytes]:
    if not size:
        return
    try:
        fd, _ = root.parent(path.rpartition(b"/")[0])
        source = os.open(path.rpartition(b"/")[2], os.O_RDONLY | os.O_NOFOLLOW, dir_fd=fd)
    except OSError as error:
        raise ImageError(f"layer file {os.fsdecode(path)!r} cannot be read: {error.strerror}") from error
    try:
        left = size
        while left:
            data = os.read(source, min(left, CHUNK))
            if not data:
                raise ImageError(f"layer file {os.fsdecode(path)!r} is shorter than recorded")
            left -= len(data)
            yield data
    finally:
        os.close(source)


def _exactly(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    while len(data) < size:
        more = stream.read(size - len(data))
        if not more:
            raise ImageError("layer recipe is truncated")
        data += more
    return data
