"""Pods, Services and DNS on the real kernel, with a stand-in for the API server."""

import asyncio
import contextlib
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import pytest_asyncio
from network_peer import Peer, free_port, http_get, resolve, udp_ask

from wherry.cluster_net.addresses import choose_service_cidr
from wherry.cluster_net.dns import ClusterDNS
from wherry.cluster_net.load_balancers import LoadBalancers
from wherry.cluster_net.pod_network import HostPortTaken, PodNetwork, PodSandbox, RangeTaken
from wherry.cluster_net.service_proxy import ServiceProxy
from wherry.cluster_net.settings import parse
from wherry.host.instance import Instance
from wherry.schema.builtin import ENDPOINT_SLICES, EVENTS, NAMESPACES, SERVICES
from wherry.testing.fake_client import FakeClient

pytestmark = pytest.mark.root


class Cluster:
    """A node's network with three pods, each with a server."""

    def __init__(self, instance: Instance) -> None:
        self.cidr = choose_service_cidr()
        self.network = PodNetwork(instance, service_cidr=str(self.cidr))
        self.client = FakeClient()
        self.proxy = ServiceProxy(self.client, instance, "node-1", service_cidr=str(self.cidr))
        self.dns = ClusterDNS(self.client, service_cidr=str(self.cidr), bridge=self.network.bridge)
        self.pods: list[PodSandbox] = []

    def address(self, number: int) -> str:
        return str(self.cidr[number])

    async def service(self, name: str, number: int, **spec: Any) -> None:
        base = {
            "type": "ClusterIP",
            "clusterIP": self.address(number),
            "clusterIPs": [self.address(number)],
            "ports": [
                {"name": "http", "port": 8080, "protocol": "TCP"},
                {"name": "dns", "port": 5353, "protocol": "UDP"},
            ],
        }
        metadata = {"name": name, "namespace": "default"}
        service = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": base | spec}
        await self.client.create(SERVICES, service, "default")

    async def endpoints(self, name: str, *numbers: int, node: str = "node-1") -> None:
        """The pods behind a Service, from now on, as if they ran on `node`."""
        item = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"{name}-1",
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": name},
            },
            "addressType": "IPv4",
            "endpoints": [
                {"addresses": [self.pods[n].ips[0]], "nodeName": node, "hostname": f"{name}-{n}", "conditions": {}}
                for n in numbers
            ],
            "ports": [
                {"name": "http", "port": 80, "protocol": "TCP"},
                {"name": "dns", "port": 53, "protocol": "UDP"},
            ],
        }
        if any(known["metadata"]["name"] == f"{name}-1" for known in self.client.all(ENDPOINT_SLICES)):
            await self.client.update(ENDPOINT_SLICES, item)
        else:
            await self.client.create(ENDPOINT_SLICES, item, "default")

    def balanced(self, name: str) -> str:
        """The address that a LoadBalancer Service has; "" while it has none."""
        (service,) = (one for one in self.client.all(SERVICES) if one["metadata"]["name"] == name)
        entries = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
        return str(entries[0]["ip"]) if entries else ""

    def warning(self, name: str, reason: str) -> str:
        """The message of an Event about a Service."""
        for event in self.client.all(EVENTS):
            if event["involvedObject"]["name"] == name and event["reason"] == reason:
                return str(event["message"])
        return ""

    async def seen(self, url: str, netns: Any = None, times: int = 16) -> set[str]:
        """Names of the pods that answer `times` requests."""
        return {(await http_get(url, netns, seconds=2)).partition(" ")[0] for _ in range(times)}


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as made:
        yield made


@pytest_asyncio.fixture
async def cluster(wherry_instance: Instance, stack: contextlib.ExitStack) -> AsyncIterator[Cluster]:
    made = Cluster(wherry_instance)
    await made.network.start()
    for number in range(3):
        pod = await made.network.add(f"uid-{number}")
        made.pods.append(pod)
        stack.enter_context(Peer(pod.netns, f"pod-{number}"))
    made.client.seed(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}})
    tasks = [asyncio.create_task(made.proxy.run()), asyncio.create_task(made.dns.run())]
    async with asyncio.timeout(10):
        await made.proxy.programmed.wait()
        await made.dns.serving.wait()
    yield made
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    made.dns.release()
    await made.proxy.purge()
    await made.network.purge()


async def until(condition: Callable[[], Any]) -> None:
    """Each condition asks over the network, which takes its time: no pause is needed between two tries."""
    async with asyncio.timeout(10):
        while not await condition():  # noqa: ASYNC110 - what is awaited happens in the kernel: there is no event
            await asyncio.sleep(0)


