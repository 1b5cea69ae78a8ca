"""Reading and writing tar streams, byte for byte.

Specified in POSIX.1-2001 pax, with GNU's long names, base-256 numbers and the four sparse formats. The
standard library's `tarfile` loses what an image layer needs: the raw header bytes (a layer must be rebuilt
identically), names that are not UTF-8, and it seeks where a registry's answer only streams. Names are `bytes`
throughout.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from .errors import BadArchive

BLOCK = 512
CHUNK = 1 << 20
END = bytes(BLOCK * 2)

REGULAR, HARDLINK, SYMLINK, CHAR, BLOCKDEV, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
_CONTIGUOUS, _GNU_SPARSE, _PAX, _PAX_GLOBAL, _GNU_NAME, _GNU_LINK = b"7", b"S", b"x", b"g", b"L", b"K"

_XATTR = b"SCHILY.xattr."
_HEADER = struct.Struct("100s8s8s8s12s12s8s1s100s6s2s32s32s8s8s155s12x")
_MAX_META = 64 << 20  # a pax record or a long name beyond this is an attack, not a name


@dataclass(slots=True)
class Entry:
    """One member of an archive. `mtime` is in nanoseconds; `size` is what the file holds once written."""

    name: bytes
    type: bytes = REGULAR
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime: int = 0
    linkname: bytes = b""
    major: int = 0
    minor: int = 0
    xattrs: dict[bytes, bytes] = field(default_factory=dict)
    sparse: list[tuple[int, int]] | None = None
    """(offset, length) of the pieces that the payload consists of, for a sparse file."""
    payload: int = 0
    """Bytes of content in the archive; equals `size` unless sparse."""
    header: bytes = b""
    """Every byte of the archive between the previous entry's content (with its padding) and this one's."""


_MAX_SIZE = 1 << 63
_MAX_ID = (1 << 32) - 1


class _UnexpectedEnd(BadArchive):
    """The stream ended inside something."""


class TarReader:
    """Entries of a tar stream given as chunks of bytes.

    Iterate; for each entry take its content with `content()` before the next one, or leave it to be skipped.
    After the last entry `trailer` holds what follows it (the end marker and any padding).
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._buffer = memoryview(b"")
        self._position = 0
        self._left = 0
        self._padding = 0
        self._global: dict[bytes, bytes] = {}
        self.trailer = b""
        self.padding_bytes = b""

    def __iter__(self) -> Iterator[Entry]:
        while True:
            self._skip_content()
            entry = self._next_entry()
            if entry is None:
                return
            yield entry

    def content(self) -> Iterator[memoryview]:
        """The current entry's content, in pieces as they come."""
        while self._left:
            piece = self._some(self._left)
            self._left -= len(piece)
            yield piece

    def padding(self) -> bytes:
        """The bytes after the content, up to the block's end; call it after `content()` is exhausted."""
        if not self._padding:
            return b""
        data = self._exact(self._padding)
        self._padding = 0
        return data

    def _skip_content(self) -> None:
        for _ in self.content():
            pass
        self.padding_bytes = self.padding()

    def _next_entry(self) -> Entry | None:
        raw: list[bytes] = [self.padding_bytes]
        self.padding_bytes = b""
        pax: dict[bytes, bytes] | None = None
        long_name = long_link = None
        while True:
            block = self._exact(BLOCK, allow_end=True)
            raw.append(block)
            if not block or not block.strip(b"\0"):
                self.trailer = b"".join(raw) + self._rest()
                return None
            entry = _parse_header(block)
            if entry.type in (_PAX, _PAX_GLOBAL, _GNU_NAME, _GNU_LINK):
                if entry.size > _MAX_META:
                    raise BadArchive("archive/tar: header field too long")
                data = self._exact(entry.size)
                raw.append(data)
                raw.append(self._exact(-entry.size % BLOCK))
                if entry.type == _PAX:
                    pax = _parse_pax(data)
                elif entry.type == _PAX_GLOBAL:
                    self._global.update(_parse_pax(data))
                elif entry.type == _GNU_NAME:
                    long_name = data.rstrip(b"\0")
                else:
                    long_link = data.rstrip(b"\0")
                continue
            if long_name is not None:
                entry.name = long_name
            if long_link is not None:
                entry.linkname = long_link
            records = {**self._global, **pax} if pax and self._global else pax or self._global
            if records:
                _apply_pax(entry, records)
            try:
                self._begin_content(entry, block, records or {}, raw)
            except ValueError:
                raise BadArchive("archive/tar: invalid tar header") from None
            _check_ranges(entry)
            entry.header = b"".join(raw)
            return entry

    def _begin_content(self, entry: Entry, block: bytes, pax: dict[bytes, bytes], raw: list[bytes]) -> None:
        if entry.type in (b"\0", _CONTIGUOUS):
            entry.type = DIRECTORY if entry.name.endswith(b"/") else REGULAR
        elif entry.type == REGULAR and entry.name.endswith(b"/"):
            entry.type = DIRECTORY
        if entry.type in (SYMLINK, HARDLINK, DIRECTORY, CHAR, BLOCKDEV, FIFO):
            # Some archivers give a hard link the size of its target and no content.
            entry.size = 0
        if entry.size < 0:
            raise BadArchive("archive/tar: invalid tar header")
        entry.payload = self._left = entry.size
        self._padding = -entry.size % BLOCK
        if entry.type == _GNU_SPARSE:
            entry.type = REGULAR
            entry.sparse = self._gnu_sparse_map(block, raw)
            entry.size = _number(block[483:495])
        elif pax.get(b"GNU.sparse.major") == b"1":
            entry.sparse = self._pax_sparse_map(raw)
            entry.payload = self._left
            entry.size = int(pax.get(b"GNU.sparse.realsize", b"0"))
        elif b"GNU.sparse.map" in pax:
            numbers = [int(n) for n in pax[b"GNU.sparse.map"].split(b",")]
            entry.sparse = list(zip(numbers[::2], numbers[1::2], strict=True))
            entry.size = int(pax.get(b"GNU.sparse.size", b"0"))
        if entry.sparse is not None and sum(length for _, length in entry.sparse) != entry.payload:
            raise BadArchive("archive/tar: invalid tar header")

    def _gnu_sparse_map(self, block: bytes, raw: list[bytes]) -> list[tuple[int, int]]:
        pieces = _sparse_entries(block[386:482])
        extended = block[482]
        while extended:
            more = self._exact(BLOCK)
            raw.append(more)
            pieces += _sparse_entries(more[:504])
            extended = more[504]
        return pieces

    def _pax_sparse_map(self, raw: list[bytes]) -> list[tuple[int, int]]:
        """The map of format 1.0 stands at the start of the content, as decimal lines."""
        text = b""

        def numbers() -> Iterator[int]:
            nonlocal text
            while True:
                while b"\n" not in text:
                    if self._left < BLOCK:
                        raise BadArchive("archive/tar: invalid tar header")
                    data = self._exact(BLOCK)
                    raw.append(data)
                    self._left -= BLOCK
                    text += data
                line, _, text = text.partition(b"\n")
                yield _decimal(line)

        source = numbers()
        count = next(source)
        if count > 1 << 20:
            raise BadArchive("archive/tar: invalid tar header")
        return [(next(source), next(source)) for _ in range(count)]

    def _some(self, limit: int) -> memoryview:
        if self._position >= len(self._buffer):
            self._refill()
        piece = self._buffer[self._position : self._position + limit]
        self._position += len(piece)
        return piece

    def _exact(self, size: int, *, allow_end: bool = False) -> bytes:
        end = self._position + size
        if end <= len(self._buffer):
            data = bytes(self._buffer[self._position : end])
            self._position = end
            return data
        parts: list[bytes] = []
        missing = size
        while missing:
            try:
                piece = self._some(missing)
            except _UnexpectedEnd:
                if allow_end and missing == size:
                    return b""
                raise
            parts.append(bytes(piece))
            missing -= len(piece)
        return b"".join(parts)

    def _refill(self) -> None:
        for chunk in self._chunks:
            if chunk:
                self._buffer, self._position = memoryview(chunk), 0
                return
        raise _UnexpectedEnd("unexpected EOF")

    def _rest(self) -> bytes:
        parts = [bytes(self._buffer[self._position :])]
        self._buffer, self._position = memoryview(b""), 0
        size = 0
        for chunk in self._chunks:
            parts.append(bytes(chunk))
            size += len(chunk)
            if size > _MAX_META:
                raise BadArchive("archive/tar: too much data after the end of the archive")
        return b"".join(parts)


