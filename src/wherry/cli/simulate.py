"""`wherry simulate`: thousands of nodes without containers; everything else is real.

Each simulated node registers, renews its lease and answers for its pods (they "run" as soon as they are bound), all
over the real API server, scheduler and controllers of a running instance. The nodes say what they are: their names
begin with `simulated-`, they carry the label wherry.io/simulated=true, and a taint keeps everybody else's pods away.

What is measured: the nodes are registered closed (a second taint), the pods are created and found to be unschedulable,
then all nodes are opened at once. From there on it is counted how fast the pods are bound. Simulated kubelets say of
each pod at once that it runs, over the same API.
"""

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from wherry.cli.process import innermost
from wherry.cli.simulated import (
    HIGH,
    LABEL,
    LOW,
    NAMESPACE,
    PER_NODE,
    TAINTS,
    micro_time,
    node_name,
    running_status,
    simulated_node,
    simulated_pod,
)
from wherry.cli.state import no_cluster
from wherry.host.instance import Instance

if TYPE_CHECKING:
    from wherry.client.http import HttpClient
    from wherry.schema.resource import Object, Resource

IN_FLIGHT = 32
"""Requests under way at once: more only wait inside the server."""
LEASE_AHEAD = 3600.0
"""Leases are written as of the end of the next hour, so that thousands of renewals do not disturb what is measured."""
STATUS_BATCH = 32


@dataclass
class Progress:
    """What the watch has shown so far. Times are of time.monotonic()."""

    bound: dict[str, float] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    gone: int = 0
    running: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)


