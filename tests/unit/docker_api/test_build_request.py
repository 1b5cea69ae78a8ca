"""What our clients send for a build with wishes, read back by the daemon's side."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from wherry.docker_api.build_parcel import Parcel
from wherry.docker_api.build_request import Wishes, messages, send
from wherry.docker_api.client import DockerError


class Engine:
    """A client of an engine that says what it is."""

    def __init__(self, server: str) -> None:
        self.server = server
        self.sent: list[Any] = []

    def request(self, method: str, path: str) -> Any:
        return SimpleNamespace(read=bytes, headers={"server": self.server})

    def call(self, method: str, path: str, query: Any, *, data: Any, headers: dict[str, str]) -> Any:
        self.sent.append((method, path, query, b"".join(data), headers))
        return SimpleNamespace(headers={}, json_lines=lambda: iter([{"stream": "x"}]))


def wished() -> Wishes:
    wishes = Wishes()
    wishes.secrets["id"] = b"\0secret\xff"
    wishes.contexts = {"image": "docker-image://busybox", "folder": [b"a", b"", b"bc"]}
    wishes.outputs = ["tar"]
    wishes.keep = False
    return wishes


async def test_the_daemon_reads_what_the_client_writes() -> None:
    stream = asyncio.StreamReader()
    stream.feed_data(b"".join(wished().body([b"context" * 100_000])))
    stream.feed_eof()
    parcel = Parcel(SimpleNamespace(content=stream))  # type: ignore[arg-type]
    head = await parcel.head()
    assert head == {
        "secrets": {"id": "AHNlY3JldP8="}, "contexts": {"image": "docker-image://busybox", "folder": ""},
        "outputs": ["tar"], "noCacheFilter": [], "keep": False, "check": False,
    }  # fmt: skip
    assert b"".join([piece async for piece in parcel.stream(1)]) == b"context" * 100_000
    assert b"".join([piece async for piece in parcel.stream(2)]) == b"abc"


def test_without_wishes_it_is_dockers_own_request() -> None:
    client = Engine("Docker/28")
    answer = send(client, {"t": "x"}, [b"tar"], Wishes(), {})  # type: ignore[arg-type]
    assert client.sent == [("POST", "/build", {"t": "x"}, b"tar", {"Content-Type": "application/x-tar"})]
    assert list(messages(answer)) == [{"stream": "x"}]


def test_a_secret_is_sent_to_no_other_engine() -> None:
    client = Engine("Docker/28")
    with pytest.raises(DockerError, match="need Wherry's engine, and this one is Docker/28"):
        send(client, {}, [b"tar"], wished(), {})  # type: ignore[arg-type]
    assert client.sent == []
    client = Engine("Wherry/1 (linux)")
    send(client, {}, [b"tar"], wished(), {})  # type: ignore[arg-type]
    assert client.sent[0][4]["Content-Type"] == "application/vnd.wherry.build"
    assert b"secret" not in str(client.sent[0][:3] + client.sent[0][4:]).encode()
