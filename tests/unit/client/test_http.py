"""The HTTP client over connections that break: every way ends in an ApiError or in the answer, never in silence."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from wherry.client.http import HttpClient
from wherry.client.kubeconfig import Connection
from wherry.schema.builtin import PODS
from wherry.schema.errors import Gone, NotFound, ServiceUnavailable

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


def whole(body: bytes, status: str = "200 OK", headers: str = "") -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)

    return answer


def cut(sent: bytes) -> Answer:
    """Says this much and hangs up."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        await writer.drain()
        writer.close()

    return answer


@asynccontextmanager
async def server(*answers: Answer) -> AsyncIterator[HttpClient]:
    """One answer per request, the last one for all that follow."""
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (
                        int(line.split(b":")[1])
                        for line in head.splitlines()
                        if line.lower().startswith(b"content-length")
                    ),
                    0,
                )
                await reader.readexactly(length)
                await (left.pop(0) if len(left) > 1 else left[0])(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    async with HttpClient(Connection(f"http://127.0.0.1:{port}", None)) as client:
        yield client
    listening.close()


async def test_nobody_listens() -> None:
    async with server(whole(b"{}")) as client:
        address = client.connection.server
    async with HttpClient(Connection(address, None)) as client:
        with pytest.raises(ServiceUnavailable, match="cannot be reached"):
            await client.get(PODS, "p", "default")


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"a',
        b"nonsense\r\n\r\n",
    ],
    ids=["at once", "within the head", "within the body", "within a chunk", "nonsense"],
)
async def test_a_connection_that_breaks_is_an_unavailable_server(sent: bytes) -> None:
    async with server(cut(sent)) as client:
        with pytest.raises(ServiceUnavailable):
            await client.create(PODS, {"metadata": {"name": "p"}}, "default")


async def test_an_answer_that_is_no_json() -> None:
    async with server(whole(b"<html>")) as client:
        with pytest.raises(ServiceUnavailable, match="cannot be read"):
            await client.get(PODS, "p", "default")


async def test_an_error_that_is_no_status_keeps_its_text() -> None:
    async with server(whole(b"who are you", "404 Not Found")) as client:
        with pytest.raises(NotFound, match="who are you"):
            await client.get(PODS, "p", "default")


async def test_a_kept_connection_that_was_closed_meanwhile_is_made_anew() -> None:
    closing = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    async with server(cut(closing), whole(b'{"kind": "Pod"}')) as client:
        assert await client.get(PODS, "p", "default") == {}
        assert await client.get(PODS, "p", "default") == {"kind": "Pod"}


async def test_too_many_requests_are_waited_out() -> None:
    busy = whole(b"{}", "429 Too Many Requests", "Retry-After: 0\r\n")
    async with server(busy, busy, whole(b'{"kind": "Pod"}')) as client:
        assert await client.get(PODS, "p", "default") == {"kind": "Pod"}


HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(text: bytes) -> bytes:
    return f"{len(text):x}\r\n".encode() + text + b"\r\n"


async def events_of(client: HttpClient) -> list[str]:
    seen = []
    async with client.watch(PODS, "default", resource_version="1") as events:
        async for event in events:
            seen.append(event.object["name"])
    return seen


async def test_events_arrive_however_they_are_cut() -> None:
    line = b'{"type": "ADDED", "object": {"name": "a"}}\n'
    parts = [chunk(line[:5]), chunk(line[5:] + line), chunk(b"\n"), b"0\r\n\r\n"]
    async with server(cut(HEAD + b"".join(parts))) as client:
        assert await events_of(client) == ["a", "a"]


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (chunk(b'{"type": "ADDED", "obj'), ServiceUnavailable),
        (chunk(b"nonsense\n"), ServiceUnavailable),
        (chunk(b'{"type": "ERROR", "object": {"code": 410, "message": "too old"}}\n'), Gone),
    ],
    ids=["cut", "nonsense", "told"],
)
async def test_a_watch_that_breaks_says_so(sent: bytes, error: type[Exception]) -> None:
    async with server(cut(HEAD + sent)) as client:
        with pytest.raises(error):
            await events_of(client)
