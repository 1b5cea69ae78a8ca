"""Attach and exec: the connection becomes a stream, half-closing works, a vanished client is noticed."""

import asyncio
import json

from .conftest import RawClient, until
from .fake_engine import FakeEngine

UPGRADE = b"Connection: Upgrade\r\nUpgrade: tcp\r\n"
ATTACH = b"POST /v1.50/containers/web/attach?stdin=1&stdout=1&stderr=1&stream=1 HTTP/1.1\r\nHost: d\r\n"


async def test_attach_upgrades_and_frames_output(client: RawClient) -> None:
    reader, writer = await client.open()
    writer.write(ATTACH + UPGRADE + b"\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 UPGRADED\r\n")
    assert b"Content-Type: application/vnd.docker.multiplexed-stream" in head
    writer.write(b"hi")
    assert await reader.readexactly(10) == b"\x01\0\0\0\0\0\0\x02hi"
    writer.write_eof()
    assert await reader.read() == b"\x02\0\0\0\0\0\0\x03bye"
    writer.close()


async def test_attach_to_a_terminal_is_raw(client: RawClient, engine: FakeEngine) -> None:
    engine.containers.tty = True
    reader, writer = await client.open()
    writer.write(ATTACH + UPGRADE + b"\r\n")
    assert b"application/vnd.docker.raw-stream" in await reader.readuntil(b"\r\n\r\n")
    writer.write(b"hi")
    assert await reader.readexactly(2) == b"hi"
    writer.write(b"\x10\x11")
    assert await reader.read() == b""
    assert engine.containers.attached[0].detached
    writer.close()


async def test_attach_without_upgrade_answers_200(client: RawClient) -> None:
    reader, writer = await client.open()
    writer.write(ATTACH + b"\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n")
    writer.write(b"x")
    writer.write_eof()
    assert await reader.read() == b"\x01\0\0\0\0\0\0\x01x\x02\0\0\0\0\0\0\x03bye"
    writer.close()


async def test_attach_to_nothing_is_an_ordinary_error(client: RawClient) -> None:
    status, _, body = await client.send("POST", "/containers/nope/attach?stream=1")
    assert (status, json.loads(body)) == (404, {"message": "No such container: nope"})


async def test_a_bad_key_sequence_is_refused_before_the_upgrade(client: RawClient) -> None:
    status, _ = await client.json("POST", "/containers/web/attach?detachKeys=ctrl-1")
    assert status == 400


async def test_a_client_that_half_closed_and_then_left_is_noticed(client: RawClient, engine: FakeEngine) -> None:
    engine.containers.tty = False
    _, writer = await client.open()
    writer.write(ATTACH + UPGRADE + b"\r\n")
    await until(lambda: bool(engine.containers.attached))
    attachment = engine.containers.attached[0]
    attachment._close_stdin = None
    writer.write_eof()
    writer.close()
    await until(lambda: attachment.detached)


async def test_exec_start_with_a_body_upgrades(client: RawClient) -> None:
    reader, writer = await client.open()
    body = b'{"Detach":false,"Tty":false}'
    head = b"POST /exec/exec1/start HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n"
    writer.write(head + UPGRADE + b"Content-Length: %d\r\n\r\n" % len(body))
    await writer.drain()
    writer.write(body)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 UPGRADED")
    writer.write(b"hi")
    writer.write_eof()
    assert await reader.read() == b"\x01\0\0\0\0\0\0\x02hi\x02\0\0\0\0\0\0\x03bye"
    writer.close()


async def test_logs_are_framed_unless_there_is_a_terminal(client: RawClient, engine: FakeEngine) -> None:
    status, headers, body = await client.send("GET", "/containers/web/logs?stdout=1&stderr=1&tail=2&since=5.5")
    assert status == 200
    assert headers["content-type"] == "application/vnd.docker.multiplexed-stream"
    assert body == b"\x01\0\0\0\0\0\0\x04one\n\x02\0\0\0\0\0\0\x04two\n"
    assert engine.containers.calls[0][1]["since"] == 5.5
    engine.containers.tty = True
    _, headers, body = await client.send("GET", "/v1.41/containers/web/logs?stdout=1")
    assert headers["content-type"] == "application/vnd.docker.raw-stream"
    assert body == b"one\ntwo\n"
    status, answer = await client.json("GET", "/containers/web/logs")
    assert (status, answer["message"]) == (400, "Bad parameters: you must choose at least one stream")


async def test_events_come_at_once_and_leaving_ends_the_subscription(client: RawClient, engine: FakeEngine) -> None:
    reader, writer = await client.open()
    writer.write(b'GET /events?filters={"type":["volume"]} HTTP/1.1\r\nHost: d\r\n\r\n')
    await reader.readuntil(b"\r\n\r\n")
    engine.events.emit("network", "create", "n1")
    engine.events.emit("volume", "create", "v1", {"driver": "local"})
    async with asyncio.timeout(5):
        await reader.readline()
        event = json.loads(await reader.readline())
    assert (event["Type"], event["Action"], event["Actor"]["ID"]) == ("volume", "create", "v1")
    writer.close()
    await until(lambda: not engine.events._listeners)