async def test_pods_reach_each_other_the_outside_and_keep_their_address(cluster: Cluster) -> None:
    first, second = cluster.pods[:2]
    assert (await http_get(f"http://{first.ips[0]}", second.netns)) == f"pod-0 ::ffff:{second.ips[0]}"
    assert (await http_get(f"http://{first.ips[0]}")) == f"pod-0 ::ffff:{cluster.network.gateway}"


async def test_host_ports_answer_and_are_held(cluster: Cluster, stack: contextlib.ExitStack) -> None:
    port = free_port()
    pod = await cluster.network.add("uid-h", host_ports=[{"containerPort": 80, "hostPort": port, "protocol": "TCP"}])
    stack.enter_context(Peer(pod.netns, "held"))
    for where, url in (
        (None, f"http://127.0.0.1:{port}"),
        (None, f"http://[::1]:{port}"),
        (cluster.pods[0].netns, f"http://{cluster.network.gateway}:{port}"),
        (pod.netns, f"http://{cluster.network.gateway}:{port}"),
    ):
        assert (await http_get(url, where)).startswith("held "), url
    with pytest.raises(HostPortTaken):
        await cluster.network.add("uid-i", host_ports=[{"containerPort": 80, "hostPort": port}])
    assert "uid-i" not in cluster.network.list()


async def test_a_service_spreads_over_its_pods_from_host_and_pod(cluster: Cluster) -> None:
    await cluster.service("web", 20, type="NodePort", ports=[
        {"name": "http", "port": 8080, "protocol": "TCP", "nodePort": 31777},
        {"name": "dns", "port": 5353, "protocol": "UDP", "nodePort": 31777},
    ])  # fmt: skip
    await cluster.endpoints("web", 0, 1, 2)
    everyone = {"pod-0", "pod-1", "pod-2"}
    url = f"http://{cluster.address(20)}:8080"
    await until(lambda: http_get(url, seconds=1))
    assert await cluster.seen(url, times=40) == everyone
    assert await cluster.seen(url, cluster.pods[0].netns, times=40) == everyone, "itself too"
    assert await cluster.seen("http://127.0.0.1:31777", times=40) == everyone
    assert await cluster.seen(f"http://{cluster.network.gateway}:31777", cluster.pods[1].netns, times=40) == everyone
    assert (await udp_ask(cluster.address(20), 5353, cluster.pods[2].netns)) in everyone
    assert (await udp_ask("127.0.0.1", 31777)) in everyone


async def test_endpoints_come_and_go_without_a_failed_request(cluster: Cluster) -> None:
    await cluster.service("web", 20)
    await cluster.endpoints("web", 0, 1)
    url = f"http://{cluster.address(20)}:8080"
    await until(lambda: http_get(url, seconds=1))
    stop = asyncio.Event()
    answers: list[str] = []

    async def ask() -> None:
        while not stop.is_set():
            answers.append(await http_get(url, cluster.pods[2].netns, seconds=2))

    asking = asyncio.create_task(ask())
    for numbers in ((0,), (1,), (0, 1), (1,), (0,)):
        await cluster.endpoints("web", *numbers)
        only = {f"pod-{n}" for n in numbers}
        await until(lambda only=only: _is(cluster.seen(url, times=6), only))  # type: ignore[misc]
    stop.set()
    await asking
    assert answers and "" not in answers


async def _is(found: Any, wanted: set[str]) -> bool:
    return bool(await found == wanted)


async def test_a_service_without_endpoints_refuses_at_once(cluster: Cluster) -> None:
    await cluster.service("empty", 21)
    await until(lambda: _applied(cluster, "empty"))
    for netns in (None, cluster.pods[0].netns):
        async with asyncio.timeout(1.5):
            assert await http_get(f"http://{cluster.address(21)}:8080", netns) == ""
            assert await http_get(f"http://{cluster.address(99)}:8080", netns) == "", "an address of no Service"


async def _applied(cluster: Cluster, name: str) -> bool:
    return ("default", name) in cluster.proxy._applied


async def test_client_ip_affinity_outlives_changes_of_other_endpoints(cluster: Cluster) -> None:
    await cluster.service("sticky", 22, sessionAffinity="ClientIP")
    await cluster.endpoints("sticky", 0, 1, 2)
    url = f"http://{cluster.address(22)}:8080"
    await until(lambda: http_get(url, cluster.pods[0].netns, seconds=1))
    (chosen,) = await cluster.seen(url, cluster.pods[0].netns)
    number = int(chosen[-1])
    await cluster.endpoints("sticky", number, (number + 1) % 3)
    await until(lambda: _count(cluster, "sticky", 2))
    assert await cluster.seen(url, cluster.pods[0].netns) == {chosen}
    await cluster.endpoints("sticky", (number + 1) % 3)
    await until(lambda: _count(cluster, "sticky", 1))
    assert await cluster.seen(url, cluster.pods[0].netns) == {f"pod-{(number + 1) % 3}"}


