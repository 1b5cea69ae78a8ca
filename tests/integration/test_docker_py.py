"""docker-py, the Python client: what its own integration tests hold most important, in tests of our own."""

import asyncio
import io
import tarfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import docker
import pytest
import pytest_asyncio
from docker.errors import APIError, ContainerError, ImageNotFound, NotFound
from docker.types import EndpointConfig, IPAMConfig, IPAMPool, LogConfig, Mount, Ulimit
from docker_client import DockerCli

pytestmark = pytest.mark.root

Result = TypeVar("Result")


class Client:
    """`await client(work)` runs `work(docker.DockerClient)` in a thread: the engine lives in this process."""

    def __init__(self, host: str) -> None:
        self.docker = docker.DockerClient(host, timeout=20)

    async def __call__(self, work: Callable[[Any], Result]) -> Result:
        return await asyncio.to_thread(work, self.docker)


@pytest_asyncio.fixture
async def client(docker_cli: DockerCli) -> AsyncIterator[Client]:
    made = await asyncio.to_thread(Client, docker_cli.host)
    yield made
    await asyncio.to_thread(made.docker.close)


async def test_run_gives_output_errors_and_containers(client: Client) -> None:
    def work(api: Any) -> None:
        assert api.containers.run("busybox", "echo hello world", remove=True) == b"hello world\n"
        with pytest.raises(ContainerError) as failed:
            api.containers.run("busybox", "cat /nope", remove=True)
        assert (failed.value.exit_status, b"No such file" in failed.value.stderr) == (1, True)
        with pytest.raises((ImageNotFound, APIError)):
            api.containers.run("nope:1", "true")
        running = api.containers.run("busybox", "sleep 300", detach=True, name="web", labels={"tier": "front"})
        assert running.status in ("created", "running")
        running.reload()
        assert (running.status, running.attrs["Config"]["Image"]) == ("running", "busybox")
        assert [found.id for found in api.containers.list(filters={"label": "tier=front"})] == [running.id]
        assert api.containers.get(running.short_id).name == "web"
        running.rename("shop")
        running.pause()
        running.unpause()
        running.kill()
        assert running.wait() == {"StatusCode": 137}
        running.remove()
        with pytest.raises(NotFound):
            api.containers.get("shop")

    await client(work)


async def test_attach_logs_and_streams_give_every_byte(client: Client) -> None:
    def work(api: Any) -> None:
        low = api.api
        for _ in range(5):
            made = low.create_container("busybox", "echo hello")
            low.start(made)
            low.wait(made)
            assert low.attach(made, stream=False, logs=True) == b"hello\n"
            assert low.logs(made) == b"hello\n"
            low.remove_container(made)
        made = low.create_container("busybox", "sh -c 'echo out; echo err >&2; sleep 0.1; echo more'")
        following = low.attach(made, stream=True, demux=True)
        low.start(made)
        got = list(following)
        assert b"".join(out for out, _ in got if out) == b"out\nmore\n"
        assert b"".join(err for _, err in got if err) == b"err\n"
        assert low.logs(made, stdout=True, stderr=False, tail=1) == b"more\n"
        assert b"".join(low.logs(made, stream=True, follow=True)) == low.logs(made)
        assert low.logs(made, since=int(2e9)) == b""

    await client(work)


async def test_a_socket_carries_input(client: Client) -> None:
    def work(api: Any) -> None:
        low = api.api
        made = low.create_container("busybox", "cat", stdin_open=True, tty=True)
        low.start(made)
        socket = low.attach_socket(made, {"stdin": 1, "stdout": 1, "stream": 1})
        socket._sock.sendall(b"line\n")
        got = b""
        while got.count(b"line") < 2:
            got += socket._sock.recv(100)
        socket._sock.close()
        assert got == b"line\r\nline\r\n"
        low.resize(made, 30, 100)
        low.remove_container(made, force=True)

    await client(work)