@click.command()
@click.option("--nodes", type=click.IntRange(1, 20_000), required=True, help="How many nodes to simulate.")
@click.option("--pods", type=click.IntRange(0), default=0, help="How many pods to create and measure.")
@click.option(
    "--shape",
    type=click.Choice(["plain", "spread", "anti-affinity", "preemption"]),
    default="plain",
    help="What the pods ask for beside cpu and memory; preemption: room on nodes that are full of less important ones.",
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
    if refusal := no_cluster(instance):
        raise click.ClickException(refusal)
    from wherry.schema.errors import ApiError

    simulation = Simulation(instance, nodes, pods, shape, zones)
    say: Callable[[str], None] = (lambda text: None) if as_json else click.echo
    try:
        found = asyncio.run(simulation.run(timeout, keep, say))
    except (ApiError, TimeoutError, KeyboardInterrupt, BaseExceptionGroup) as error:
        raise _told(innermost(error), simulation, timeout) from None
    if as_json:
        click.echo(json.dumps(found, indent=2))


def _told(error: BaseException, simulation: "Simulation", timeout: float) -> BaseException:
    """What to tell people of an error; what is nobody's fault but ours stays as it is."""
    from wherry.schema.errors import ApiError

    if isinstance(error, TimeoutError):
        return click.ClickException(f"not finished within {timeout:.0f} s: {simulation.state()}")
    if isinstance(error, ApiError):
        return click.ClickException(str(error))
    return click.Abort() if isinstance(error, KeyboardInterrupt) else error


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
            await self._open_nodes(client)
            return found
        await self._make_namespace(client)
        kubelets = asyncio.create_task(self._kubelets(client))
        try:
            await self._follow_started(client)
            if self.shape == "preemption":
                await self._make_classes(client)
                found["filling"] = await self._closed_then_bound(client, "low", self.nodes * PER_NODE, say)
                return found | await self._preempt(client, say)
            return found | await self._closed_then_bound(client, self.shape, self.pods, say)
        finally:
            kubelets.cancel()
            self._watch.cancel()
            await asyncio.gather(kubelets, self._watch, return_exceptions=True)

    async def _closed_then_bound(
        self, client: "HttpClient", shape: str, pods: int, say: Callable[[str], None]
    ) -> dict[str, Any]:
        """Pods wait while the nodes are closed; how fast they are bound once the nodes are open."""
        seen = self.progress
        creating = await self._create_pods(client, shape, pods)
        say(f"{pods} pods created in {creating:.1f} s ({pods / creating:.0f}/s)")
        await self._wait(lambda: len(seen.refused) >= pods)
        say("All are pending. Opening the nodes …")
        begin, used = time.monotonic(), server_seconds(self.instance)
        await self._open_nodes(client)
        opened = time.monotonic()
        early = len(seen.bound)
        await self._wait(lambda: len(seen.bound) >= pods)
        times = sorted(seen.bound.values())
        whole = times[-1] - begin
        await self._wait(lambda: seen.running >= pods)
        running = time.monotonic() - begin
        used = server_seconds(self.instance) - used
        say(
            f"nodes opened in {opened - begin:.1f} s, all pods bound after {whole:.1f} s ({pods / whole:.0f}/s), "
            f"running after {running:.1f} s; {used * 1000 / pods:.2f} ms of the server's processor time per pod"
        )
        found = {
            "pods": pods,
            "shape": shape,
            "created_per_second": round(pods / creating, 1),
            "bound_per_second": round(pods / whole, 1),
            "bound_per_second_best_10_s": round(best_rate(times, 10.0), 1),
            "running_per_second": round(pods / running, 1),
            "server_cpu_ms_per_pod": round(used * 1000 / pods, 3),
            "seconds_to_open": round(opened - begin, 2),
            "seconds_to_all_bound": round(whole, 2),
        }
        if early < pods:
            found["bound_per_second_once_open"] = round((pods - early) / (times[-1] - opened), 1)
        return found

    async def _preempt(self, client: "HttpClient", say: Callable[[str], None]) -> dict[str, Any]:
        """Each pod takes the place of three less important ones of a full cluster."""
        seen = self.progress
        full = len(seen.bound)
        begin = time.monotonic()
        creating = await self._create_pods(client, "high", self.pods)
        say(f"{self.pods} important pods created in {creating:.1f} s ({self.pods / creating:.0f}/s)")
        await self._wait(lambda: len(seen.bound) >= full + self.pods)
        whole = max(seen.bound.values()) - begin
        say(f"all bound after {whole:.1f} s ({self.pods / whole:.0f}/s); {seen.gone} pods preempted")
        return {
            "pods": self.pods,
            "shape": self.shape,
            "bound_per_second": round(self.pods / whole, 1),
            "preempted": seen.gone,
            "preempted_per_second": round(seen.gone / whole, 1),
            "seconds_to_all_bound": round(whole, 2),
        }

    # Nodes.

    async def _register(self, client: "HttpClient", number: int) -> None:
        from wherry.schema.builtin import LEASES, NODES

        node = simulated_node(number, self.zones, 4 if self.shape == "preemption" else 32)
        name = node["metadata"]["name"]
        await created(client, NODES, node)
        # The status is a subresource: what creation carried of it was dropped.
        await client.patch(NODES, name, {"status": node["status"]}, subresource="status")
        lease = {
            "metadata": {"name": name, "namespace": "kube-node-lease", "labels": {LABEL: "true"}},
            "spec": {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": micro_time(LEASE_AHEAD)},
        }
        await created(client, LEASES, lease, "kube-node-lease")

    async def _open_nodes(self, client: "HttpClient") -> None:
        from wherry.schema.builtin import NODES

        patch = {"spec": {"taints": TAINTS}}
        await in_parallel(client.patch(NODES, node_name(number), patch) for number in range(self.nodes))

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

    async def _make_classes(self, client: "HttpClient") -> None:
        from wherry.schema.builtin import PRIORITY_CLASSES

        for name, value in ((LOW, -10), (HIGH, 10)):
            await created(client, PRIORITY_CLASSES, {"metadata": {"name": name}, "value": value})

    async def _create_pods(self, client: "HttpClient", shape: str, pods: int) -> float:
        """Returns the seconds it took."""
        from wherry.schema.builtin import PODS

        begin = time.monotonic()
        await in_parallel(client.create(PODS, simulated_pod(number, shape), NAMESPACE) for number in range(pods))
        return time.monotonic() - begin

    async def _follow_started(self, client: "HttpClient") -> None:
        from wherry.client.informer import Informer
        from wherry.schema.builtin import PODS

        informer = Informer(client, PODS, namespace=NAMESPACE)
        informer.add_handler(self._pod_changed)
        self._watch = asyncio.create_task(informer.run(), name="simulated kubelets' watch")
        await informer.synced.wait()

    def _pod_changed(self, old: "Object | None", new: "Object | None") -> None:
        if new is None:
            self.progress.gone += 1
            return
        name = new["metadata"]["name"]
        if not new["spec"].get("nodeName"):
            if (new.get("status") or {}).get("conditions"):
                self.progress.refused.add(name)
                self.progress.changed.set()
            return
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
        from wherry.schema.builtin import LEASES, NAMESPACES, NODES, PODS, PRIORITY_CLASSES
        from wherry.schema.errors import NotFound

        async def remove(resource: "Resource", name: str, namespace: str | None) -> None:
            with suppress(NotFound):
                await client.delete(resource, name, namespace, grace_period_seconds=0)

        for resource, namespace in ((PODS, NAMESPACE), (NODES, None), (LEASES, "kube-node-lease")):
            listed = await client.list(resource, namespace, label_selector=f"{LABEL}=true")
            await in_parallel(remove(resource, one["metadata"]["name"], namespace) for one in listed.items)
        await remove(NAMESPACES, NAMESPACE, None)
        with suppress(NotFound):
            while True:
                await client.get(NAMESPACES, NAMESPACE)
                await asyncio.sleep(0.1)
        for name in (LOW, HIGH):
            await remove(PRIORITY_CLASSES, name, None)


async def created(client: "HttpClient", resource: "Resource", obj: "Object", namespace: str | None = None) -> None:
    """Create, or let be what is there from an earlier run."""
    from wherry.schema.errors import AlreadyExists

    with suppress(AlreadyExists):
        await client.create(resource, obj, namespace)


async def in_parallel(work: Iterable[Awaitable[object]]) -> None:
    """Run all, `IN_FLIGHT` at once; the first error ends it."""
    rest: Iterator[Awaitable[object]] = iter(work)

    async def take() -> None:
        for one in rest:
            await one

    async with asyncio.TaskGroup() as group:
        for _ in range(IN_FLIGHT):
            group.create_task(take())


def server_seconds(instance: Instance) -> float:
    """Processor time of the instance's API server, scheduler and controllers so far; 0 when it runs elsewhere."""
    from wherry.cli.state import read_state

    for process in read_state(instance).processes:
        if process.name == "wherry-server":
            with open(f"/proc/{process.pid}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


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
