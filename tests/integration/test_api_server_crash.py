"""The API server as a process of its own: killed under load, out of disk space, on another store.

Only `wherry-server` runs here, so nothing but the API is under test.
"""

import asyncio
import os
import random
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from server_process import ServerProcess, eventually
from waiting import wait_until

from wherry.client.http import HttpClient
from wherry.host.instance import Instance
from wherry.schema.builtin import CONFIG_MAPS
from wherry.schema.errors import ApiError, Conflict
from wherry.store.choice import StoreChoice, choose

pytestmark = pytest.mark.root

Object = dict[str, Any]


@pytest.fixture
def server(wherry_instance: Instance) -> Iterator[ServerProcess]:
    made = ServerProcess(wherry_instance)
    made.start()
    yield made
    made.stop()


async def create_until_killed(client: HttpClient, who: int, acknowledged: dict[str, int], stop: asyncio.Event) -> None:
    number = 0
    while not stop.is_set():
        name = f"w{who}-{number}"
        number += 1
        try:
            made = await client.create(CONFIG_MAPS, {"metadata": {"name": name}, "data": {"n": str(number)}}, "default")
        except (ApiError, OSError):
            await asyncio.sleep(0.02)
            continue
        acknowledged[name] = int(made["metadata"]["resourceVersion"])


async def test_what_was_acknowledged_is_there_after_every_kill(server: ServerProcess) -> None:
    acknowledged: dict[str, int] = {}
    highest = 0
    for _ in range(4):
        stop = asyncio.Event()
        async with server.client() as client:
            writers = [
                asyncio.create_task(
                    create_until_killed(client, os.getpid() * 100 + len(acknowledged) + who, acknowledged, stop)
                )
                for who in range(16)
            ]
            await asyncio.sleep(random.uniform(0.3, 0.8))
            server.kill()
            stop.set()
            await asyncio.gather(*writers)
        server.start()
        async with server.client() as client:
            listed = await eventually(lambda c=client: c.list(CONFIG_MAPS, "default"))  # type: ignore[misc]
            found = {one["metadata"]["name"]: one for one in listed.items}
            missing = set(acknowledged) - set(found)
            assert not missing, f"{len(missing)} of {len(acknowledged)} acknowledged writes are gone"
            for name, version in acknowledged.items():
                assert int(found[name]["metadata"]["resourceVersion"]) == version
                assert found[name]["data"]["n"]
            assert int(listed.resource_version) >= max(acknowledged.values(), default=0)
            assert int(listed.resource_version) >= highest
            highest = int(listed.resource_version)
    assert len(acknowledged) > 100


async def test_hundred_clients_count_with_compare_and_swap_across_a_kill(server: ServerProcess) -> None:
    async with server.client() as client:
        await client.create(CONFIG_MAPS, {"metadata": {"name": "counter"}, "data": {"n": "0"}}, "default")
        certain, doubtful = 0, 0

        async def count() -> None:
            nonlocal certain, doubtful
            for _ in range(3):
                while True:
                    obj = await eventually(lambda: client.get(CONFIG_MAPS, "counter", "default"))
                    obj["data"]["n"] = str(int(obj["data"]["n"]) + 1)
                    try:
                        await client.update(CONFIG_MAPS, obj)
                    except Conflict:
                        continue
                    except (ApiError, OSError):
                        # Whether it was written nobody can tell.
                        doubtful += 1
                        break
                    certain += 1
                    break

        async def disturb() -> None:
            await asyncio.sleep(0.5)
            server.kill()
            await asyncio.to_thread(server.start)

        await asyncio.gather(disturb(), *(count() for _ in range(100)))
        final = int((await eventually(lambda: client.get(CONFIG_MAPS, "counter", "default")))["data"]["n"])
        assert certain <= final <= certain + doubtful
        assert certain + doubtful == 300


def fill(path: Path) -> None:
    """Write until there is no room any more."""
    with open(path, "wb", buffering=0) as file:
        while True:
            file.write(b"x" * 65536)


async def test_a_full_disk_refuses_writes_and_nothing_else(wherry_instance: Instance, tmp_path: Path) -> None:
    """The instance's state is on a file system of 12 MiB."""
    root = wherry_instance.root
    root.mkdir(parents=True, exist_ok=True)
    await asyncio.to_thread(subprocess.run, ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(root)], check=True)
    server = ServerProcess(wherry_instance)
    try:
        server.start()
        async with server.client() as client:
            await client.create(CONFIG_MAPS, {"metadata": {"name": "kept"}, "data": {"a": "b"}}, "default")
            ballast = root / "ballast"
            with pytest.raises(OSError, match="No space left"):
                await asyncio.to_thread(fill, ballast)
            refused = None
            for number in range(200):
                try:
                    await client.create(
                        CONFIG_MAPS, {"metadata": {"name": f"big{number}"}, "data": {"a": "x" * 100_000}}, "default"
                    )
                except ApiError as error:
                    refused = error
                    break
            assert refused is not None
            assert "full" in refused.message
            assert (await client.get(CONFIG_MAPS, "kept", "default"))["data"] == {"a": "b"}
            assert (await client.list(CONFIG_MAPS, "default")).items
            ballast.unlink()
            await eventually(
                lambda: client.create(CONFIG_MAPS, {"metadata": {"name": "after"}, "data": {"a": "c"}}, "default")
            )
    finally:
        server.stop()
        await asyncio.to_thread(subprocess.run, ["umount", "-l", str(root)], check=True)


@pytest.mark.skipif(not shutil.which("etcd"), reason="etcd is not installed")
async def test_a_cluster_on_etcd_survives_kills_of_both(wherry_instance: Instance, tmp_path: Path) -> None:
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        client_port, peer_port = first.getsockname()[1], second.getsockname()[1]
    url = f"http://127.0.0.1:{client_port}"
    words = [
        "etcd", "--data-dir", str(tmp_path / "etcd"), "--log-level", "error", "--listen-client-urls", url,
        "--advertise-client-urls", url, "--listen-peer-urls", f"http://127.0.0.1:{peer_port}",
    ]  # fmt: skip

    def start_etcd() -> subprocess.Popen[bytes]:
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: socket.socket().connect_ex(("127.0.0.1", client_port)) == 0, "etcd serves", 20)
        return process

    etcd = start_etcd()
    choose(wherry_instance.root, StoreChoice((url,)))
    server = ServerProcess(wherry_instance)
    acknowledged: dict[str, int] = {}
    try:
        server.start()
        for victim in ("etcd", "server"):
            stop = asyncio.Event()
            async with server.client() as client:
                writers = [
                    asyncio.create_task(create_until_killed(client, len(acknowledged) * 100 + who, acknowledged, stop))
                    for who in range(8)
                ]
                await asyncio.sleep(0.7)
                if victim == "etcd":
                    etcd.kill()
                    etcd.wait()
                    etcd = await asyncio.to_thread(start_etcd)
                    await asyncio.sleep(0.5)
                else:
                    server.kill()
                stop.set()
                await asyncio.gather(*writers)
            if victim == "server":
                server.start()
            async with server.client() as client:
                listed = await eventually(lambda c=client: c.list(CONFIG_MAPS, "default"))  # type: ignore[misc]
                assert set(acknowledged) <= {one["metadata"]["name"] for one in listed.items}
        assert len(acknowledged) > 20
    finally:
        server.stop()
        etcd.kill()
        etcd.wait()
