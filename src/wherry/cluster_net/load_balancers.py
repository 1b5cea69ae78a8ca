"""Addresses for Services of type LoadBalancer, without a cloud.

A Service gets one of the machine's own addresses where all its ports are free there: nobody listens on them, no
container has published them, no other Service has them, and Ingress does not want them. Where that cannot be, it gets
its own cluster address, as `minikube tunnel` gives it: that one answers on the machines of the cluster and in pods,
and an Event says why. With a pool given by the user, addresses come from the pool only, and a Service for which there
is none stays pending.

An address once given stays with its Service. The service proxy does the answering: it reads the status written here.
Specified in https://kubernetes.io/docs/concepts/services-networking/service/#loadbalancer.
"""

import asyncio
import ipaddress
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wherry.client.api import Client, PatchType
from wherry.client.events import NORMAL, WARNING, EventRecorder
from wherry.client.informer import Informer
from wherry.client.leases import LeaderElector
from wherry.cluster_net.settings import NetSettings
from wherry.cluster_net.settings import addresses as pool_addresses
from wherry.engine.networks.ports import PortAllocator, PortInUse, PortMapping
from wherry.host.instance import Instance
from wherry.host.netlink import Netlink, add_address, delete_address
from wherry.schema.builtin import NODES, SERVICES
from wherry.schema.errors import ApiError
from wherry.schema.resource import Object

log = logging.getLogger(__name__)

Key = tuple[str, str]
"""(namespace, name) of a Service."""
Port = tuple[str, int]
"""(`tcp`, `udp` or `sctp`, number)."""

_RETRY_SECONDS = 5.0
_TRY_AGAIN_SECONDS = 15.0
"""How often a Service that got no machine address, or none at all, is looked at again: ports become free unheard."""


@dataclass(frozen=True)
class Assignment:
    """`address` is "" while there is none. `why` says what was in the way of a better one."""

    address: str
    why: str = ""


@dataclass
class Holdings:
    """Who has which port of which address."""

    machine: Sequence[str]
    pool: Sequence[str]
    reserved: frozenset[Port]
    """Ports of the machine's addresses that Ingress keeps."""
    taken: dict[tuple[str, Port], Key] = field(default_factory=dict)

    def in_the_way(self, address: str, port: Port, service: Key) -> str:
        """What keeps `service` from this port, "" for nothing that is known here."""
        owner = self.taken.get((address, port))
        if owner is not None and owner != service:
            return f"port {port[1]}/{port[0].upper()} of {address} belongs to service {'/'.join(owner)}"
        if port in self.reserved and address in self.machine:
            return f"port {port[1]}/{port[0].upper()} of {address} is kept for Ingress"
        return ""

    def try_hold(self, address: str, port: Port) -> str:
        """Ask the machine for it: "", or what is in the way."""
        return ""

    def take(self, address: str, ports: Iterable[Port], service: Key) -> str:
        """Take all `ports` or none; returns what was in the way."""
        ports = list(ports)
        for port in ports:
            if problem := self.in_the_way(address, port, service) or self.try_hold(address, port):
                for other in ports:
                    if self.taken.get((address, other)) == service:
                        self.drop(address, other)
                return problem
            self.taken[address, port] = service
        return ""

    def drop(self, address: str, port: Port) -> None:
        self.taken.pop((address, port), None)


class MachineHoldings(Holdings):
    """Holds a port of the machine by a socket, so that nobody else can listen there, and no container publish it."""

    def __init__(self, machine: Sequence[str], pool: Sequence[str], reserved: frozenset[Port]) -> None:
        super().__init__(machine, pool, reserved)
        self._sockets = PortAllocator()
        self._held: set[tuple[str, Port]] = set()

    def try_hold(self, address: str, port: Port) -> str:
        if address not in self.machine or (address, port) in self._held or port[0] == "sctp":
            # A port of SCTP is held by no socket: programs that would want it are rare, and translation comes first.
            return ""
        try:
            self._sockets.hold(PortMapping(port[0], port[1], address, port[1]))
        except PortInUse:
            return f"port {port[1]}/{port[0].upper()} of {address} is in use on this machine"
        self._held.add((address, port))
        return ""

    def drop(self, address: str, port: Port) -> None:
        super().drop(address, port)
        if (address, port) in self._held:
            self._held.discard((address, port))
            self._sockets.release(PortMapping(port[0], port[1], address, port[1]))

    def close(self) -> None:
        self._sockets.close()
        self._held.clear()


