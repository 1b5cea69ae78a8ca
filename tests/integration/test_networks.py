"""The engine's networks on the real kernel: containers are namespaces with a small server in them."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from network_peer import Peer, free_port, http_get, inside, resolve

from wherry.engine.errors import EngineError, Forbidden, InvalidParameter
from wherry.engine.networks import ContainerView, NetworkRequest, Networks, NetworkSandbox
from wherry.host.database import Database
from wherry.host.instance import Instance
from wherry.host.netlink import Netlink
from wherry.host.nftables import Nftables

pytestmark = pytest.mark.root


@pytest_asyncio.fixture
async def networks(wherry_instance: Instance) -> AsyncIterator[Networks]:
    database = Database(wherry_instance.database)
    opened = await Networks.open(wherry_instance, database)
    yield opened
    await opened.purge()
    database.close()


@pytest.fixture
def peers() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def request(number: int, name: str, **more: Any) -> NetworkRequest:
    return NetworkRequest(container_id=f"{number:x}" * 64, name=f"/{name}", hostname=name, **more)


def address(sandbox: NetworkSandbox, network: str = "bridge") -> str:
    return str(sandbox.settings["Networks"][network]["IPAddress"])


def netns(sandbox: NetworkSandbox) -> Path:
    assert sandbox.netns is not None
    return sandbox.netns


async def test_published_ports_answer_from_everywhere(networks: Networks, peers: contextlib.ExitStack) -> None:
    port = free_port()
    web = await networks.attach(request(1, "web", port_bindings={"80/tcp": [{"HostIp": "", "HostPort": str(port)}]}))
    other = await networks.attach(request(2, "other"))
    peers.enter_context(Peer(netns(web), "web"))
    gateway = web.settings["Gateway"]
    assert web.settings["Ports"]["80/tcp"][0] == {"HostIp": "0.0.0.0", "HostPort": str(port)}
    for where, url in (
        (None, f"http://127.0.0.1:{port}"),
        (None, f"http://{gateway}:{port}"),
        (None, f"http://[::1]:{port}"),
        (None, f"http://{address(web)}"),
        (other.netns, f"http://{address(web)}"),
        (other.netns, f"http://{gateway}:{port}"),
        (web.netns, f"http://{gateway}:{port}"),
    ):
        assert (await http_get(url, where)).startswith("web "), (where, url)


async def test_a_taken_port_is_dockers_error_and_leaves_nothing(networks: Networks) -> None:
    port = free_port()
    bindings = {"80/tcp": [{"HostIp": "", "HostPort": str(port)}]}
    first = await networks.attach(request(1, "first", port_bindings=bindings))
    with pytest.raises(EngineError, match=f"Bind for 0.0.0.0:{port} failed: port is already allocated"):
        await networks.attach(request(2, "second", port_bindings=bindings))
    assert list(networks.inspect("bridge")["Containers"]) == [first_id := "1" * 64], first_id
    assert networks.settings("2" * 64) is None and first.netns is not None
    await networks.detach("1" * 64)
    await networks.attach(request(2, "second", port_bindings=bindings))


async def test_names_on_a_user_defined_network(networks: Networks) -> None:
    await networks.create({"Name": "shop"})
    a = await networks.attach(request(1, "a", mode="shop", endpoints={"shop": {"Aliases": ["web"]}}))
    b = await networks.attach(request(2, "b", mode="shop", endpoints={"shop": {"Aliases": ["web"]}}))
    assert "nameserver 127.0.0.11" in a.resolv_conf
    assert await resolve(netns(a), "b") == [address(b, "shop")]
    assert await resolve(netns(a), "222222222222") == [address(b, "shop")]
    assert await resolve(netns(a), "B.shop", tcp=True) == [address(b, "shop")]
    assert sorted(await resolve(netns(b), "web")) == sorted([address(a, "shop"), address(b, "shop")])
    backwards = ".".join(reversed(address(b, "shop").split("."))) + ".in-addr.arpa"
    assert await resolve(netns(a), backwards, "PTR") == ["b.shop."]
    await networks.detach("2" * 64)
    assert await resolve(netns(a), "web") == [address(a, "shop")]


async def test_networks_are_isolated_from_each_other(networks: Networks, peers: contextlib.ExitStack) -> None:
    port = free_port()
    await networks.create({"Name": "one"})
    await networks.create({"Name": "two"})
    web = await networks.attach(request(1, "web", mode="one", port_bindings={"80/tcp": [{"HostPort": str(port)}]}))
    other = await networks.attach(request(2, "other", mode="two"))
    peers.enter_context(Peer(netns(web), "web"))
    assert await http_get(f"http://{address(web, 'one')}", other.netns, seconds=1) == ""
    gateway = other.settings["Networks"]["two"]["Gateway"]
    assert (await http_get(f"http://{gateway}:{port}", other.netns)).startswith("web "), "by the published port it may"


async def test_icc_off_and_internal(networks: Networks, peers: contextlib.ExitStack) -> None:
    await networks.create({"Name": "quiet", "Options": {"com.docker.network.bridge.enable_icc": "false"}})
    a = await networks.attach(request(1, "a", mode="quiet"))
    b = await networks.attach(request(2, "b", mode="quiet"))
    peers.enter_context(Peer(netns(a), "a"))
    assert await http_get(f"http://{address(a, 'quiet')}", b.netns, seconds=1) == ""
    assert (await http_get(f"http://{address(a, 'quiet')}")).startswith("a ")
    await networks.create({"Name": "inner", "Internal": True})
    c = await networks.attach(request(3, "c", mode="inner"))
    d = await networks.attach(request(4, "d", mode="inner"))
    peers.enter_context(Peer(netns(c), "c"))
    assert (await http_get(f"http://{address(c, 'inner')}", d.netns)).startswith("c ")
    assert "default" not in inside(netns(d), "ip", "route")


async def test_static_addresses_ipv6_and_sysctls(networks: Networks, peers: contextlib.ExitStack) -> None:
    config = [{"Subnet": "10.231.77.0/24", "Gateway": "10.231.77.254"}, {"Subnet": "fd00:231:77::/64"}]
    await networks.create({"Name": "fixed", "EnableIPv6": True, "IPAM": {"Config": config}})
    ipam = {"IPAMConfig": {"IPv4Address": "10.231.77.9", "IPv6Address": "fd00:231:77::9"}}
    a = await networks.attach(
        request(1, "a", mode="fixed", endpoints={"fixed": ipam}, sysctls={"net.core.somaxconn": "77"})
    )
    b = await networks.attach(request(2, "b", mode="fixed"))
    shown = a.settings["Networks"]["fixed"]
    assert (shown["IPAddress"], shown["GlobalIPv6Address"]) == ("10.231.77.9", "fd00:231:77::9")
    assert shown["Gateway"] == "10.231.77.254"
    assert inside(netns(a), "cat", "/proc/sys/net/core/somaxconn").strip() == "77"
    peers.enter_context(Peer(netns(a), "a"))
    assert (await http_get("http://[fd00:231:77::9]", b.netns)).startswith("a ")
    with pytest.raises(Forbidden, match="Address already in use"):
        await networks.attach(request(3, "c", mode="fixed", endpoints={"fixed": ipam}))
    with pytest.raises(InvalidParameter, match="user specified IP address is supported"):
        await networks.attach(request(3, "c", endpoints={"bridge": ipam}))


async def test_modes_none_host_and_container(networks: Networks) -> None:
    none = await networks.attach(request(1, "none", mode="none"))
    assert inside(netns(none), "ip", "-o", "link").count("\n") == 1
    host = await networks.attach(request(2, "host", mode="host"))
    assert host.netns is None and list(host.settings["Networks"]) == ["host"]
    shared = await networks.attach(request(3, "shared", mode=f"container:{'1' * 64}"))
    assert shared.netns == none.netns and shared.settings["Networks"] == {}


class Records:
    """Stands for the engine's containers."""

    def __init__(self) -> None:
        self.view = ContainerView("1" * 64, "/a", "bridge", True, {"bridge": {}})
        self.saved: list[tuple[dict[str, dict[str, Any]], NetworkSandbox | None]] = []

    def network_view(self, ref: str) -> ContainerView:
        return self.view

    async def save_network(
        self, container_id: str, endpoints: dict[str, dict[str, Any]], sandbox: NetworkSandbox | None
    ) -> None:
        self.saved.append((endpoints, sandbox))


