"""What a layer may be compressed with, told by its first bytes: nothing, gzip, zstd, bzip2 or xz."""

import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, cast

import zstandard

from .errors import BadArchive

GZIP, ZSTD, BZIP2, XZ = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ\x00"
_CHUNK = 1 << 20


def kind(head: bytes) -> str:
    """`gzip`, `zstd`, `bzip2`, `xz` or `none`, by at least six bytes."""
    for magic, name in ((GZIP, "gzip"), (ZSTD, "zstd"), (BZIP2, "bzip2"), (XZ, "xz")):
        if head.startswith(magic):
            return name
    return "none"


def decompress(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The uncompressed stream, whatever it was compressed with. Raises BadArchive when it is broken or cut."""
    source = iter(chunks)
    head = b""
    while len(head) < 6:
        more = next(source, None)
        if more is None:
            break
        head += more
    whole = _join(head, source)
    name = kind(head)
    if name == "gzip":
        return _gzip(whole)
    if name == "zstd":
        return _zstd(whole)
    if name in ("bzip2", "xz"):
        return _standard(whole, name)
    return whole


def _join(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from rest


def _gzip(chunks: Iterator[bytes]) -> Iterator[bytes]:
    decoder = zlib.decompressobj(31)
    fresh = True
    try:
        for chunk in chunks:
            data = chunk
            while data:
                if decoder.eof:
                    if not data.strip(b"\0"):
                        break  # padding after the last member
                    decoder, fresh = zlib.decompressobj(31), True
                out = decoder.decompress(data, _CHUNK)
                fresh = False
                if out:
                    yield out
                data = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
    except zlib.error as error:
        raise BadArchive(f"gzip: invalid data ({error})") from None
    if not decoder.eof and not fresh:
        raise BadArchive("unexpected EOF")


def _zstd(chunks: Iterator[bytes]) -> Iterator[bytes]:
    reader = zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(
        cast(IO[bytes], _Readable(chunks)), read_across_frames=True
    )
    try:
        while data := reader.read(_CHUNK):
            yield data
    except zstandard.ZstdError as error:
        raise BadArchive(f"zstd: invalid data ({error})") from None


class _Readable:
    """The least that zstandard needs of a file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def read(self, size: int) -> bytes:
        if not self._rest:
            self._rest = next(self._chunks, b"")
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


def _standard(chunks: Iterator[bytes], name: str) -> Iterator[bytes]:
    import bz2
    import lzma

    make: Callable[[], Any] = bz2.BZ2Decompressor if name == "bzip2" else lzma.LZMADecompressor
    decoder = make()
    try:
        for chunk in chunks:
            data = chunk
            while data or not decoder.needs_input:
                out = decoder.decompress(data, _CHUNK)
                if out:
                    yield out
                data = b""
                if decoder.eof:
                    data = decoder.unused_data.lstrip(b"\0")
                    if not data:
                        break
                    decoder = make()
    except (OSError, lzma.LZMAError) as error:
        raise BadArchive(f"{name}: invalid data ({error})") from None
    if not decoder.eof:
        raise BadArchive("unexpected EOF")
