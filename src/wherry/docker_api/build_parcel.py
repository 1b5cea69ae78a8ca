"""The daemon's side of `build_request`: a request's body in frames, and the answer in frames."""

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from wherry.docker_api.body import Map, shaped_as
from wherry.docker_api.build_request import ARCHIVE_KINDS, CONTEXT, FURTHER, HEAD, MESSAGES, frame
from wherry.docker_api.replies import MULTIPLEXED_STREAM, Stream
from wherry.docker_api.routing import Call
from wherry.engine.errors import InvalidParameter

if TYPE_CHECKING:
    from wherry.build.options import BuildOptions

_SHAPE = {
    "secrets": Map(str), "contexts": Map(str), "outputs": [str], "noCacheFilter": [str], "keep": bool, "check": bool,
}  # fmt: skip
_MAX_HEAD = 64 << 20
_MAX_SECRET = 500 << 10  # as BuildKit
_PIECE = 1 << 18


class Parcel:
    """A request's body: its streams, one after the other, each to be read to its end."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._content = request.content

    async def head(self) -> dict[str, Any]:
        """Stream 0. Raises InvalidParameter."""
        data = b""
        async for piece in self.stream(HEAD):
            data += piece
            if len(data) > _MAX_HEAD:
                raise InvalidParameter(f"the head of the build request is larger than {_MAX_HEAD} bytes")
        try:
            found = orjson.loads(data)
        except orjson.JSONDecodeError:
            # Not the decoder's words: they would quote what may be a secret.
            raise InvalidParameter("the head of the build request is no JSON") from None
        shaped: dict[str, Any] = shaped_as(found, _SHAPE)
        return shaped

    async def stream(self, number: int) -> AsyncIterator[bytes]:
        """The bytes of one stream. Raises InvalidParameter when another one or the end of the body comes instead."""
        while True:
            try:
                header = await self._content.readexactly(8)
            except asyncio.IncompleteReadError:
                raise InvalidParameter(f"the build request ends before its stream {number} does") from None
            if header[0] != number or header[1:4] != b"\0\0\0":
                raise InvalidParameter(f"the build request has a frame of stream {header[0]} in stream {number}")
            left = int.from_bytes(header[4:], "big")
            if not left:
                return
            while left:
                data = await self._content.read(min(left, _PIECE))
                if not data:
                    raise InvalidParameter(f"the build request ends before its stream {number} does")
                left -= len(data)
                yield data


class Answer:
    """The answer in frames. Builders tell from the event loop, outputs come from a task: one frame at a time."""

    def __init__(self, call: Call) -> None:
        self._stream = Stream(call, MULTIPLEXED_STREAM)
        self._writing = asyncio.Lock()

    @property
    def started(self) -> bool:
        return self._stream.started

    async def write_json(self, value: dict[str, Any]) -> None:
        await self.write(MESSAGES, orjson.dumps(value) + b"\n")

    async def write(self, number: int, data: bytes) -> None:
        if data:
            async with self._writing:
                await self._stream.write(frame(number, data))

    async def finish(self) -> web.StreamResponse:
        return await self._stream.finish()


def apply(head: dict[str, Any], options: "BuildOptions", parcel: Parcel, answer: Answer) -> None:
    """Add what the head says to what the query said. Raises InvalidParameter."""
    from wherry.build.outputs import Output

    for name, text in (head.get("secrets") or {}).items():
        try:
            content = base64.b64decode(text, validate=True)
        except binascii.Error:
            raise InvalidParameter(f"invalid secret {name}: it is no base64") from None
        if len(content) > _MAX_SECRET:
            raise InvalidParameter(f"invalid secret {name}: it is larger than {_MAX_SECRET} bytes")
        options.secrets[name] = content
    number = FURTHER
    for name, given in (head.get("contexts") or {}).items():
        if given and not given.startswith("docker-image://"):
            raise InvalidParameter(f"invalid named context {name}: {given}")
        if given:
            options.contexts[name] = given
        else:
            options.contexts[name] = parcel.stream(number)
            number += 1
    for at, kind in enumerate(head.get("outputs") or ()):
        if kind not in ARCHIVE_KINDS:
            raise InvalidParameter(f"unsupported output type '{kind}'")
        options.outputs.append(Output(kind, sink=_sink(answer, FURTHER + at)))
    options.no_cache_filter = list(head.get("noCacheFilter") or ())
    options.keep = head.get("keep", True)


def _sink(answer: Answer, number: int) -> Callable[[bytes], Any]:
    async def write(data: bytes) -> None:
        for start in range(0, len(data), 1 << 24):
            await answer.write(number, data[start : start + (1 << 24)])

    return write


def context(parcel: Parcel) -> AsyncIterator[bytes]:
    return parcel.stream(CONTEXT)
