"""`wherry simulate`: thousands of nodes without containers; everything else is real.

Each simulated node registers, renews its lease and answers for its pods (they "run" as soon as they are bound), all
over the real API server, scheduler and controllers of a running instance. The nodes say what they are: their names
begin with `simulated-`, they carry the label wherry.io/simulated=true, and a taint keeps everybody else's pods away.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from wherry.cli.process import innermost
from wherry.host.instance import Instance

if TYPE_CHECKING:
    from wherry.client.http import HttpClient
    from wherry.schema.resource import Object, Resource

PREFIX = "simulated-"
LABEL = "wherry.io/simulated"
NAMESPACE = "simulation"
IN_FLIGHT = 32
"""Requests under way at once: more only wait inside the server."""
LEASE_AHEAD = 3600.0
"""Leases are written as of the end of the next hour, so that thousands of renewals do not disturb what is measured."""
STATUS_BATCH = 64


@dataclass
class Progress:
    """What the watch has shown so far. Times are of time.monotonic()."""

    bound: dict[str, float] = field(default_factory=dict)
    running: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)


@click.command()
@click.option("--nodes", type=click.IntRange(1, 20_000), required=True, help="How many nodes to simulate.")
@click.option("--pods", type=click.IntRange(0), default=0, help="How many pods to create and measure.")
@click.option(
    "--shape",
    type=click.Choice(["plain", "spread", "anti-affinity"]),
    default="plain",
    help="What the pods ask for beside cpu and memory.",
)
@click.option("--zones", type=click.IntRange(1), default=3, help="Over how many zones the nodes are spread.")
@click.option("--timeout", type=float, default=600.0, help="Give up after so many seconds.")
@click.option("--keep", is_flag=True, help="Leave nodes and pods there until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print the measurements as JSON.")
@click.pass_obj
def simulate(
    instance: Instance, nodes: int, pods: int, shape: str, zones: int, timeout: float, keep: bool, as_json: bool
) -> None:
    """Register simulated nodes, create pods for them, and measure how fast the pods are scheduled."""
    if not instance.kubeconfig.exists():
        raise click.ClickException(f"no cluster runs at {instance.root}: start it with `wherry up`")
    from wherry.schema.errors import ApiError

    simulation = Simulation(instance, nodes, pods, shape, zones)
    say: Callable[[str], None] = (lambda text: None) if as_json else click.echo
    try:
        found = asyncio.run(simulation.run(timeout, keep, say))
    except* TimeoutError:
        raise click.ClickException(f"not finished within {timeout:.0f} s: {simulation.state()}") from None
    except* ApiError as errors:
        raise click.ClickException(str(innermost(errors))) from None
    except* KeyboardInterrupt:
        raise click.Abort from None
    if as_json:
        click.echo(json.dumps(found, indent=2))


class Simulation:
    """One run; `state()` says how far it is."""

    def __init__(self, instance: Instance, nodes: int, pods: int, shape: str, zones: int) -> None:
        self.instance = instance
        self.nodes = nodes
        self.pods = pods
        self.shape = shape
        self.zones = zones
        self.progress = Progress()
        self._bound: asyncio.Queue[Object] = asyncio.Queue()

    def state(self) -> str:
        seen = self.progress
        return f"{len(seen.bound)} of {self.pods} pods bound, {seen.running} running"

    async def run(self, timeout: float, keep: bool, say: Callable[[str], None]) -> dict[str, Any]:
        """Register, create, measure, clean up. Raises TimeoutError, ApiError."""
        from wherry.client.http import HttpClient

        async with HttpClient.from_kubeconfig(self.instance.kubeconfig, user_agent="wherry-simulate") as client:
            await self._clean(client)  # of an earlier run that was cut short
            try:
                async with asyncio.timeout(timeout):
                    found = await self._measure(client, say)
                if keep:
                    say("The simulated nodes stay until Ctrl-C.")
                    await asyncio.Event().wait()
                return found
            finally:
                say("Removing simulated nodes and pods …")
                await self._clean(client)

    async def _measure(self, client: "HttpClient", say: Callable[[str], None]) -> dict[str, Any]:
        begin = time.monotonic()
        await in_parallel(self._register(client, number) for number in range(self.nodes))
        registering = time.monotonic() - begin
        say(f"{self.nodes} nodes registered in {registering:.1f} s ({self.nodes / registering:.0f}/s)")
        found: dict[str, Any] = {"nodes": self.nodes, "nodes_per_second": round(self.nodes / registering, 1)}
        if not self.pods:
            return found
        await self._make_namespace(client)
        kubelets = asyncio.create_task(self._kubelets(client))
        try:
            await self._follow_started(client)
            begin = time.monotonic()
            await in_parallel(self._create_pod(client, number) for number in range(self.pods))
            creating = time.monotonic() - begin
            say(f"{self.pods} pods created in {creating:.1f} s ({self.pods / creating:.0f}/s)")
            await self._wait(lambda: len(self.progress.bound) >= self.pods)
            times = sorted(self.progress.bound.values())
            whole = times[-1] - begin
            await self._wait(lambda: self.progress.running >= self.pods)
            running = time.monotonic() - begin
        finally:
            kubelets.cancel()
            self._watch.cancel()
            await asyncio.gather(kubelets, self._watch, return_exceptions=True)
        found |= {
            "pods": self.pods,
            "shape": self.shape,
            "created_per_second": round(self.pods / creating, 1),
            "bound_per_second": round(self.pods / whole, 1),
            "bound_per_second_best_10_s": round(best_rate(times, 10.0), 1),
            "running_per_second": round(self.pods / running, 1),
            "seconds_to_all_bound": round(whole, 2),
        }
        say(f"all bound after {whole:.1f} s ({self.pods / whole:.0f}/s), all running after {running:.1f} s")
        return found

    # Nodes.

    async def _register(self, client: "HttpClient", number: int) -> None:
        from wherry.schema.builtin import LEASES, NODES

        node = simulated_node(number, self.zones)
        name = node["metadata"]["name"]
        await created(client, NODES, node)
        # The status is a subresource: what creation carried of it was dropped.
        await client.patch(NODES, name, {"status": node["status"]}, subresource="status")
        lease = {
            "metadata": {"name": name, "namespace": "kube-node-lease", "labels": {LABEL: "true"}},
            "spec": {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": micro_time(LEASE_AHEAD)},
        }
        await created(client, LEASES, lease, "kube-node-lease")

    # Pods.

    async def _make_namespace(self, client: "HttpClient") -> None:
        from wherry.schema.builtin import NAMESPACES, SERVICE_ACCOUNTS
        from wherry.schema.errors import NotFound

        await created(client, NAMESPACES, {"metadata": {"name": NAMESPACE, "labels": {LABEL: "true"}}})
        while True:
            try:
                await client.get(SERVICE_ACCOUNTS, "default", NAMESPACE)
                return
            except NotFound:
                await asyncio.sleep(0.05)

    async def _create_pod(self, client: "HttpClient", number: int) -> None:
        from wherry.schema.builtin import PODS

        await client.create(PODS, simulated_pod(number, self.shape), NAMESPACE)

    async def _follow_started(self, client: "HttpClient") -> None:
        from wherry.client.informer import Informer
        from wherry.schema.builtin import PODS

        informer = Informer(client, PODS, namespace=NAMESPACE)
        informer.add_handler(self._pod_changed)
        self._watch = asyncio.create_task(informer.run(), name="simulated kubelets' watch")
        await informer.synced.wait()

    def _pod_changed(self, old: "Object | None", new: "Object | None") -> None:
        if new is None or not new["spec"].get("nodeName"):
            return
        name = new["metadata"]["name"]
        if name not in self.progress.bound:
            self.progress.bound[name] = time.monotonic()
            self._bound.put_nowait(new)
            self.progress.changed.set()

    async def _kubelets(self, client: "HttpClient") -> None:
        """Says of each pod, once it is bound, that it runs."""

        async def work() -> None:
            while True:
                pod = await self._bound.get()
                await self._run(client, pod)
                self.progress.running += 1
                self.progress.changed.set()

        async with asyncio.TaskGroup() as group:
            for _ in range(STATUS_BATCH):
                group.create_task(work())

    async def _run(self, client: "HttpClient", pod: "Object") -> None:
        from wherry.schema.builtin import PODS
        from wherry.schema.errors import NotFound

        number = int(pod["metadata"]["name"].rpartition("-")[2])
        with suppress(NotFound):
            status = running_status(pod, number)
            await client.patch(PODS, pod["metadata"]["name"], {"status": status}, NAMESPACE, subresource="status")

    async def _wait(self, done: Callable[[], bool]) -> None:
        while not done():
            self.progress.changed.clear()
            await self.progress.changed.wait()

    # The end.

    async def _clean(self, client: "HttpClient") -> None:
        from wherry.schema.builtin import LEASES, NAMESPACES, NODES, PODS
        from wherry.schema.errors import NotFound

        async def remove(resource: "Resource", name: str, namespace: str | None) -> None:
            with suppress(NotFound):
                await client.delete(resource, name, namespace, grace_period_seconds=0)

        for resource, namespace in ((PODS, NAMESPACE), (NODES, None), (LEASES, "kube-node-lease")):
            listed = await client.list(resource, namespace, label_selector=f"{LABEL}=true")
            await in_parallel(remove(resource, one["metadata"]["name"], namespace) for one in listed.items)
        await remove(NAMESPACES, NAMESPACE, None)


async def created(client: "HttpClient", resource: "Resource", obj: "Object", namespace: str | None = None) -> None:
    """Create, or let be what is there from an earlier run."""
    from wherry.schema.errors import AlreadyExists

    with suppress(AlreadyExists):
        await client.create(resource, obj, namespace)


async def in_parallel(work: Iterable[Awaitable[None]]) -> None:
    """Run all, `IN_FLIGHT` at once; the first error ends it."""
    rest: Iterator[Awaitable[None]] = iter(work)

    async def take() -> None:
        for one in rest:
            await one

    async with asyncio.TaskGroup() as group:
        for _ in range(IN_FLIGHT):
            group.create_task(take())


def simulated_node(number: int, zones: int) -> "Object":
    """A Ready node of 32 cores and 128 GiB for 110 pods; zones in turn."""
    name = f"{PREFIX}{number:05d}"
    now = seconds_time()
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "Simulated",
        "message": "simulated node: runs no containers",
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    }
    room = {"cpu": "32", "memory": "128Gi", "pods": "110", "ephemeral-storage": "500Gi"}
    return {
        "metadata": {
            "name": name,
            "labels": {
                LABEL: "true",
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                "topology.kubernetes.io/zone": f"zone-{number % zones}",
            },
        },
        # A range of its own (RFC 6598's), so that it takes none of the cluster's few.
        "spec": {
            "podCIDR": pod_range(number),
            "podCIDRs": [pod_range(number)],
            "taints": [{"key": LABEL, "effect": "NoSchedule"}],
        },
        "status": {
            "capacity": room,
            "allocatable": room,
            "conditions": [ready],
            "addresses": [{"type": "Hostname", "address": name}],
            "nodeInfo": {"kubeletVersion": "simulated", "operatingSystem": "linux", "architecture": "amd64"},
        },
    }


def pod_range(number: int) -> str:
    first = (100 << 24) + (64 << 16) + number * 64
    return f"{first >> 24}.{first >> 16 & 255}.{first >> 8 & 255}.{first & 255}/26"


def simulated_pod(number: int, shape: str) -> "Object":
    """A pod that only simulated nodes may run. Those of a hundred in a row form one application."""
    labels = {LABEL: "true", "app": f"app-{number // 100}"}
    spec: dict[str, Any] = {
        "terminationGracePeriodSeconds": 0,
        "nodeSelector": {LABEL: "true"},
        "tolerations": [{"key": LABEL, "operator": "Exists"}],
        "containers": [
            {"name": "none", "image": "simulated", "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}}}
        ],
    }
    same = {"matchLabels": {"app": labels["app"]}}
    if shape == "spread":
        spec["topologySpreadConstraints"] = [
            {
                "maxSkew": 1,
                "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": same,
            }
        ]
    elif shape == "anti-affinity":
        term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": same}
        spec["affinity"] = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    return {"metadata": {"name": f"{PREFIX}{number}", "labels": labels}, "spec": spec}


def running_status(pod: "Object", number: int) -> dict[str, Any]:
    """What a kubelet would say once the pod's container runs; the address is of no network (RFC 2544's range)."""
    now = seconds_time()
    address = f"198.{18 + number // 65536 % 2}.{number // 256 % 256}.{number % 256}"
    conditions = [
        {"type": type, "status": "True", "lastTransitionTime": now}
        for type in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
    ]
    return {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": now,
        "conditions": conditions,
        "containerStatuses": [
            {
                "name": "none",
                "image": "simulated",
                "imageID": "",
                "ready": True,
                "started": True,
                "restartCount": 0,
                "state": {"running": {"startedAt": now}},
            }
        ],
    }


def best_rate(times: list[float], window: float) -> float:
    """The most per second over any `window` seconds; over all when that is shorter. `times` is sorted."""
    if len(times) < 2 or times[-1] - times[0] <= window:
        return len(times) / max(times[-1] - times[0], 1e-9) if times else 0.0
    best, first = 0, 0
    for last, moment in enumerate(times):
        while moment - times[first] > window:
            first += 1
        best = max(best, last - first + 1)
    return best / window


def seconds_time() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def micro_time(ahead: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime(time.time() + ahead))
