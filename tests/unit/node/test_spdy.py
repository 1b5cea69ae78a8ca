"""SPDY/3.1 as Kubernetes' clients speak it."""

import asyncio
import struct
import zlib

import pytest

from wherry.node.spdy import DICTIONARY, SpdyError, SpdySession, SpdyStream


class Client:
    """The other side: builds frames and collects what the session sends."""

    def __init__(self) -> None:
        self.deflate = zlib.compressobj(zdict=DICTIONARY)
        self.sent: list[bytes] = []
        self.frames: asyncio.Queue[bytes] = asyncio.Queue()

    async def take(self, frame: bytes) -> None:
        self.sent.append(frame)

    def open(self, id: int, headers: dict[str, str]) -> bytes:
        block = struct.pack(">I", len(headers))
        for name, value in headers.items():
            block += struct.pack(">I", len(name)) + name.encode() + struct.pack(">I", len(value)) + value.encode()
        packed = self.deflate.compress(block) + self.deflate.flush(zlib.Z_SYNC_FLUSH)
        payload = struct.pack(">IIH", id, 0, 0) + packed
        return struct.pack(">HHI", 0x8003, 1, len(payload)) + payload


def data(id: int, content: bytes, fin: bool = False) -> bytes:
    return struct.pack(">II", id, (fin << 24) | len(content)) + content


def test_the_dictionary_is_the_standards() -> None:
    assert (len(DICTIONARY), zlib.adler32(DICTIONARY)) == (1423, 0xE3C6A7C2)


async def test_streams_carry_data_both_ways_whatever_the_chunks() -> None:
    client = Client()
    streams: list[SpdyStream] = []
    session = SpdySession(client.take, streams.append)
    raw = client.open(1, {"streamtype": "error"}) + client.open(3, {"streamtype": "data", "port": "80"})
    raw += data(3, b"hello") + data(3, b"", fin=True) + struct.pack(">HHII", 0x8003, 6, 4, 7)
    pieces = [raw[at : at + 5] for at in range(0, len(raw), 5)]

    async def receive() -> bytes:
        return pieces.pop(0) if pieces else b""

    await session.run(receive)
    assert [stream.headers for stream in streams] == [{"streamtype": "error"}, {"streamtype": "data", "port": "80"}]
    assert [chunk async for chunk in streams[1]] == [b"hello"]
    kinds = [struct.unpack(">HH", frame[:4]) for frame in client.sent]
    assert kinds == [(0x8003, 2), (0x8003, 2), (0x8003, 6)]


async def test_writing_and_half_closing() -> None:
    client = Client()
    session = SpdySession(client.take, lambda stream: None)
    stream = SpdyStream(session, 5, {})
    await stream.write(b"x" * 40_000)
    await stream.finish()
    await stream.finish()
    assert [len(frame) - 8 for frame in client.sent] == [32768, 7232, 0]
    assert client.sent[-1] == struct.pack(">II", 5, 1 << 24)


async def test_a_broken_peer_is_named() -> None:
    session = SpdySession(Client().take, lambda stream: None)
    frames = [struct.pack(">HHI", 0x8002, 1, 0), b""]

    async def receive() -> bytes:
        return frames.pop(0)

    with pytest.raises(SpdyError, match="version 2 is not supported"):
        await session.run(receive)