def ports_of(service: Object) -> list[Port]:
    return [((port.get("protocol") or "TCP").lower(), port["port"]) for port in service["spec"].get("ports") or ()]


def current_addresses(service: Object) -> list[str]:
    entries = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    return [entry["ip"] for entry in entries if entry.get("ip")]


def wants_address(service: Object) -> bool:
    """Ours to serve: of type LoadBalancer, and no other implementation is asked for by class."""
    spec = service["spec"]
    deleted = service["metadata"].get("deletionTimestamp")
    return spec.get("type") == "LoadBalancer" and not spec.get("loadBalancerClass") and not deleted


def assign(services: Iterable[Object], holdings: Holdings) -> dict[Key, Assignment]:
    """An address for each Service that wants one. Those that have one come first, then the oldest."""
    found: dict[Key, Assignment] = {}
    for service in sorted(services, key=lambda one: (not current_addresses(one), _age(one))):
        found[_key(service)] = _assign_one(service, holdings)
    return found


def _assign_one(service: Object, holdings: Holdings) -> Assignment:
    key, ports, spec = _key(service), ports_of(service), service["spec"]
    cluster_ip = str(spec.get("clusterIP") or "")
    wanted = str(spec.get("loadBalancerIP") or "")
    candidates = list(holdings.pool or holdings.machine)
    if wanted:
        if wanted == cluster_ip:
            return Assignment(cluster_ip)
        if wanted not in candidates:
            return Assignment("", f'"{wanted}" is not an address of {"the pool" if holdings.pool else "this machine"}')
        problem = holdings.take(wanted, ports, key)
        return Assignment("" if problem else wanted, problem)
    has = [address for address in current_addresses(service) if address in candidates]
    # Of a pool, an address of one's own before one that is shared with another Service.
    shared = {address for address, _ in holdings.taken} if holdings.pool else set()
    problems = []
    for address in [*has, *sorted((one for one in candidates if one not in has), key=lambda one: one in shared)]:
        problem = holdings.take(address, ports, key)
        if not problem:
            return Assignment(address)
        problems.append(problem)
    if holdings.pool:
        return Assignment("", f"no address of the pool is free: {problems[-1]}")
    return Assignment(cluster_ip, problems[-1] if problems else "this machine has no address of its own")


def _key(service: Object) -> Key:
    return service["metadata"]["namespace"], service["metadata"]["name"]


def _age(service: Object) -> tuple[str, str, str]:
    return service["metadata"].get("creationTimestamp") or "", *_key(service)


