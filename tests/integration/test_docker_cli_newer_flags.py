"""Flags of the real client that an old dockerd does not know, so that nothing can be compared: what they must do."""

import asyncio
import json
from pathlib import Path

import pytest
from docker_client import DockerCli

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]


async def test_annotations_and_addresses(docker_cli: DockerCli) -> None:
    made = ("create", "--annotation", "a=b", "--mac-address", "92:d0:c6:0a:29:33", "--name", "box", "busybox", "cat",
            "/sys/class/net/eth0/address")  # fmt: skip
    await docker_cli(*made)
    assert (await docker_cli("inspect", "-f", "{{json .HostConfig.Annotations}}", "box")).out == '{"a":"b"}\n'
    assert (await docker_cli("start", "-a", "box")).out == "92:d0:c6:0a:29:33\n"


async def test_a_health_check_is_asked_more_often_at_the_start(docker_cli: DockerCli) -> None:
    await docker_cli(
        "run", "-d", "--name", "box", "--health-cmd", "true", "--health-interval", "1h", "--health-start-period", "1h",
        "--health-start-interval", "100ms", "busybox", "sleep", "1000",
    )  # fmt: skip
    async with asyncio.timeout(60):
        while (await docker_cli("inspect", "-f", "{{.State.Health.Status}}", "box")).out != "healthy\n":
            continue


@pytest.mark.parametrize("command", ["stop", "restart"])
async def test_a_signal_to_stop_with(docker_cli: DockerCli, command: str) -> None:
    script = "trap 'echo told; exit 7' USR1; trap : TERM; echo ready; while :; do sleep 0.1; done"
    await docker_cli("run", "-d", "--name", "box", "busybox", "sh", "-c", script)
    async with asyncio.timeout(60):
        while "ready" not in (await docker_cli("logs", "box")).out:
            continue
    await docker_cli(command, "--signal", "USR1", "--timeout", "60", "box", timeout=90)
    assert "told" in (await docker_cli("logs", "box")).out


async def test_an_image_is_of_one_platform(docker_cli: DockerCli, tmp_path: Path) -> None:
    archive, found = str(tmp_path / "saved.tar"), await docker_cli("version", "-f", "{{.Server.Arch}}")
    mine = f"linux/{found.out.strip()}"
    for command in (
        ("image", "inspect", "-f", "{{.Os}}", "busybox"),
        ("image", "history", "-q", "busybox"),
        ("image", "save", "-o", archive, "busybox"),
        ("image", "push", "busybox"),
        ("image", "rm", "busybox"),
    ):
        name, rest = command[:2], command[2:]
        refused = await docker_cli(*name, "--platform", "linux/mips64le", *rest, fails=True)
        assert f"its platform ({mine}) does not match the specified platform (linux/mips64le)" in refused.err, command
        if command[1] in ("inspect", "history", "save"):
            await docker_cli(*name, "--platform", mine, *rest)
    await docker_cli("rmi", "--platform", mine, "busybox")
    await docker_cli("load", "--platform", "linux/mips64le", "-i", archive, fails=True)
    assert not (await docker_cli("images", "-q")).out
    await docker_cli("load", "--platform", mine, "-i", archive)
    assert "busybox" in (await docker_cli("images", "--tree")).out


async def test_the_way_out_is_by_the_network_of_highest_priority(docker_cli: DockerCli) -> None:
    for name in ("aaa", "bbb"):
        await docker_cli("network", "create", "--ipv4", name)
    await docker_cli("run", "-d", "--name", "box", "--network", "aaa", "busybox", "sleep", "1000")
    await docker_cli("network", "connect", "--gw-priority", "7", "bbb", "box")
    gateway = (await docker_cli("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "bbb")).out.strip()
    assert (await docker_cli("exec", "box", "ip", "route", "show", "default")).out.split()[2] == gateway


async def test_an_endpoint_names_its_interface_and_sets_its_sysctls(docker_cli: DockerCli) -> None:
    option = "driver-opt=com.docker.network.endpoint"
    network = f"name=bridge,{option}.ifname=lan0,{option}.sysctls=net.ipv4.conf.IFNAME.log_martians=1"
    inside = "ip -o -4 addr show lan0 | wc -l; cat /proc/sys/net/ipv4/conf/lan0/log_martians"
    assert (await docker_cli("run", "--rm", "--network", network, "busybox", "sh", "-c", inside)).lines == ["1", "1"]
    for bad, words in (
        ("ifname=a/b", "invalid interface name: a/b"),
        ("ifname=lo", "invalid interface name: lo"),
        ("sysctls=kernel.msgmax=1", "unrecognised network interface sysctl"),
    ):
        refused = await docker_cli("run", "--network", f"name=bridge,{option}.{bad}", "busybox", "true", fails=True)
        assert words in refused.err


async def test_named_volumes_are_pruned_when_all_are_meant(docker_cli: DockerCli) -> None:
    await docker_cli("volume", "create", "named")
    await docker_cli("create", "--name", "box", "-v", "/anonymous", "busybox")
    await docker_cli("rm", "box")
    assert (await docker_cli("volume", "prune", "-f")).out.count("\n") == 4
    assert (await docker_cli("volume", "ls", "-q")).out == "named\n"
    await docker_cli("volume", "prune", "--all", "--force")
    assert not (await docker_cli("volume", "ls", "-q")).out


async def test_drivers_that_are_not_there_are_named(docker_cli: DockerCli) -> None:
    for command, words in (
        (("volume", "create", "-d", "nope", "bad"), 'error looking up volume plugin nope: plugin "nope" not found'),
        (("network", "create", "-d", "nope", "bad"), 'plugin "nope" not found'),
        (("create", "--volume-driver", "nope", "-v", "bad:/x", "busybox"), 'plugin "nope" not found'),
        (("create", "--volume-driver", "nope", "-v", "/x", "busybox"), 'plugin "nope" not found'),
        (("create", "--mount", "type=volume,dst=/x,volume-driver=nope", "busybox"), 'plugin "nope" not found'),
        (("create", "--log-driver", "nope", "busybox"), "no log driver named 'nope' is registered"),
        (("create", "--log-driver", "syslog", "busybox"), "log driver 'syslog' is not supported by this engine"),
    ):
        assert words in (await docker_cli(*command, fails=True)).err
    assert not (await docker_cli("volume", "ls", "-q")).out
    assert json.loads((await docker_cli("info", "-f", "{{json .ContainersRunning}}")).out) == 0