async def _count(cluster: Cluster, name: str, number: int) -> bool:
    ports = cluster.proxy._applied.get(("default", name), {})
    return bool(ports) and all(len(port.endpoints) == number for port in ports.values())


async def test_a_udp_client_moves_on_when_its_pod_goes(cluster: Cluster) -> None:
    await cluster.service("udp", 23)
    await cluster.endpoints("udp", 0)
    client = cluster.pods[2].netns
    await until(lambda: udp_ask(cluster.address(23), 5353, client, source_port=4444))
    await cluster.endpoints("udp", 1)
    await until(lambda: _is(udp_ask(cluster.address(23), 5353, client, source_port=4444), "pod-1"))  # type: ignore[arg-type]


async def test_names_of_services_from_a_pod(cluster: Cluster) -> None:
    await cluster.service("web", 20)
    await cluster.service("db", 0, clusterIP="None", clusterIPs=["None"])
    await cluster.endpoints("db", 0, 1)
    pod = cluster.pods[2].netns
    server = cluster.dns.address
    await until(lambda: resolve(pod, "db-1.db.default.svc.cluster.local", server=server))
    assert await resolve(pod, "web.default.svc.cluster.local", server=server) == [cluster.address(20)]
    both = await resolve(pod, "db.default.svc.cluster.local", server=server, tcp=True)
    assert sorted(both) == sorted(cluster.pods[n].ips[0] for n in (0, 1))
    assert await resolve(pod, "nope.default.svc.cluster.local", server=server) == []
    assert await resolve(None, "web.default.svc.cluster.local", server=server) == [cluster.address(20)], "from the host"


async def test_pods_and_rules_outlive_the_process(wherry_instance: Instance, stack: contextlib.ExitStack) -> None:
    cidr = choose_service_cidr()
    port = free_port()
    before = PodNetwork(wherry_instance, service_cidr=str(cidr))
    await before.start()
    ports = [{"containerPort": 80, "hostPort": port}]
    pod = await before.add("uid-1", host_ports=ports, sysctls={"net.core.somaxconn": "77"})
    stack.enter_context(Peer(pod.netns, "pod"))
    await before.stop()
    assert (await http_get(f"http://127.0.0.1:{port}")).startswith("pod ")
    after = PodNetwork(wherry_instance, service_cidr=str(cidr))
    await after.start()
    assert after.cidr == before.cidr and after.list() == {"uid-1": pod}
    assert await after.add("uid-1", host_ports=ports) == pod
    assert (await http_get(f"http://127.0.0.1:{port}")).startswith("pod ")
    assert (await after.add("uid-2")).ips != pod.ips
    await after.purge()
    assert not list((wherry_instance.run / "pod-network").glob("*"))


class Outside:
    """A machine beside this one: a namespace with a link to the host, neither pod nor node."""

    host = "172.31.77.1"
    address = "172.31.77.2"

    def __init__(self, instance: Instance) -> None:
        self._name = f"wh{instance.id}out"
        self._link = instance.link_name("t", "0")
        self.netns = f"/run/netns/{self._name}"

    def __enter__(self) -> "Outside":
        for line in (
            f"ip netns add {self._name}",
            f"ip link add {self._link} type veth peer name eth0 netns {self._name}",
            f"ip addr add {self.host}/24 dev {self._link}",
            f"ip link set {self._link} up",
            f"ip -n {self._name} addr add {self.address}/24 dev eth0",
            f"ip -n {self._name} link set eth0 up",
            f"ip -n {self._name} route add default via {self.host}",
        ):
            subprocess.run(line.split(), check=True, capture_output=True)
        return self

    def __exit__(self, *exc: object) -> None:
        subprocess.run(["ip", "netns", "del", self._name], check=True)
        subprocess.run(["ip", "link", "del", self._link], check=False, capture_output=True)


@contextlib.asynccontextmanager
async def balancing(cluster: Cluster, instance: Instance, **settings: Any) -> AsyncIterator[LoadBalancers]:
    made = LoadBalancers(
        cluster.client,
        instance,
        "node-1",
        addresses=[Outside.host],
        bridge=cluster.network.bridge,
        settings=parse(settings),
        services=cluster.proxy.services,
    )
    task = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def happens(probe: Callable[[], Any]) -> Any:
    async with asyncio.timeout(10):
        while not (found := probe()):  # noqa: ASYNC110 - what is awaited is written by other tasks
            await asyncio.sleep(0.02)
    return found