class LoadBalancers:
    """One node's. `run` works until it is cancelled."""

    def __init__(
        self,
        client: Client,
        instance: Instance,
        node_name: str,
        *,
        addresses: Sequence[str],
        bridge: str,
        settings: NetSettings | None = None,
        services: Informer | None = None,
    ) -> None:
        """`addresses` are this node's own. Addresses of a pool are put on `bridge`, from where the kernel answers for
        them. `services` may be a shared informer that somebody else runs."""
        settings = settings if settings is not None else NetSettings()
        self._client = client
        self._node = node_name
        self._bridge = bridge
        self._machine = list(addresses)
        self._pool = list(pool_addresses(settings.pool))
        ingress = settings.ingress
        kept = (ingress.http_port, ingress.https_port) if ingress.enabled else ()
        self._holdings = MachineHoldings(self._machine, self._pool, frozenset(("tcp", port) for port in kept))
        self.services = services if services is not None else Informer(client, SERVICES)
        self._run_informer = services is None
        self._events = EventRecorder(client, "service-controller")
        self._said: dict[Key, Assignment] = {}
        self._given: set[Key] = set()
        self._wake = asyncio.Event()

    async def run(self) -> None:
        self.services.add_handler(self._on_service)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._events.run(), name="load balancer events")
            if self._run_informer:
                group.create_task(self.services.run(), name="services informer")
            await self.services.synced.wait()
            self._wake.set()
            try:
                if self._pool:
                    # An address is answered for by one node.
                    elector = LeaderElector(self._client, "wherry-load-balancer", self._node)
                    while True:
                        await elector.run(self._work)
                else:
                    await self._work()
            finally:
                self._holdings.close()

    def _on_service(self, old: Object | None, new: Object | None) -> None:
        service = new or old
        if service is not None and (service["spec"].get("type") == "LoadBalancer" or _key(service) in self._given):
            self._wake.set()

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            delay = 0.0
            try:
                if await self._sync():
                    delay = _TRY_AGAIN_SECONDS
            except (ApiError, OSError) as error:
                log.warning("load balancer addresses: %s; again in %.0f s", error, _RETRY_SECONDS)
                delay = _RETRY_SECONDS
            if delay:
                asyncio.get_running_loop().call_later(delay, self._wake.set)

    async def _sync(self) -> bool:
        """True when a Service might get a better address later."""
        services = [service for service in self.services if wants_address(service)]
        keys = {_key(service): service for service in services}
        wanted_ports = {key: set(ports_of(service)) for key, service in keys.items()}
        for (address, port), owner in list(self._holdings.taken.items()):
            if port not in wanted_ports.get(owner, ()):
                self._holdings.drop(address, port)
        assignments = assign(services, self._holdings)
        for (address, port), owner in list(self._holdings.taken.items()):
            if assignments[owner].address != address:
                self._holdings.drop(address, port)
        if self._pool:
            await asyncio.to_thread(self._announce, {one.address for one in assignments.values()} & set(self._pool))
        others: set[str] | None = None
        for key, assignment in assignments.items():
            service = keys[key]
            before = current_addresses(service)
            if not self._pool and others is None and set(before) - {assignment.address}:
                others = await self._other_addresses()
            wanted = [address for address in before if address in (others or ())]
            if assignment.address and not (wanted and assignment.address == service["spec"].get("clusterIP")):
                wanted.append(assignment.address)
            if wanted != before:
                await self._write(service, wanted)
            self._say(service, assignment)
        for service in list(self.services):
            foreign = service["spec"].get("loadBalancerClass") or wants_address(service)
            if not foreign and current_addresses(service):
                await self._write(service, [])
        for key in self._said.keys() - keys.keys():
            del self._said[key]
        self._given = set(keys)
        return any(assignment.why for assignment in assignments.values())

    def _announce(self, wanted: set[str]) -> None:
        """Put the pool's addresses that are in use on the bridge, and take the others off it. Blocks."""
        with Netlink() as netlink:
            index = netlink.index(self._bridge)
            on_bridge = [own for link, own in netlink.addresses() if link == index]
            present = {str(own.ip) for own in on_bridge if own.network.prefixlen == 32}
            add = wanted - present
            remove = (present & set(self._pool)) - wanted
            netlink.batch(
                [
                    *(add_address(index, ipaddress.ip_interface(f"{address}/32")) for address in sorted(add)),
                    *(delete_address(index, ipaddress.ip_interface(f"{address}/32")) for address in sorted(remove)),
                ]
            )

    async def _other_addresses(self) -> set[str]:
        """Addresses of the other nodes: their entries in a status are theirs."""
        return {
            entry["address"]
            for node in (await self._client.list(NODES)).items
            for entry in (node.get("status") or {}).get("addresses") or ()
            if entry["type"] == "InternalIP" and entry["address"] not in self._machine
        }

    async def _write(self, service: Object, addresses: Sequence[str]) -> None:
        namespace, name = _key(service)
        entries: list[Mapping[str, Any]] = [{"ip": address, "ipMode": "VIP"} for address in addresses]
        patch = {"status": {"loadBalancer": {"ingress": entries or None}}}
        try:
            written = await self._client.patch(
                SERVICES, name, patch, namespace, type=PatchType.MERGE, subresource="status"
            )
        except ApiError as error:
            if error.code != 404:
                raise
            return
        self.services.record_write(written)

    def _say(self, service: Object, assignment: Assignment) -> None:
        key = _key(service)
        if self._said.get(key) == assignment:
            return
        first = key not in self._said
        self._said[key] = assignment
        if not assignment.address:
            message = f'Failed to allocate IP for "{key[0]}/{key[1]}": {assignment.why}'
            self._events.record(service, WARNING, "AllocationFailed", message)
        elif assignment.why:
            message = f"{assignment.why}: {assignment.address} answers on the cluster's machines and in pods only"
            self._events.record(service, WARNING, "MachinePortTaken", message)
        elif not first or assignment.address not in current_addresses(service):
            self._events.record(service, NORMAL, "IPAllocated", f'Assigned IP ["{assignment.address}"]')