async def test_exec_in_all_its_ways(client: Client) -> None:
    def work(api: Any) -> None:
        box = api.containers.run("busybox", "sleep 300", detach=True)
        assert box.exec_run("sh -c 'echo $A; pwd; id -u'", environment={"A": "b"}, workdir="/tmp", user="7") == (
            0,
            b"b\n/tmp\n7\n",
        )
        assert box.exec_run("sh -c 'exit 5'").exit_code == 5
        assert box.exec_run("sh -c 'echo out; echo err >&2'", demux=True).output == (b"out\n", b"err\n")
        code, stream = box.exec_run("sh -c 'echo 1; sleep 0.1; echo 2'", stream=True)
        assert (code, b"".join(stream)) == (None, b"1\n2\n")
        # Docker 28: 127 for a command that is not there (126 before 23.0).
        assert box.exec_run("nope").exit_code == 127
        low = api.api
        made = low.exec_create(box.id, "sleep 100", tty=True)
        low.exec_start(made, detach=True)
        assert low.exec_inspect(made)["Running"] is True
        low.exec_resize(made, 20, 60)
        with pytest.raises(APIError) as twice:
            low.exec_start(made)
        assert twice.value.status_code == 409

    await client(work)


async def test_host_config_reaches_the_container(client: Client, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("from the host\n")

    def work(api: Any) -> None:
        low = api.api
        host = low.create_host_config(
            binds={str(tmp_path): {"bind": "/b", "mode": "ro"}},
            mounts=[Mount("/m", "vol", type="volume"), Mount("/t", None, type="tmpfs", tmpfs_size=1 << 20)],
            mem_limit="64m", memswap_limit="128m", nano_cpus=500_000_000, pids_limit=40, shm_size="8m",
            cap_add=["NET_ADMIN"], cap_drop=["MKNOD"], security_opt=["no-new-privileges"], group_add=[42],
            ulimits=[Ulimit(name="nofile", soft=64, hard=128)], sysctls={"net.core.somaxconn": "99"},
            extra_hosts={"there": "10.9.8.7"}, dns=["9.9.9.9"], read_only=True, init=True, ipc_mode="private",
            log_config=LogConfig(type="json-file", config={"max-size": "1m", "max-file": "2"}),
            restart_policy={"Name": "on-failure", "MaximumRetryCount": 2}, oom_score_adj=100,
        )  # fmt: skip
        made = low.create_container("busybox", "cat /b/f /etc/hosts", host_config=host, hostname="box", labels=["a"])
        shown = low.inspect_container(made)["HostConfig"]
        assert (shown["Memory"], shown["MemorySwap"], shown["NanoCpus"]) == (64 << 20, 128 << 20, 500_000_000)
        assert shown["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 2}
        assert shown["LogConfig"]["Config"]["max-size"] == "1m"
        low.start(made)
        assert low.wait(made)["StatusCode"] == 0
        output = low.logs(made).decode()
        assert output.startswith("from the host\n")
        assert "10.9.8.7\tthere" in output
        with pytest.raises(APIError) as refused:
            low.create_container("busybox", "true", host_config=low.create_host_config(mem_limit="1m"))
        assert (refused.value.status_code, "Minimum memory limit" in refused.value.explanation) == (400, True)

    await client(work)


async def test_archives_changes_export_and_commit(client: Client) -> None:
    def work(api: Any) -> None:
        box = api.containers.create("busybox", "cat /tmp/f")
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            entry = tarfile.TarInfo("f")
            entry.size = 5
            archive.addfile(entry, io.BytesIO(b"hello"))
        assert box.put_archive("/tmp", packed.getvalue())
        box.start()
        assert box.wait()["StatusCode"] == 0
        assert box.logs() == b"hello"
        assert {"Path": "/tmp/f", "Kind": 1} in box.diff()
        chunks, about = box.get_archive("/tmp/f")
        assert (about["name"], about["size"]) == ("f", 5)
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
            assert archive.extractfile("f").read() == b"hello"  # type: ignore[union-attr]
        with pytest.raises(NotFound):
            box.get_archive("/nope")
        assert b"tmp/f" in b"".join(box.export())
        image = box.commit("saved", "1", changes=["CMD echo saved"])
        assert image.tags == ["saved:1"]
        assert api.containers.run("saved:1", remove=True) == b"saved\n"

    await client(work)


async def test_networks_and_volumes(client: Client) -> None:
    def work(api: Any) -> None:
        pool = IPAMPool(subnet="10.214.0.0/24", iprange="10.214.0.128/25", gateway="10.214.0.1")
        blue = api.networks.create("blue", ipam=IPAMConfig(pool_configs=[pool]), labels={"a": "b"})
        config = EndpointConfig("1.44", aliases=["hello"], ipv4_address="10.214.0.9")
        box = api.containers.run(
            "busybox",
            "sleep 300",
            detach=True,
            network="blue",
            networking_config={"blue": config},
            ports={"80/tcp": None},
        )
        box.reload()
        endpoint = box.attrs["NetworkSettings"]["Networks"]["blue"]
        assert (endpoint["IPAddress"], endpoint["Gateway"]) == ("10.214.0.9", "10.214.0.1")
        assert box.ports["80/tcp"][0]["HostPort"].isdigit()
        other = api.containers.run("busybox", "ping -c1 -W2 hello", network="blue", detach=True)
        assert other.wait()["StatusCode"] == 0
        green = api.networks.create("green")
        green.connect(box, aliases=["both"])
        green.reload()
        assert [found.id for found in green.containers] == [box.id]
        green.disconnect(box)
        with pytest.raises(APIError) as used:
            blue.remove()
        assert used.value.status_code == 403
        box.remove(force=True)
        other.remove()
        blue.remove()
        assert [network.name for network in api.networks.list(names=["green"])] == ["green"]
        volume = api.volumes.create("data", labels={"a": "b"})
        assert [found.name for found in api.volumes.list(filters={"label": "a=b"})] == ["data"]
        api.containers.run("busybox", "touch /d/x", volumes=["data:/d"], remove=True)
        volume.remove()
        with pytest.raises(NotFound):
            api.volumes.get("data")

    await client(work)


async def test_images_builds_events_stats_and_system(client: Client) -> None:
    def work(api: Any) -> None:
        dockerfile = io.BytesIO(b"FROM busybox\nENV A=b\nRUN touch made\nCMD echo $A\n")
        image, output = api.images.build(fileobj=dockerfile, tag="built:1", rm=True)
        assert image.tags == ["built:1"]
        assert any("Successfully built" in line.get("stream", "") for line in output)
        dockerfile.seek(0)
        _, output = api.images.build(fileobj=dockerfile, tag="built:2", cache_from=["nosuchtag"])
        assert not any("Using cache" in line.get("stream", "") for line in output)
        dockerfile.seek(0)
        _, output = api.images.build(fileobj=dockerfile, tag="built:2", cache_from=["built:1"])
        assert any("Using cache" in line.get("stream", "") for line in output)
        saved = b"".join(api.images.get("built:1").save(named=True))
        api.images.remove("built:1")
        assert [tag for loaded in api.images.load(saved) for tag in loaded.tags if tag == "built:1"] == ["built:1"]
        assert api.images.get("busybox").tag("shop", "2") is True
        box = api.containers.run("busybox", "sleep 300", detach=True)
        stats = box.stats(stream=False)
        assert stats["pids_stats"]["current"] == 1
        assert next(box.stats(stream=True, decode=True))["id"] == box.id
        assert box.top()["Titles"][:2] == ["UID", "PID"]
        actions = [event["Action"] for event in api.events(since=1, until=int(time.time()) + 1, decode=True)]
        assert "start" in actions
        assert api.ping() is True
        assert api.info()["Containers"] == 1
        assert api.version()["ApiVersion"] == "1.50"
        assert api.df()["Containers"][0]["Id"] == box.id

    await client(work)
