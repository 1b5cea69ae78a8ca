"""Answers: JSON bodies, empty ones, and streams whose every piece is sent at once."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import orjson
from aiohttp import web

from wherry import __version__
from wherry.docker_api.routing import MAX_VERSION, Call

HEADERS = {
    "Api-Version": f"{MAX_VERSION[0]}.{MAX_VERSION[1]}",
    "Docker-Experimental": "false",
    "Ostype": "linux",
    "Server": f"Wherry/{__version__} (linux)",
}
"""Sent with every answer: clients negotiate the version by them."""


RAW_STREAM = "application/vnd.docker.raw-stream"
MULTIPLEXED_STREAM = "application/vnd.docker.multiplexed-stream"


def json_reply(value: Any, status: int = 200) -> web.Response:
    body = orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS)
    return web.Response(body=body, status=status, headers={"Content-Type": "application/json"})


def error_reply(message: str, status: int) -> web.Response:
    return json_reply({"message": message}, status)


def empty(status: int = 204) -> web.Response:
    return web.Response(status=status)


class Stream:
    """A chunked answer whose header goes out with the first piece, so that errors before it keep their status."""

    def __init__(self, call: Call, content_type: str = "application/json") -> None:
        self._call = call
        self.response = web.StreamResponse(headers={**HEADERS, "Content-Type": content_type})
        self.response.enable_chunked_encoding()
        self._started = False

    @property
    def started(self) -> bool:
        """Whether the header has gone out."""
        return self._started

    async def start(self) -> None:
        """Send the header now: the client learns that its request is accepted."""
        if not self._started:
            self._started = True
            await self.response.prepare(self._call.request)

    async def write(self, data: bytes) -> None:
        await self.start()
        if data:
            await self.response.write(data)

    async def write_json(self, value: Mapping[str, Any]) -> None:
        await self.write(orjson.dumps(value) + b"\r\n")

    async def finish(self) -> web.StreamResponse:
        await self.start()
        await self.response.write_eof()
        return self.response


async def bytes_stream(call: Call, pieces: AsyncIterator[bytes], content_type: str) -> web.StreamResponse:
    """Pass `pieces` on as they come. An error before the first is the caller's, with its own status."""
    stream = Stream(call, content_type)
    async for piece in pieces:
        await stream.write(piece)
    return await stream.finish()
