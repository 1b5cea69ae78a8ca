"""SPDY/3.1 framing, the server's side: just what Kubernetes' streaming protocols use of it.

Vocabulary: a *session* is one connection, a *stream* one byte pipe in it, opened by the client with headers (such as
`streamtype: data`). There is no flow control: the clients that speak this in Kubernetes have none either.
Specified in https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/.
"""

import asyncio
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable

SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS, WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9
FLAG_FIN = 0x01
MAX_DATA = 32 * 1024

_NAMES = (
    "options", "head", "post", "put", "delete", "trace", "accept", "accept-charset", "accept-encoding",
    "accept-language", "accept-ranges", "age", "allow", "authorization", "cache-control", "connection",
    "content-base", "content-encoding", "content-language", "content-length", "content-location", "content-md5",
    "content-range", "content-type", "date", "etag", "expect", "expires", "from", "host", "if-match",
    "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "last-modified", "location",
    "max-forwards", "pragma", "proxy-authenticate", "proxy-authorization", "range", "referer", "retry-after",
    "server", "te", "trailer", "transfer-encoding", "upgrade", "user-agent", "vary", "via", "warning",
    "www-authenticate", "method", "get", "status",
)  # fmt: skip
_MORE = ("200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive", "origin")
_TAIL = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
    "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = b"".join(struct.pack(">I", len(word)) + word.encode() for word in (*_NAMES, *_MORE)) + _TAIL.encode()
"""What both sides prime their header compression with (section 2.6.10.1)."""


class SpdyError(Exception):
    """The peer broke the protocol, or the connection."""


class SpdyStream:
    """One stream: iterate over what the client sends until it half-closes; `write`, then `finish`."""

    def __init__(self, session: "SpdySession", id: int, headers: dict[str, str]) -> None:
        self.id = id
        self.headers = headers
        self._session = session
        self._received: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._finished = False
        self.broken = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._chunks()

    async def _chunks(self) -> AsyncIterator[bytes]:
        while (data := await self._received.get()) is not None:
            yield data

    def feed(self, data: bytes | None) -> None:
        """From the session: data, or None at the end."""
        self._received.put_nowait(data)

    async def write(self, data: bytes) -> None:
        for start in range(0, len(data), MAX_DATA):
            part = data[start : start + MAX_DATA]
            await self._session.send(struct.pack(">I", self.id) + struct.pack(">I", len(part)) + part)

    async def finish(self) -> None:
        """Half-close: nothing more is written. Idempotent."""
        if not self._finished and not self.broken:
            self._finished = True
            await self._session.send(struct.pack(">I", self.id) + struct.pack(">I", FLAG_FIN << 24))

    async def reset(self) -> None:
        """Break the stream off."""
        self.broken = True
        await self._session.send_control(RST_STREAM, 0, struct.pack(">II", self.id, 5))


class SpdySession:
    """`run(receive)` reads from `receive` (which returns b"" at the end) until the connection ends.

    `accept` is called for each stream that the client opens; raising SpdyError refuses it.
    """

    def __init__(self, send: Callable[[bytes], Awaitable[None]], accept: Callable[[SpdyStream], None]) -> None:
        self._send = send
        self._accept = accept
        self._streams: dict[int, SpdyStream] = {}
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(zdict=DICTIONARY)
        self._lock = asyncio.Lock()

    async def send(self, frame: bytes) -> None:
        async with self._lock:
            await self._send(frame)

    async def send_control(self, kind: int, flags: int, payload: bytes) -> None:
        await self.send(struct.pack(">HHI", 0x8003, kind, (flags << 24) | len(payload)) + payload)

    async def run(self, receive: Callable[[], Awaitable[bytes]]) -> None:
        """Raises SpdyError when the peer breaks the protocol."""
        buffer = bytearray()
        try:
            while data := await receive():
                buffer += data
                while len(buffer) >= 8:
                    length = int.from_bytes(buffer[5:8], "big")
                    if len(buffer) < 8 + length:
                        break
                    head, payload = bytes(buffer[:8]), bytes(buffer[8 : 8 + length])
                    del buffer[: 8 + length]
                    await self._frame(head, payload)
        finally:
            for stream in self._streams.values():
                stream.broken = True
                stream.feed(None)

    async def _frame(self, head: bytes, payload: bytes) -> None:
        flags = head[4]
        if not head[0] & 0x80:
            stream = self._streams.get(int.from_bytes(head[:4], "big"))
            if stream is not None:
                if payload:
                    stream.feed(payload)
                if flags & FLAG_FIN:
                    stream.feed(None)
            return
        version, kind = struct.unpack(">HH", head[:4])
        if version & 0x7FFF != 3:
            raise SpdyError(f"SPDY version {version & 0x7FFF} is not supported")
        if kind == SYN_STREAM:
            await self._open(payload, flags)
        elif kind == PING:
            await self.send_control(PING, 0, payload)
        elif kind == RST_STREAM:
            stream = self._streams.pop(int.from_bytes(payload[:4], "big"), None)
            if stream is not None:
                stream.broken = True
                stream.feed(None)
        elif kind == HEADERS:
            self._headers(payload[4:])

    async def _open(self, payload: bytes, flags: int) -> None:
        id = int.from_bytes(payload[:4], "big") & 0x7FFFFFFF
        stream = SpdyStream(self, id, self._headers(payload[10:]))
        self._streams[id] = stream
        try:
            self._accept(stream)
        except SpdyError:
            await stream.reset()
            return
        if flags & FLAG_FIN:
            stream.feed(None)
        async with self._lock:
            block = self._deflate.compress(struct.pack(">I", 0)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
            body = struct.pack(">I", id) + block
            await self._send(struct.pack(">HHI", 0x8003, SYN_REPLY, len(body)) + body)

    def _headers(self, block: bytes) -> dict[str, str]:
        try:
            raw = self._inflate.decompress(block)
            (count,) = struct.unpack_from(">I", raw)
            at = 4
            words = []
            for _ in range(2 * count):
                (length,) = struct.unpack_from(">I", raw, at)
                words.append(raw[at + 4 : at + 4 + length].decode("latin-1"))
                at += 4 + length
        except (zlib.error, struct.error) as error:
            raise SpdyError(f"broken header block: {error}") from error
        return {name.lower(): value for name, value in zip(words[::2], words[1::2], strict=True)}