def _check_ranges(entry: Entry) -> None:
    """Numbers that no file can have would be errors of the system, or worse, further on."""
    sizes = [entry.size, *(number for pair in entry.sparse or () for number in pair)]
    if (
        not all(0 <= size < _MAX_SIZE for size in sizes)
        or not (0 <= entry.uid < _MAX_ID and 0 <= entry.gid < _MAX_ID)
        or not -_MAX_SIZE < entry.mtime < _MAX_SIZE
        or not (0 <= entry.major < 1 << 32 and 0 <= entry.minor < 1 << 32)
    ):
        raise BadArchive("archive/tar: invalid tar header")


def _sparse_entries(data: bytes) -> list[tuple[int, int]]:
    pieces = []
    for at in range(0, len(data) - 23, 24):
        if not data[at]:
            break
        pieces.append((_number(data[at : at + 12]), _number(data[at + 12 : at + 24])))
    return pieces


def _parse_header(block: bytes) -> Entry:
    name, mode, uid, gid, size, mtime, checksum, kind, link, magic, _, _, _, major, minor, prefix = _HEADER.unpack(
        block
    )
    stated = _number(checksum)
    # The checksum counts its own field as spaces; historic archivers summed signed characters.
    if stated != sum(block) - sum(checksum) + 256 and stated != _signed_sum(block):
        raise BadArchive("archive/tar: invalid tar header")
    path = name.rstrip(b"\0") if name[-1:] == b"\0" else name
    path = path.split(b"\0", 1)[0]
    if magic == b"ustar\0":
        prefix = prefix.split(b"\0", 1)[0]
        if prefix:
            path = prefix + b"/" + path
    device = kind in (CHAR, BLOCKDEV)
    return Entry(
        path,
        kind,
        _number(mode) & 0o7777,
        _number(uid),
        _number(gid),
        _number(size),
        _number(mtime) * 1_000_000_000,
        link.split(b"\0", 1)[0],
        _number(major) if device else 0,
        _number(minor) if device else 0,
    )


