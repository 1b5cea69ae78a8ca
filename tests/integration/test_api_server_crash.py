"""The API server as a process of its own: killed under load, out of disk space, on another store.

Only `wherry-server` runs here, so nothing but the API is under test.
"""

import asyncio
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until

from wherry.client.http import HttpClient
from wherry.host.instance import Instance
from wherry.schema.builtin import CONFIG_MAPS
from wherry.schema.errors import ApiError, Conflict, NotFound
from wherry.store.choice import StoreChoice, choose

pytestmark = pytest.mark.root

Object = dict[str, Any]


class ServerProcess:
    """`wherry-server` on an instance; `kill` is SIGKILL."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        binary = Path(sys.executable).parent / "wherry-server"
        words = [str(binary), "--root", str(self.instance.root), "--run", str(self.instance.run)]
        self.instance.run.mkdir(parents=True, exist_ok=True)
        self.instance.log_dir.mkdir(parents=True, exist_ok=True)
        with open(self.instance.log_dir / "server.err", "ab") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log)
        wait_until(self.serves, "the server serves", 60)

    def serves(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.instance.log_dir / "server.err").read_text()[-2000:]
        cluster = self.instance.root / "cluster.json"
        if not self.instance.kubeconfig.exists() or not cluster.exists():
            return False
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", json.loads(cluster.read_text())["api_port"])) == 0

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)

    def client(self) -> HttpClient:
        return HttpClient.from_kubeconfig(self.instance.kubeconfig)


@pytest.fixture
def server(wherry_instance: Instance) -> Iterator[ServerProcess]:
    made = ServerProcess(wherry_instance)
    made.start()
    yield made
    made.stop()


async def eventually(attempt: Any, seconds: float = 60.0) -> Any:
    """Repeat until the server is there again."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return await attempt()
        except (ApiError, OSError) as error:
            if isinstance(error, (Conflict, NotFound)) or time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.2)


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


async def test_watches_resume_across_a_restart_without_loss(server: ServerProcess) -> None:
    """50 watchers follow 300 writes with a kill in between: each sees every state once and in order."""
    watchers, writes = 50, 300
    async with server.client() as client:
        first = await client.create(CONFIG_MAPS, {"metadata": {"name": "seen"}, "data": {"n": "0"}}, "default")
        start = first["metadata"]["resourceVersion"]

        async def follow() -> list[int]:
            versions: list[int] = []
            version = start
            while True:
                try:
                    async with client.watch(
                        CONFIG_MAPS, "default", resource_version=version, field_selector="metadata.name=seen"
                    ) as events:
                        async for event in events:
                            version = event.object["metadata"]["resourceVersion"]
                            if event.type == "BOOKMARK":
                                continue
                            versions.append(int(version))
                            if event.object["data"]["n"] == str(writes):
                                return versions
                except (ApiError, OSError):
                    await asyncio.sleep(0.05)

        async def write() -> list[int]:
            versions = []
            for number in range(1, writes + 1):
                patch = {"data": {"n": str(number)}}
                done = await eventually(lambda p=patch: client.patch(CONFIG_MAPS, "seen", p, "default"))  # type: ignore[misc]
                versions.append(int(done["metadata"]["resourceVersion"]))
                if number == writes // 2:
                    server.kill()
                    await asyncio.to_thread(server.start)
            return versions

        following = [asyncio.create_task(follow()) for _ in range(watchers)]
        written = await write()
        seen = await asyncio.wait_for(asyncio.gather(*following), 60)
        assert all(versions == seen[0] for versions in seen)
        assert seen[0] == sorted(set(seen[0]))
        assert set(written) <= set(seen[0])


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
