"""What clients of the Ingress see while its configuration, its endpoints and its nginx come and go."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from ingress_site import Site, open_site

from wherry.host.instance import Instance
from wherry.schema.builtin import INGRESSES

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is not installed"),
]


@pytest_asyncio.fixture
async def site(wherry_instance: Instance) -> AsyncIterator[Site]:
    async with open_site(wherry_instance) as made:
        yield made


async def _named(site: Site, host: str, name: str) -> bool:
    return (await site.get(host)).name == name


async def test_changes_drop_no_request(site: Site) -> None:
    await site.service("web")
    await site.ingress("main", ("main.test", {"/": "web"}))
    site.backends["web"].delay = 0.01
    statuses: list[int] = []
    stop = asyncio.Event()

    async def ask() -> None:
        while not stop.is_set():
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", site.settings.http_port)
                writer.write(b"GET / HTTP/1.1\r\nHost: main.test\r\nConnection: close\r\n\r\n")
                answer = await reader.read()
                writer.close()
            except OSError:
                answer = b""
            statuses.append(int(answer.split()[1]) if answer else 0)

    asking = [asyncio.create_task(ask()) for _ in range(8)]
    for number in range(8):
        await site.ingress(f"more-{number}", (f"more-{number}.test", {"/": "web"}))
        assert (await site.get(f"more-{number}.test")).name == "web"
    stop.set()
    await asyncio.gather(*asking)
    assert len(statuses) > 100
    assert set(statuses) == {200}


async def test_nginx_outlives_its_keeper_and_comes_back_when_killed(site: Site) -> None:
    await site.service("web")
    await site.ingress("main", ("main.test", {"/": "web"}))
    pid = site.controller.nginx.pid()
    assert pid is not None
    await site.stop()
    assert (await site.get("main.test")).name == "web"
    await site.restart()
    await site.settled()
    assert site.controller.nginx.pid() == pid, "found again, and left alone"
    os.kill(pid, signal.SIGKILL)
    await site.until(lambda: site.controller.nginx.pid() not in (None, pid))
    await site.until(lambda: _named(site, "main.test", "web"))
    await site.client.delete(INGRESSES, "main", "default")
    await site.until(lambda: site.controller.nginx.pid() is None)
    assert (await site.get("main.test")).status == 0, "nothing is open without an Ingress"


async def test_clients_that_keep_their_connection_lose_no_request(site: Site) -> None:
    await site.service("web")
    await site.ingress("main", ("main.test", {"/": "web"}))
    site.backends["web"].delay = 0.005
    problems: list[str] = []
    answers = 0
    stop = asyncio.Event()

    async def ask() -> None:
        """One request after another on a connection, until the server says that it will not be used again."""
        nonlocal answers
        while not stop.is_set():
            reader, writer = await asyncio.open_connection("127.0.0.1", site.settings.http_port)
            kept = True
            while kept and not stop.is_set():
                try:
                    writer.write(b"POST / HTTP/1.1\r\nHost: main.test\r\nContent-Length: 2\r\n\r\nhi")
                    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                    length = next(line for line in head.split("\r\n") if line.startswith("content-length: "))
                    await reader.readexactly(int(length.partition(" ")[2]))
                except (OSError, asyncio.IncompleteReadError) as error:
                    problems.append(repr(error))
                    break
                if not head.startswith("http/1.1 200 "):
                    problems.append(head)
                answers += 1
                kept = "connection: close" not in head
            writer.close()

    asking = [asyncio.create_task(ask()) for _ in range(8)]
    for number in range(5):
        await site.ingress(f"more-{number}", (f"more-{number}.test", {"/": "web"}))
    stop.set()
    await asyncio.gather(*asking)
    assert answers > 100
    assert not problems


async def test_a_configuration_on_its_way_out_says_so_in_each_protocol(site: Site) -> None:
    await site.service("web")
    await site.ingress("main", ("main.test", {"/": "web"}), annotations={"enable-cors": "true"})
    nginx = site.controller.nginx
    marker = nginx.directory / f"draining-{await nginx.generation()}"
    assert (await site.get("main.test")).headers["connection"] == "keep-alive"
    marker.touch()
    assert (await site.get("main.test")).headers["connection"] == "close"
    assert (await site.get("nobody.test")).headers["connection"] == "close"
    answer = await site.get("main.test", "/", "--http2", tls=True)
    assert (answer.status, answer.headers.get("connection")) == (200, None)
    await site.ingress("more", ("more.test", {"/": "web"}))
    assert (await site.get("main.test")).headers["connection"] == "keep-alive"
    await site.client.delete(INGRESSES, "more", "default")
    await site.until(lambda: _gone(site, "more.test"))
    assert (await site.get("main.test")).headers["connection"] == "keep-alive", "back to the first configuration"


async def _gone(site: Site, host: str) -> bool:
    return (await site.get(host)).status == 404


async def test_endpoints_come_and_go_without_a_reload(site: Site) -> None:
    await site.service("web")
    await site.service("other")
    await site.ingress("main", ("main.test", {"/": "web", "/other": "other"}))
    generation = await site.controller.nginx.generation()
    await site.endpoints("web")
    await site.until(lambda: _status(site, "main.test", 503))
    assert (await site.get("main.test", "/other")).name == "other"
    await site.endpoints("web", site.backends["web"].address)
    await site.until(lambda: _named(site, "main.test", "web"))
    assert await site.controller.nginx.generation() == generation


async def _status(site: Site, host: str, status: int) -> bool:
    return (await site.get(host)).status == status