def _signed_sum(block: bytes) -> int:
    values: tuple[int, ...] = struct.unpack("148b8x356b", block)
    return sum(values) + 256


def _number(field_bytes: bytes) -> int:
    """An octal field, or GNU's base-256 when the first bit is set."""
    first = field_bytes[0]
    if first & 0x80:
        value = int.from_bytes(field_bytes, "big", signed=False) & ((1 << (len(field_bytes) * 8 - 1)) - 1)
        if first & 0x40:
            value -= 1 << (len(field_bytes) * 8 - 1)
        return value
    try:
        return int(field_bytes.strip(b" \0") or b"0", 8)
    except ValueError:
        raise BadArchive("archive/tar: invalid tar header") from None


def _decimal(text: bytes) -> int:
    if not text.isdigit():
        raise BadArchive("archive/tar: invalid tar header")
    return int(text)


def _parse_pax(data: bytes) -> dict[bytes, bytes]:
    records: dict[bytes, bytes] = {}
    position = 0
    while position < len(data):
        space = data.find(b" ", position, position + 20)
        if space < 0:
            if not data[position:].strip(b"\0"):
                break
            raise BadArchive("archive/tar: invalid tar header")
        length = _decimal(data[position:space])
        record = data[space + 1 : position + length]
        if length <= space - position or position + length > len(data) or not record.endswith(b"\n"):
            raise BadArchive("archive/tar: invalid tar header")
        key, _, value = record[:-1].partition(b"=")
        records[key] = value
        position += length
    return records