async def test_a_load_balancer_answers_on_the_machines_address(cluster: Cluster, wherry_instance: Instance) -> None:
    port = free_port()
    ports = [
        {"name": "http", "port": port, "protocol": "TCP", "nodePort": 31790},
        {"name": "dns", "port": port, "protocol": "UDP", "nodePort": 31790},
    ]
    with Outside(wherry_instance) as outside:
        async with balancing(cluster, wherry_instance):
            await cluster.service("front", 30, type="LoadBalancer", ports=ports)
            await cluster.endpoints("front", 0, 1)
            assert await happens(lambda: cluster.balanced("front")) == outside.host
            url = f"http://{outside.host}:{port}"
            await until(lambda: http_get(url, seconds=1))
            for place in (None, cluster.pods[2].netns, cluster.pods[0].netns, outside.netns):
                assert await cluster.seen(url, place, times=24) == {"pod-0", "pod-1"}, place
            assert (await http_get(url, outside.netns)).endswith(outside.address), "the client's address is kept"
            assert await udp_ask(outside.host, port, outside.netns) in ("pod-0", "pod-1")
            with pytest.raises(OSError, match="already in use"), socket.create_server(("", port)):
                pass
            await cluster.service("second", 31, type="LoadBalancer", ports=ports)
            await cluster.endpoints("second", 2)
            assert await happens(lambda: cluster.balanced("second")) == cluster.address(31), "its own, as a last resort"
            message = await happens(lambda: cluster.warning("second", "MachinePortTaken"))
            assert f"port {port}/TCP of {outside.host} belongs to service default/front" in message
            await cluster.client.delete(SERVICES, "front", "default")
            await cluster.client.patch(SERVICES, "second", {"metadata": {"labels": {"touched": "yes"}}}, "default")
            await happens(lambda: cluster.balanced("second") == outside.host)
            await until(lambda: _is(cluster.seen(url, outside.netns, times=4), {"pod-2"}))  # type: ignore[arg-type]
            await cluster.client.patch(SERVICES, "second", {"spec": {"type": "ClusterIP"}}, "default")
            await happens(lambda: not cluster.balanced("second"))
            socket.create_server(("", port)).close()


async def test_ports_of_others_are_left_alone(cluster: Cluster, wherry_instance: Instance) -> None:
    with Outside(wherry_instance) as outside, socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        async with balancing(cluster, wherry_instance):
            for name, number, wanted, words in (
                ("web", 30, 443, "port 443/TCP of 172.31.77.1 is kept for Ingress"),
                ("own", 31, port, f"port {port}/TCP of 172.31.77.1 is in use on this machine"),
            ):
                entry = {"name": "http", "port": wanted, "protocol": "TCP"}
                await cluster.service(name, number, type="LoadBalancer", ports=[entry])
                assert words in await happens(lambda name=name: cluster.warning(name, "MachinePortTaken"))
                assert cluster.balanced(name) == cluster.address(number)
            asked = {"name": "http", "port": port, "protocol": "TCP"}
            await cluster.service("asked", 32, type="LoadBalancer", ports=[asked], loadBalancerIP=outside.host)
            assert "is in use on this machine" in await happens(lambda: cluster.warning("asked", "AllocationFailed"))
            assert cluster.balanced("asked") == ""


async def test_a_pool_is_given_out_and_ends(cluster: Cluster, wherry_instance: Instance) -> None:
    ports = [{"name": "http", "port": 80, "protocol": "TCP"}]
    pool = {"pool": ["172.31.77.50"]}
    with Outside(wherry_instance) as outside:
        async with balancing(cluster, wherry_instance, load_balancer=pool):
            await cluster.service("first", 30, type="LoadBalancer", ports=ports)
            await cluster.endpoints("first", 0)
            assert await happens(lambda: cluster.balanced("first")) == "172.31.77.50"
            for place in (None, cluster.pods[1].netns, outside.netns):
                await until(lambda place=place: http_get("http://172.31.77.50", place, seconds=1))
            await cluster.service("second", 31, type="LoadBalancer", ports=ports)
            message = await happens(lambda: cluster.warning("second", "AllocationFailed"))
            assert message.startswith('Failed to allocate IP for "default/second": no address of the pool is free')
            assert cluster.balanced("second") == ""
            other = [{"name": "http", "port": 81, "protocol": "TCP"}]
            await cluster.service("third", 32, type="LoadBalancer", ports=other)
            assert await happens(lambda: cluster.balanced("third")) == "172.31.77.50", "another port of it is free"
            await cluster.client.delete(SERVICES, "first", "default")
            await cluster.endpoints("second", 1)
            await happens(lambda: cluster.balanced("second") == "172.31.77.50")
            await until(lambda: _is(cluster.seen("http://172.31.77.50", outside.netns, times=4), {"pod-1"}))  # type: ignore[arg-type]


