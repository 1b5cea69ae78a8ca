"""A watch over HTTP: one chunked answer that goes on until the client, the timeout or an error ends it.

Frames are written straight from the cache's flush. A client that does not keep up is left alone while its socket is
full (its position in the window and what the socket has not taken, about 1 MiB, is all it costs) and told 410 when it
reads on after the window has moved past it; one that has stopped reading is cut then.
"""

import asyncio
import random
from collections.abc import Callable

from wherry.kube_api.api import Api
from wherry.kube_api.cache import CacheEvent, frame
from wherry.kube_api.call import Call
from wherry.kube_api.http.message import Request
from wherry.kube_api.objects import Entry
from wherry.kube_api.verbs.watch import WatchStream, error_frame
from wherry.schema.errors import ApiError, Gone

MIN_TIMEOUT = 1800
BOOKMARK_SECONDS = 60.0
INITIAL_SECONDS = 60.0
"""How long a client may stop reading while it is sent what stood there when the watch began."""
PIECE = 1 << 18
"""Bytes to hand to the socket before asking again whether it takes more."""

HEADERS = [("Content-Type", "application/json"), ("Cache-Control", "no-cache, private")]
Shaper = Callable[[str, Entry], bytes]
"""(event type, entry) -> line, for representations other than the object itself."""


class HttpWatch:
    """One watch on one connection."""

    def __init__(self, api: Api, call: Call, request: Request, shaper: Shaper | None) -> None:
        self._call = call
        self._connection = request.connection
        self._shaper = shaper
        self._stream = WatchStream(api, call, self._pump)
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._timers: list[asyncio.TimerHandle] = []
        self._started = False

    async def serve(self) -> None:
        """Run to the end. Raises ApiError when the watch cannot begin; too old a revision is told in the stream."""
        connection = self._connection
        try:
            await self._stream.start()
        except Gone as error:
            connection.start_stream(200, HEADERS)
            connection.write_chunk(error_frame(error))
            connection.end_stream()
            return
        try:
            connection.start_stream(200, HEADERS)
            connection.on_writable = self._pump
            connection.on_close = self._end
            connection.on_stop = self._end
            await self._send_initial()
            self._started = True
            seconds = self._call.timeout_seconds or random.randint(MIN_TIMEOUT, 2 * MIN_TIMEOUT)
            self._timers.append(self._loop.call_later(seconds, self._end))
            if self._call.allow_bookmarks:
                self._timers.append(self._loop.call_later(BOOKMARK_SECONDS, self._bookmark))
            self._pump()
            await self._done
        except ConnectionResetError:
            return
        except TimeoutError:
            connection.transport.abort()
        finally:
            self._stream.close()
            for timer in self._timers:
                timer.cancel()
            connection.end_stream()

    async def _send_initial(self) -> None:
        """What stood there when the watch began. Raises ConnectionResetError, TimeoutError."""
        connection = self._connection
        batch: list[bytes] = []
        size = 0
        for entry in self._stream.initial():
            line = self._line("ADDED", entry)
            batch.append(line)
            size += len(line)
            if size >= PIECE:
                connection.write_chunk(b"".join(batch))
                batch.clear()
                size = 0
                if not connection.writable:
                    async with asyncio.timeout(INITIAL_SECONDS):
                        await connection.drained()
                    connection.on_writable = self._pump
                    connection.on_close = self._end
        if self._stream.initial_bookmark is not None:
            batch.append(self._stream.initial_bookmark)
        connection.write_chunk(b"".join(batch))

    def _line(self, type_: str, entry: Entry) -> bytes:
        return self._shaper(type_, entry) if self._shaper is not None else frame(type_, entry.data)

    def _event(self, event: CacheEvent) -> bytes:
        if self._shaper is None:
            return self._stream.frame(event)
        seen = self._stream.seen(event)
        return self._shaper(*seen) if seen is not None else b""

    def _pump(self) -> None:
        """Send what has come, as long as the client takes it."""
        if not self._started or self._done.done():
            return
        connection = self._connection
        if not connection.writable and self._stream.lost:
            connection.transport.abort()
            self._end()
            return
        try:
            while connection.writable and not connection.closed:
                events = self._stream.take()
                if not events:
                    return
                self._send(events)
        except ApiError as error:
            connection.write_chunk(error_frame(error))
            self._end()

    def _send(self, events: list[CacheEvent]) -> None:
        """In pieces; what the socket does not take any more is given back."""
        batch: list[bytes] = []
        size = 0
        for number, event in enumerate(events, 1):
            line = self._event(event)
            batch.append(line)
            size += len(line)
            if size >= PIECE and number < len(events):
                self._connection.write_chunk(b"".join(batch))
                if not self._connection.writable:
                    self._stream.give_back(len(events) - number)
                    return
                batch.clear()
                size = 0
        self._connection.write_chunk(b"".join(batch))

    def _bookmark(self) -> None:
        if self._connection.writable and not self._stream.behind:
            self._connection.write_chunk(self._stream.bookmark())
        self._timers[-1] = self._loop.call_later(BOOKMARK_SECONDS, self._bookmark)

    def _end(self) -> None:
        if not self._done.done():
            self._done.set_result(None)
