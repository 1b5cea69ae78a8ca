"""A served fake engine, and a client that speaks plain HTTP to its socket."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from wherry.docker_api import ApiServer, serve

from .fake_engine import FakeEngine

if TYPE_CHECKING:
    from wherry.engine.engine import Engine


class RawClient:
    """One request on one connection, answered in full: enough HTTP to see exactly what goes over the wire."""

    def __init__(self, socket_path: Path) -> None:
        self.socket_path = socket_path

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(self.socket_path)

    async def send(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        reader, writer = await self.open()
        raw = b""
        lines = {"Host": "docker", "Connection": "close", **(headers or {})}
        if body is not None:
            raw = body if isinstance(body, bytes) else json.dumps(body).encode()
            lines = {"Content-Type": "application/json", "Content-Length": str(len(raw)), **lines}
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in lines.items()) + "\r\n"
        writer.write(head.encode() + raw)
        async with asyncio.timeout(5):
            answer = await reader.read()
        writer.close()
        return split_answer(answer)

    async def json(self, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, Any]:
        status, _, content = await self.send(method, path, body, **more)
        return status, json.loads(content) if content else None


async def until(condition: Callable[[], bool]) -> None:
    """Lets the event loop run until `condition` holds; fails after five seconds."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  the condition lies in code under test, which sets no event for us
            await asyncio.sleep(0)


def split_answer(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, content = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {key.lower(): value for key, _, value in (line.partition(": ") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        content = unchunk(content)
    return int(first.split(" ")[1]), headers, content


def unchunk(content: bytes) -> bytes:
    pieces = []
    while content:
        size, _, content = content.partition(b"\r\n")
        length = int(size, 16)
        pieces.append(content[:length])
        content = content[length + 2 :]
    return b"".join(pieces)


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
async def server(engine: FakeEngine, tmp_path: Path) -> AsyncIterator[ApiServer]:
    api = await serve(cast("Engine", engine), tmp_path / "d.sock")
    yield api
    await api.close()


@pytest.fixture
def client(server: ApiServer, tmp_path: Path) -> RawClient:
    return RawClient(tmp_path / "d.sock")
