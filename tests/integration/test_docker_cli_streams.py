"""Attaching in all its ways: terminals and the keys that leave them, websockets, containers that have ended."""

import asyncio
import os
import time
from pathlib import Path

import aiohttp
import pytest
from docker_client import DockerCli
from terminal import Terminal

from wherry.engine.engine import Engine

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]


def environment(cli: DockerCli, home: Path) -> dict[str, str]:
    return {**os.environ, "DOCKER_HOST": cli.host, "DOCKER_CONFIG": str(home)}


async def actions(cli: DockerCli, name: str) -> list[str]:
    # Whole seconds count: with the next one as the end, nothing of this one is left out.
    until = str(int(time.time()) + 1)
    ran = await cli("events", "--since", "1h", "--until", until, "--filter", f"container={name}", "--format",
                    "{{.Action}}")  # fmt: skip
    return ran.lines


async def test_detach_keys_leave_a_terminal_and_the_container_runs_on(docker_cli: DockerCli, tmp_path: Path) -> None:
    await docker_cli("run", "-dit", "--name", "box", "busybox", "cat")
    command = ["docker", "attach", "--detach-keys", "q,w", "box"]
    async with Terminal(command, environment(docker_cli, tmp_path)) as terminal:
        terminal.type("first\r")
        await terminal.wait_for("first")
        # A part of the keys, and then something else, goes to the process.
        terminal.type("qx\r")
        await terminal.wait_for("qx")
        terminal.type("q")
        terminal.type("w")
        await terminal.exit_code()
    assert (await docker_cli("inspect", "-f", "{{.State.Running}}", "box")).out == "true\n"
    command = ["docker", "exec", "-it", "--detach-keys", "ctrl-x,y", "box", "sh", "-c", "echo ready; cat"]
    async with Terminal(command, environment(docker_cli, tmp_path)) as terminal:
        await terminal.wait_for("ready")
        terminal.type("\x18y")
        await terminal.exit_code()
    assert "cat" in (await docker_cli("exec", "box", "ps")).out


HIJACK = "POST /v1.50/containers/box/attach?stream=1&stdin=1&stdout=1{keys} HTTP/1.1\r\nHost: d\r\n\r\n"


async def test_the_daemon_knows_detach_keys_too(docker_cli: DockerCli) -> None:
    """For clients that leave it to the daemon, which is all that do not know the keys themselves."""
    await docker_cli("run", "-dit", "--name", "box", "busybox", "cat")
    for keys, typed in (("", b"\x10\x11"), ("&detachKeys=ctrl-a,b", b"\x01b")):
        reader, writer = await asyncio.open_unix_connection(docker_cli.host.removeprefix("unix://"))
        writer.write(HIJACK.format(keys=keys).encode())
        async with asyncio.timeout(30):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"hello\r" + typed)
            left = await reader.read()
        assert b"\x10" not in left
        writer.close()
    assert (await docker_cli("inspect", "-f", "{{.State.Running}}", "box")).out == "true\n"
    assert (await actions(docker_cli, "box")).count("detach") == 2


@pytest.mark.parametrize("terminal", [True, False])
async def test_a_websocket_carries_both_directions(docker_cli: DockerCli, terminal: bool) -> None:
    await docker_cli("run", "-di" + ("t" if terminal else ""), "--name", "box", "busybox", "cat")
    connector = aiohttp.UnixConnector(docker_cli.host.removeprefix("unix://"))
    where = "http://d/v1.50/containers/box/attach/ws?stream=1&stdin=1&stdout=1&stderr=1"
    async with aiohttp.ClientSession(connector=connector) as session, session.ws_connect(where) as socket:
        await socket.send_bytes(b"one\n")
        got, wanted = b"", b"one\r\none\r\n" if terminal else b"one\n"
        async with asyncio.timeout(30):
            while got != wanted:
                got += await socket.receive_bytes()
            await socket.send_str("two\n")
            while b"two" not in got:
                got += await socket.receive_bytes()
            if terminal:
                await socket.send_bytes(b"\x10\x11")
                while (await socket.receive()).type not in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED):
                    continue
    assert (await docker_cli("inspect", "-f", "{{.State.Running}}", "box")).out == "true\n"


async def test_attached_to_what_has_ended_a_client_gets_its_next_run(docker_cli: DockerCli) -> None:
    """As Docker: `docker start -a` attaches first; whether it ever ran makes no difference."""
    await docker_cli("run", "--name", "box", "busybox", "sh", "-c", "echo ran")
    reader, writer = await asyncio.open_unix_connection(docker_cli.host.removeprefix("unix://"))
    writer.write(HIJACK.format(keys="").encode())
    async with asyncio.timeout(30):
        await reader.readuntil(b"\r\n\r\n")
        await docker_cli("start", "box")
        assert await reader.read() == b"\x01\0\0\0\0\0\0\x04ran\n"
    writer.close()
    await docker_cli("wait", "box")
    refused = await docker_cli("attach", "box", fails=True)
    assert "cannot attach to a stopped container, start it first" in refused.err


async def test_a_terminal_that_is_gone_at_once_has_shown_all(docker_cli: DockerCli, wherry_engine: Engine) -> None:
    """The process of an exec may end before its terminal has arrived."""
    await docker_cli("run", "-d", "--name", "box", "busybox", "sleep", "1000")

    async def once() -> bytes:
        made = await wherry_engine.execs.create("box", {"Cmd": ["echo", "hi"], "Tty": True, "AttachStdout": True})
        attachment = await wherry_engine.execs.start(made, tty=True)
        assert attachment is not None
        return b"".join([data async for _, data in attachment])

    for _ in range(4):
        assert set(await asyncio.gather(*(once() for _ in range(10)))) == {b"hi\r\n"}


async def test_what_is_done_in_a_container_is_told_as_events(docker_cli: DockerCli) -> None:
    await docker_cli("run", "-d", "--name", "box", "--health-cmd", "true", "--health-interval", "1h", "busybox",
                     "sleep", "1000")  # fmt: skip
    await docker_cli("top", "box")
    await docker_cli("exec", "box", "true")
    await docker_cli("update", "--cpu-shares", "200", "box")
    await docker_cli("commit", "box", "made:1")
    await docker_cli("kill", "box")
    await docker_cli("wait", "box")
    found = await actions(docker_cli, "box")
    for action in ("create", "start", "top", "exec_create: true", "exec_start: true", "exec_die", "update", "commit",
                   "kill", "die"):  # fmt: skip
        assert action in found, (action, found)