async def test_connect_and_disconnect_while_running(networks: Networks, peers: contextlib.ExitStack) -> None:
    records = Records()
    networks.containers = records
    await networks.create({"Name": "shop"})
    a = await networks.attach(request(1, "a"))
    b = await networks.attach(request(2, "b", mode="shop"))
    peers.enter_context(Peer(netns(a), "a"))
    await networks.connect("shop", "a", {"Aliases": ["alpha"]})
    endpoints, sandbox = records.saved[-1]
    assert set(endpoints) == {"bridge", "shop"} and sandbox is not None
    assert "nameserver 127.0.0.11" in sandbox.resolv_conf
    assert await resolve(netns(b), "alpha") == [address(sandbox, "shop")]
    assert (await http_get(f"http://{address(sandbox, 'shop')}", b.netns)).startswith("a ")
    with pytest.raises(Forbidden, match="endpoint with name a already exists in network shop"):
        await networks.connect("shop", "a")
    with pytest.raises(Forbidden, match="has active endpoints"):
        await networks.remove("shop")
    await networks.disconnect("bridge", "a")
    assert "eth0" not in inside(netns(a), "ip", "-o", "link")
    assert "default via" in inside(netns(a), "ip", "route"), "the way out moves to the network that is left"


async def test_traffic_goes_on_without_us_and_everything_is_taken_up_again(
    wherry_instance: Instance, peers: contextlib.ExitStack
) -> None:
    database = Database(wherry_instance.database)
    port = free_port()
    before = await Networks.open(wherry_instance, database)
    await before.create({"Name": "shop", "Labels": {"a": "b"}})
    bindings = {"80/tcp": [{"HostIp": "", "HostPort": str(port)}]}
    web = await before.attach(request(1, "web", mode="shop", port_bindings=bindings))
    gone = await before.attach(request(2, "gone", mode="shop"))
    peers.enter_context(Peer(netns(web), "web"))
    listed = before.list()
    await before.close()
    assert (await http_get(f"http://127.0.0.1:{port}")).startswith("web ")
    after = await Networks.open(wherry_instance, database)
    await after.adopt(["1" * 64])
    assert after.list() == listed
    assert after.settings("1" * 64) == web.settings and after.settings("2" * 64) is None
    assert not netns(gone).exists()
    assert (await http_get(f"http://127.0.0.1:{port}")).startswith("web ")
    assert (await http_get(f"http://[::1]:{port}")).startswith("web ")
    assert await resolve(netns(web), "web") == [address(web, "shop")]
    with pytest.raises(EngineError, match="port is already allocated"):
        await after.attach(request(3, "thief", port_bindings=bindings))
    await after.purge()
    database.close()