async def test_local_policies_keep_to_this_node(cluster: Cluster, wherry_instance: Instance) -> None:
    health = free_port()
    ports = [{"name": "http", "port": 8080, "protocol": "TCP", "nodePort": 31791}]
    spec = {"externalTrafficPolicy": "Local", "healthCheckNodePort": health, "allocateLoadBalancerNodePorts": True}
    with Outside(wherry_instance) as outside:
        await cluster.service("far", 33, type="LoadBalancer", ports=ports, **spec)
        await cluster.endpoints("far", 0, 1, node="node-2")
        inner = f"http://{cluster.address(33)}:8080"
        await until(lambda: http_get(inner, cluster.pods[2].netns, seconds=1))
        outer = f"http://{outside.host}:31791"
        assert await http_get(outer, outside.netns, seconds=1) == "", "no endpoint here: refused, not forwarded"
        local = f"http://127.0.0.1:{health}"
        assert '"localEndpoints": 0' in await http_get(local)
        assert (await _status(local), await _status(local + "/healthz")) == (503, 503)
        await cluster.endpoints("far", 1)
        await until(lambda: http_get(outer, outside.netns, seconds=1))
        assert await http_get(outer, outside.netns) == f"pod-1 ::ffff:{outside.address}"
        assert await _status(local) == 200
        await cluster.client.patch(SERVICES, "far", {"spec": {"internalTrafficPolicy": "Local"}}, "default")
        await cluster.endpoints("far", 0, node="node-2")
        await until(lambda: _is(http_get(inner, cluster.pods[2].netns, seconds=1), ""))  # type: ignore[arg-type]
        await cluster.client.delete(SERVICES, "far", "default")
        await until(lambda: _is(_status(local), 0))  # type: ignore[arg-type]


async def _status(url: str) -> int:
    command = ["curl", "-s", "-o", "/dev/null", "-m", "2", "-w", "%{http_code}", url]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    return int(done.stdout)


async def test_source_ranges_and_external_addresses(cluster: Cluster, wherry_instance: Instance) -> None:
    ports = [{"name": "http", "port": 8082, "protocol": "TCP"}]
    with Outside(wherry_instance) as outside:
        await cluster.service("ext", 34, ports=ports, externalIPs=[outside.host])
        await cluster.endpoints("ext", 0)
        plain, balanced = f"http://{outside.host}:8082", "http://172.31.78.60:8082"
        status = {"status": {"loadBalancer": {"ingress": [{"ip": "172.31.78.60"}]}}}
        await cluster.client.patch(SERVICES, "ext", {"spec": {"type": "LoadBalancer"}}, "default")
        await cluster.client.patch(SERVICES, "ext", status, "default", subresource="status")
        for url in (plain, balanced):
            await until(lambda url=url: http_get(url, outside.netns, seconds=1))  # type: ignore[misc]
        ranges = ["10.9.0.0/16", "10.9.1.0/24"]
        await cluster.client.patch(SERVICES, "ext", {"spec": {"loadBalancerSourceRanges": ranges}}, "default")
        await until(lambda: _is(http_get(balanced, outside.netns, seconds=1), ""))  # type: ignore[arg-type]
        assert await http_get(plain, outside.netns, seconds=5), "only the balancer's address is guarded"
        ranges = ["10.9.0.0/16", f"{outside.address}/32"]
        await cluster.client.patch(SERVICES, "ext", {"spec": {"loadBalancerSourceRanges": ranges}}, "default")
        await until(lambda: http_get(balanced, outside.netns, seconds=1))


async def test_a_range_that_leads_elsewhere_is_refused(wherry_instance: Instance, wherry_instances: Any) -> None:
    cidr = choose_service_cidr()
    other = wherry_instances.make()
    first, second = PodNetwork(wherry_instance, service_cidr=str(cidr)), PodNetwork(other, service_cidr=str(cidr))
    await first.start()
    try:
        with pytest.raises(RangeTaken) as refused:
            await second.start()
        assert f"the range {cidr} of this cluster's Services is in use" in str(refused.value)
        assert first.bridge in str(refused.value) and str(wherry_instance.root) in str(refused.value)
        await first.start()
    finally:
        await first.purge()
    await second.start()
    await second.purge()