def _apply_pax(entry: Entry, records: dict[bytes, bytes]) -> None:
    for key, value in records.items():
        if key == b"path":
            entry.name = value
        elif key == b"linkpath":
            entry.linkname = value
        elif key == b"size":
            entry.size = _decimal(value)
        elif key == b"uid":
            entry.uid = _decimal(value)
        elif key == b"gid":
            entry.gid = _decimal(value)
        elif key == b"mtime":
            entry.mtime = _nanoseconds(value)
        elif key.startswith(_XATTR):
            entry.xattrs[key[len(_XATTR) :]] = value
    if b"GNU.sparse.name" in records:
        entry.name = records[b"GNU.sparse.name"]


def _nanoseconds(text: bytes) -> int:
    whole, _, fraction = text.partition(b".")
    try:
        seconds = int(whole or b"0")
        nanos = int((fraction + b"000000000")[:9])
    except ValueError:
        raise BadArchive("archive/tar: invalid tar header") from None
    return seconds * 1_000_000_000 + (-nanos if text.startswith(b"-") else nanos)


def encode_header(entry: Entry) -> bytes:
    """The header blocks of `entry`: ustar when it fits, preceded by a pax header when it does not.

    The result depends on the entry alone, so that the same content always gives the same layer digest.
    Times are cut to the second.
    """
    pax: dict[bytes, bytes] = {}
    name = entry.name
    prefix = b""
    if len(name) > 100:
        split = name.rfind(b"/", 0, 156)
        if split > 0 and len(name) - split - 1 <= 100 and name[split + 1 :]:
            prefix, name = name[:split], name[split + 1 :]
        else:
            pax[b"path"] = entry.name
            name = name[:100]
    link = entry.linkname
    if len(link) > 100:
        pax[b"linkpath"] = link
        link = link[:100]
    if entry.size >= 1 << 33:
        pax[b"size"] = b"%d" % entry.size
    for key, number in ((b"uid", entry.uid), (b"gid", entry.gid)):
        if number >= 1 << 21:
            pax[key] = b"%d" % number
    seconds = entry.mtime // 1_000_000_000
    if not 0 <= seconds < 1 << 33:
        pax[b"mtime"] = b"%d" % seconds
        seconds = 0
    for key in sorted(entry.xattrs):
        pax[_XATTR + key] = entry.xattrs[key]
    head = b""
    if pax:
        records = b"".join(_pax_record(key, value) for key, value in sorted(pax.items()))
        base = entry.name.rstrip(b"/").rsplit(b"/", 1)[-1]
        head = _ustar(b"PaxHeaders.0/" + base[:80], _PAX, 0o644, 0, 0, len(records), 0, b"", 0, 0, b"")
        head += records + bytes(-len(records) % BLOCK)
    return head + _ustar(
        name, entry.type, entry.mode, entry.uid if entry.uid < 1 << 21 else 0, entry.gid if entry.gid < 1 << 21 else 0,
        entry.size if entry.size < 1 << 33 else 0, seconds, link, entry.major, entry.minor, prefix,
    )  # fmt: skip


def _ustar(
    name: bytes, kind: bytes, mode: int, uid: int, gid: int, size: int, mtime: int, link: bytes,
    major: int, minor: int, prefix: bytes,
) -> bytes:  # fmt: skip
    device = kind in (CHAR, BLOCKDEV)
    block = b"%b%07o\0%07o\0%07o\0%011o\0%011o\0        %b%bustar\00000%b%b%b%b" % (
        name.ljust(100, b"\0"), mode, uid, gid, size, mtime, kind, link.ljust(100, b"\0"), bytes(64),
        b"%07o\0%07o\0" % (major, minor) if device else bytes(16), prefix.ljust(155, b"\0"), bytes(12),
    )  # fmt: skip
    return b"%b%06o\0 %b" % (block[:148], sum(block), block[156:])


def _pax_record(key: bytes, value: bytes) -> bytes:
    body = b" " + key + b"=" + value + b"\n"
    length = len(body)
    while len(b"%d" % length) + len(body) != length:
        length = len(b"%d" % length) + len(body)
    return b"%d" % length + body


def padding(size: int) -> bytes:
    """What fills the last block after a content of `size` bytes."""
    return bytes(-size % BLOCK)
