"""gzip on all cores: blocks are compressed side by side and make one ordinary member.

Each block is deflated on its own with the end of the block before it as its dictionary, and ends at a byte boundary
(a sync flush), so that the pieces just follow each other (RFC 1951, RFC 1952). The result depends on the input alone:
no time, no name, no number of cores. zlib lets go of the interpreter lock while it works.
"""

import os
import struct
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

LEVEL = 3
_BLOCK = 1 << 19
_WINDOW = 1 << 15
_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


def compress(chunks: Iterable[bytes], level: int = LEVEL) -> Iterator[bytes]:
    """One gzip member. Blocks; holds a few blocks a core in memory."""
    workers = max(1, min(8, os.cpu_count() or 1))
    checksum = zlib.crc32(b"")
    length = 0
    yield _HEADER
    with ThreadPoolExecutor(workers, thread_name_prefix="wherry-gzip") as pool:
        pending: deque[Future[bytes]] = deque()
        before = b""
        try:
            for block in _blocks(chunks):
                pending.append(pool.submit(_deflate, block, before, level))
                checksum = zlib.crc32(block, checksum)
                length += len(block)
                before = block[-_WINDOW:]
                if len(pending) > 2 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
    yield b"\x03\x00" + struct.pack("<II", checksum, length & 0xFFFFFFFF)  # an empty last block, then the trailer


def _deflate(block: bytes, before: bytes, level: int) -> bytes:
    if before:
        encoder = zlib.compressobj(level, zlib.DEFLATED, -15, zdict=before)
    else:
        encoder = zlib.compressobj(level, zlib.DEFLATED, -15)
    return encoder.compress(block) + encoder.flush(zlib.Z_SYNC_FLUSH)


def _blocks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    gathered: list[bytes] = []
    size = 0
    for chunk in chunks:
        gathered.append(chunk)
        size += len(chunk)
        if size >= _BLOCK:
            joined = b"".join(gathered)
            at = 0
            while size - at >= _BLOCK:
                yield joined[at : at + _BLOCK]
                at += _BLOCK
            gathered, size = [joined[at:]], size - at
    if size:
        yield b"".join(gathered)