async def test_what_a_killed_process_left_is_swept(wherry_instance: Instance) -> None:
    script = (
        "import asyncio, os, sys\n"
        "from wherry.engine.networks import Networks, NetworkRequest\n"
        "from wherry.host.database import Database\n"
        "from wherry.host.instance import open_instance\n"
        "async def main():\n"
        "    instance = open_instance(sys.argv[1], sys.argv[2])\n"
        "    networks = await Networks.open(instance, Database(instance.database))\n"
        "    await networks.create({'Name': 'shop'})\n"
        "    for number in range(3):\n"
        "        await networks.attach(NetworkRequest(str(number) * 64, f'/c{number}', f'c{number}', mode='shop'))\n"
        "    os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )
    arguments = [sys.executable, "-c", script, str(wherry_instance.root), str(wherry_instance.run)]
    assert (await asyncio.to_thread(subprocess.run, arguments, check=False)).returncode == -9
    database = Database(wherry_instance.database)
    networks = await Networks.open(wherry_instance, database)
    assert networks.inspect("shop")["Containers"].keys() == {"0" * 64, "1" * 64, "2" * 64}
    await networks.adopt([])
    assert networks.inspect("shop")["Containers"] == {}
    await networks.purge()
    database.close()
    with Netlink() as netlink, Nftables() as nft:
        assert not [link for link in netlink.links() if link.name.startswith(f"wh{wherry_instance.id}")]
        assert not [name for _, name in nft.tables() if name.startswith(wherry_instance.nft_table)]
    assert list(wherry_instance.netns_dir.iterdir()) == []
