"""`Networks`: what the engine calls. Definitions, sandboxes, names, ports and the firewall, held together.

State: definitions in the database, sandboxes in files below `run` (see `sandboxes.py`), the rest in the kernel. Every
change is made in the kernel, then recorded; `open` puts right what a killed process left half done.
"""

import asyncio
import contextlib
import datetime
import hashlib
import ipaddress
import logging
import os
import secrets
import socket
import sqlite3
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, TypeAlias

from wherry.engine.errors import Conflict, EngineError, Forbidden, InvalidParameter, NotFound
from wherry.engine.events import Events
from wherry.engine.filters import Filters, filters_from
from wherry.engine.networks import bridges, firewall, names, sandboxes
from wherry.engine.networks.definitions import PREDEFINED, Network, parse_create
from wherry.engine.networks.dns_server import DnsServer
from wherry.engine.networks.files import (
    container_resolv_conf,
    hosts_text,
    parse_extra_hosts,
    read_host_resolv_conf,
)
from wherry.engine.networks.ipam import DEFAULT_POOLS, Pool, Subnet, choose_subnet, overlapping, unique_local_pool
from wherry.engine.networks.ports import PortAllocator, PortInUse, PortMapping, port_requests
from wherry.engine.networks.relay import RELAYS, Relay
from wherry.engine.networks.sandboxes import DEFAULT_SYSCTLS, Endpoint, Sandbox
from wherry.engine.networks.settings import empty_settings, endpoint_settings, sandbox_settings
from wherry.engine.networks.types import ContainerRecords, NetworkRequest, NetworkSandbox
from wherry.host.database import Database
from wherry.host.instance import Instance
from wherry.host.namespaces import Namespace, NetnsPool, is_pinned, remove, run_inside
from wherry.host.netlink import IPNetwork, Netlink, set_bridge_port
from wherry.host.nftables import Nftables

log = logging.getLogger(__name__)

# The class has a method named `list`, which hides the type's name in its annotations.
Wanted: TypeAlias = list[tuple[Network, dict[str, Any]]]
HostLines: TypeAlias = list[tuple[str, str]]
Published: TypeAlias = list[firewall.PublishedPort]
Listing: TypeAlias = list[dict[str, Any]]
Texts: TypeAlias = list[str]

_SCHEMA = "CREATE TABLE IF NOT EXISTS networks (id TEXT PRIMARY KEY, name TEXT NOT NULL, definition TEXT NOT NULL)"
_PIN = "c-"
_REAP_AFTER = 1.0
"""Seconds the kernel gets to take links down together with their namespace before we delete them ourselves."""
_LIST_FILTERS = frozenset({"dangling", "driver", "id", "label", "name", "scope", "type"})


class Networks:
    """All networks of one engine. Made by `open`; methods belong to the event loop's thread."""

    containers: ContainerRecords
    """Set by the engine; needed by `connect` and `disconnect` only."""

    def __init__(self, instance: Instance, db: Database, events: Events | None, pools: tuple[Pool, ...]) -> None:
        self._instance, self._db, self._events, self._pools = instance, db, events, pools
        self._pool6 = unique_local_pool(hashlib.sha256(instance.id.encode()).digest())
        self._alias = f"wherry {instance.id}"
        self._directory = instance.run / "networks"
        self._netlink = Netlink()
        self._nft = Nftables()
        self._ports = PortAllocator()
        self._warm = NetnsPool(instance.netns_dir, _PIN, sysctls=DEFAULT_SYSCTLS)
        self._networks: dict[str, Network] = {}
        self._ipam: dict[str, list[Subnet]] = {}
        self._bridges: dict[str, tuple[int, int]] = {}
        self._sandboxes: dict[str, Sandbox] = {}
        self._table = names.NameTable()
        self._named: dict[str, names.NamedEndpoint] = {}
        self._resolvers: dict[str, DnsServer] = {}
        self._relays: dict[str, list[Relay]] = {}
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}
        self._changing = asyncio.Lock()
        self._doomed: set[str] = set()
        self._reaper: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        instance: Instance,
        db: Database,
        events: Events | None = None,
        *,
        pools: tuple[Pool, ...] = DEFAULT_POOLS,
    ) -> "Networks":
        """Bring the kernel to what is recorded: bridges, firewall, and the sandboxes of running containers.

        Call `adopt` next with the containers that still run.
        """
        self = cls(instance, db, events, pools)
        await db.ensure(_SCHEMA)
        stored = await db.read(lambda connection: connection.execute("SELECT definition FROM networks").fetchall())
        for (definition,) in stored:
            network = Network.from_json(definition)
            self._networks[network.id] = network
        added = await asyncio.to_thread(self._prepare)
        if added:
            await db.run(lambda connection: _store(connection, added))
        for sandbox in self._sandboxes.values():
            await self._resume(sandbox)
        self._warm.start()
        return self

    def _prepare(self) -> list[Network]:
        """Blocking half of `open`. Returns the definitions that are new or changed."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._instance.netns_dir.mkdir(parents=True, exist_ok=True, mode=0o755)
        bridges.enable_forwarding(any(network.ipv6 for network in self._networks.values()))
        changed = []
        for name, driver in (("host", "host"), ("none", "null")):
            if self._by_name(name) is None:
                changed.append(Network(id=secrets.token_hex(32), name=name, driver=driver, created=_now()))
        with bridges.pools_locked():
            default = self._default_bridge()
            if default not in self._networks.values():
                changed.append(default)
            self._networks |= {network.id: network for network in changed}
            self._load_sandboxes()
            for network in self._networks.values():
                if network.driver == "bridge":
                    self._raise_bridge(network)
        self._sweep()
        rules = [self._networks[network_id].rules() for network_id in self._bridges]
        ports = [port for sandbox in self._sandboxes.values() for port in sandbox.published()]
        self._nft.run(firewall.whole_table(self._instance.nft_table, rules, ports))
        return changed

    def _default_bridge(self) -> Network:
        """The stored default network, with another subnet when that one is now used by something else."""
        stored = self._by_name("bridge")
        bridge = self._instance.link_name("b", "0")
        used = self._used_elsewhere([bridge])
        if stored is not None:
            subnet = ipaddress.ip_network(stored.subnets[0]["Subnet"])
            if self._netlink.link(bridge) is not None or overlapping(subnet, used) is None:
                return stored
            log.warning("subnet %s of the default network is in use by another interface: choosing another", subnet)
        for network in self._networks.values():
            if not network.is_default:
                used += [ipaddress.ip_network(entry["Subnet"]) for entry in network.subnets]
        chosen = choose_subnet(self._pools, used)
        return Network(
            id=stored.id if stored else secrets.token_hex(32),
            name="bridge",
            driver="bridge",
            created=stored.created if stored else _now(),
            bridge=bridge,
            subnets=({"Subnet": str(chosen), "Gateway": str(chosen[1])},),
            options={
                "com.docker.network.bridge.default_bridge": "true",
                "com.docker.network.bridge.enable_icc": "true",
                "com.docker.network.bridge.enable_ip_masquerade": "true",
                "com.docker.network.bridge.host_binding_ipv4": "0.0.0.0",
                "com.docker.network.bridge.name": bridge,
                "com.docker.network.driver.mtu": str(bridges.way_out_mtu(self._netlink)),
            },
        )

    def _used_elsewhere(self, but_links: Iterable[str] = ()) -> list[IPNetwork]:
        return bridges.networks_in_use(self._netlink, read_host_resolv_conf().nameservers, but_links)

    def _raise_bridge(self, network: Network) -> None:
        try:
            index = bridges.ensure_bridge(self._netlink, network, self._alias)
        except (OSError, Conflict) as error:
            # The other networks must come up all the same; starting a container on this one says what is wrong.
            log.error("network %s has no bridge: %s", network.name, error)
            return
        link = self._netlink.link(network.bridge)
        self._bridges[network.id] = (index, link.mtu if link else 1500)
        self._ipam[network.id] = network.ipam()

    def _load_sandboxes(self) -> None:
        for path in self._directory.glob("*.json"):
            try:
                sandbox = Sandbox.load(path)
            except (OSError, ValueError) as error:
                log.warning("ignoring a damaged sandbox record: %s", error)
                path.unlink(missing_ok=True)
                continue
            if is_pinned(sandbox.netns):
                self._sandboxes[sandbox.id] = sandbox
            else:
                path.unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Remove what carries this instance's name and belongs to nothing: a killed process was at it."""
        pins = {sandbox.netns for sandbox in self._sandboxes.values()}
        for path in self._instance.netns_dir.glob(f"{_PIN}*"):
            if path not in pins:
                remove(path)
        known = {endpoint.link for sandbox in self._sandboxes.values() for endpoint in sandbox.endpoints}
        known |= {network.bridge for network in self._networks.values()}
        prefixes = (self._instance.link_name("v", ""), self._instance.link_name("b", ""))
        stray = [
            link.name
            for link in self._netlink.links()
            if link.name not in known and (link.name.startswith(prefixes) or link.alias == self._alias)
        ]
        sandboxes.unplug(self._netlink, stray)

    async def _resume(self, sandbox: Sandbox) -> None:
        """Serve an adopted sandbox again: its addresses, names, ports and resolver."""
        for endpoint in sandbox.endpoints:
            self._claim(endpoint)
            self._publish_names(sandbox, endpoint)
        for mapping in sandbox.ports:
            try:
                held = self._ports.hold(mapping)
            except PortInUse as error:
                log.warning("container %s: %s; its traffic goes on", sandbox.request.name, error.message)
            else:
                self._relay(sandbox, mapping, held)
        if sandbox.resolver:
            try:
                await self._start_resolver(sandbox)
            except OSError as error:
                log.warning("container %s: no name resolution: %s", sandbox.request.name, error)

    async def adopt(self, running: Iterable[str]) -> None:
        """Take down the sandboxes of all containers but these, which have ended while nobody looked."""
        alive = set(running)
        for container_id in [known for known in self._sandboxes if known not in alive]:
            await self.detach(container_id)

    async def close(self) -> None:
        """Stop serving (resolvers, relays, port sockets). Kernel state stays: containers keep running."""
        for resolver in self._resolvers.values():
            resolver.close()
        for relays in self._relays.values():
            for relay in relays:
                relay.close()
        if self._reaper is not None:
            self._reaper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reaper
        await self._warm.close()
        await asyncio.to_thread(sandboxes.unplug, self._netlink, list(self._doomed))
        self._ports.close()
        self._netlink.close()
        self._nft.close()

    async def purge(self) -> None:
        """Remove every bridge, namespace and rule of this instance, and close. For when no container runs."""
        for container_id in list(self._sandboxes):
            await self.detach(container_id)

        def remove_all() -> None:
            for network_id in self._bridges:
                bridges.remove_bridge(self._netlink, self._networks[network_id].bridge, self._alias)
            self._nft.delete_table(self._instance.nft_table)

        await asyncio.to_thread(remove_all)
        await self.close()

    # Definitions

    def _by_name(self, name: str) -> Network | None:
        return next((network for network in self._networks.values() if network.name == name), None)

    def resolve(self, ref: str) -> Network:
        """By id, name, or unique id prefix. Raises NotFound, InvalidParameter (ambiguous)."""
        if ref == "default":
            ref = "bridge"
        if (found := self._networks.get(ref)) is not None or (found := self._by_name(ref)) is not None:
            return found
        matches = [network for network in self._networks.values() if ref and network.id.startswith(ref)]
        if len(matches) > 1:
            raise InvalidParameter(f"network {ref} is ambiguous ({len(matches)} matches found based on ID prefix)")
        if not matches:
            raise NotFound(f"network {ref} not found")
        return matches[0]

    async def create(self, body: dict[str, Any]) -> dict[str, str]:
        """`POST /networks/create`. Raises Conflict (name taken) and what `definitions.parse_create` raises."""
        async with self._changing:
            if isinstance(name := body.get("Name"), str) and self._by_name(name) is not None and name not in PREDEFINED:
                raise Conflict(f"network with name {name} already exists")
            network_id = secrets.token_hex(32)
            network = await asyncio.to_thread(self._make, network_id, body)
            try:
                await self._db.run(lambda connection: _store(connection, [network]))
            except BaseException:
                await asyncio.to_thread(self._unmake, network)
                raise
            self._networks[network.id] = network
        self._emit("create", network)
        return {"Id": network.id, "Warning": ""}

    def _make(self, network_id: str, body: dict[str, Any]) -> Network:
        with bridges.pools_locked():
            network = parse_create(
                body,
                id=network_id,
                created=_now(),
                bridge=self._instance.link_name("b", network_id[:8]),
                used=self._used_elsewhere() + self._own_subnets(),
                pools=self._pools,
                pool6=self._pool6,
            )
            if network.ipv6:
                bridges.enable_forwarding(ipv6=True)
            index = bridges.ensure_bridge(self._netlink, network, self._alias)
        try:
            self._nft.run(firewall.network_elements("add", self._instance.nft_table, network.rules()))
        except RuntimeError:
            bridges.remove_bridge(self._netlink, network.bridge, self._alias)
            raise
        link = self._netlink.link(network.bridge)
        self._ipam[network.id] = network.ipam()
        self._bridges[network.id] = (index, link.mtu if link else 1500)
        return network

    def _own_subnets(self) -> list[IPNetwork]:
        return [ipaddress.ip_network(entry["Subnet"]) for net in self._networks.values() for entry in net.subnets]

    def _unmake(self, network: Network) -> None:
        self._bridges.pop(network.id, None)
        self._ipam.pop(network.id, None)
        self._nft.run(firewall.network_elements("delete", self._instance.nft_table, network.rules()))
        bridges.remove_bridge(self._netlink, network.bridge, self._alias)

    async def remove(self, ref: str) -> None:
        """Raises NotFound, Forbidden (predefined, or in use)."""
        async with self._changing:
            network = self.resolve(ref)
            if network.name in PREDEFINED:
                raise Forbidden(f"{network.name} is a pre-defined network and cannot be removed")
            users = [(sandbox, e) for sandbox in self._sandboxes.values() if (e := sandbox.endpoint(network.id))]
            if users:
                shown = ", ".join(f'name:"{box.request.name.lstrip("/")}" id:"{e.id[:12]}"' for box, e in users)
                raise Forbidden(f"error while removing network: network {network.name} has active endpoints ({shown})")
            await self._db.run(
                lambda connection: connection.execute("DELETE FROM networks WHERE id = ?", (network.id,))
            )
            del self._networks[network.id]
            if network.id in self._bridges:
                await asyncio.to_thread(self._unmake, network)
        self._emit("destroy", network)

    async def prune(self, filters: Mapping[str, Any] | None = None) -> dict[str, list[str]]:
        """`POST /networks/prune`: filters `until`, `label`, `label!`."""
        wanted = filters_from(filters)
        wanted.validate(("until", "label", "label!"))
        before = _until(wanted)
        deleted = []
        for network in list(self._networks.values()):
            if network.name in PREDEFINED or not wanted.prune_labels(network.labels):
                continue
            if before is not None and datetime.datetime.fromisoformat(network.created.replace("Z", "+00:00")) >= before:
                continue
            with contextlib.suppress(Forbidden, NotFound):
                await self.remove(network.id)
                deleted.append(network.name)
        if self._events is not None:
            self._events.emit("network", "prune", "", {"reclaimed": "0"})
        return {"NetworksDeleted": deleted}

    def inspect(self, ref: str, verbose: bool = False) -> dict[str, Any]:
        """`GET /networks/{id}`. `verbose` adds nothing outside Swarm."""
        network = self.resolve(ref)
        shown = network.shown()
        for sandbox in self._sandboxes.values():
            for endpoint in sandbox.endpoints:
                if endpoint.network_id == network.id:
                    shown["Containers"][sandbox.id] = {
                        "Name": sandbox.request.name.lstrip("/"),
                        "EndpointID": endpoint.id,
                        "MacAddress": endpoint.mac,
                        "IPv4Address": endpoint.address,
                        "IPv6Address": endpoint.address6,
                    }
        return shown

    def list(self, filters: Mapping[str, Any] | None = None) -> Listing:
        """`GET /networks`. Raises InvalidParameter for an unknown filter."""
        wanted = filters_from(filters)
        wanted.validate(_LIST_FILTERS)
        used = {endpoint.network_id for sandbox in self._sandboxes.values() for endpoint in sandbox.endpoints}
        return [network.shown() for network in self._networks.values() if _listed(network, wanted, used)]

    def _emit(self, action: str, network: Network, **more: str) -> None:
        if self._events is not None:
            self._events.emit("network", action, network.id, {"name": network.name, "type": network.driver, **more})

    # Sandboxes

    @contextlib.asynccontextmanager
    async def _locked(self, container_id: str) -> AsyncIterator[None]:
        """One change at a time per container."""
        lock, users = self._locks.get(container_id, (asyncio.Lock(), 0))
        self._locks[container_id] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[container_id]
            if users == 1:
                del self._locks[container_id]
            else:
                self._locks[container_id] = (lock, users - 1)

    async def attach(self, request: NetworkRequest) -> NetworkSandbox:
        """Make a container's network. It must not have one. After an error nothing is left of it.

        Raises NotFound (network), Conflict, InvalidParameter, Forbidden (address taken), EngineError (port taken).
        """
        async with self._locked(request.container_id):
            if request.mode == "host":
                return self._host_sandbox(request)
            if request.mode.startswith("container:"):
                return self._shared_sandbox(request.mode.partition(":")[2])
            if request.container_id in self._sandboxes:
                await self._take_down(request.container_id)
            wanted = [] if request.mode == "none" else self._wanted_endpoints(request)
            if request.mode == "none" and any(self.resolve(ref).name != "none" for ref in request.endpoints):
                raise InvalidParameter(_MULTIPLE_NONE)
            extra_hosts = parse_extra_hosts(request.extra_hosts, self._host_gateway())
            namespace = await self._warm.take()
            sandbox = Sandbox(request, namespace.path)
            self._sandboxes[sandbox.id] = sandbox
            try:
                for network, config in wanted:
                    self._reserve_endpoint(sandbox, network, config)
                await self._bring_up(sandbox, namespace)
            except BaseException:
                await self._take_down(sandbox.id)
                raise
            finally:
                namespace.close()
        for network, _ in wanted:
            self._emit("connect", network, container=sandbox.id)
        return self._sandbox_view(sandbox, extra_hosts)

    async def _bring_up(self, sandbox: Sandbox, namespace: Namespace) -> None:
        request = sandbox.request
        self._allocate_ports(sandbox)
        endpoints = [(e, *self._bridge_of(e.network_id), self._networks[e.network_id].icc) for e in sandbox.endpoints]
        gateways = [(e, version) for version in (4, 6) if (e := sandbox.gateway_endpoint(version))]
        sysctls = {name: value for name, value in request.sysctls.items() if name.startswith("net.")}

        def wire() -> names.Sockets | None:
            descriptor = os.open(namespace.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                sandboxes.wire(self._netlink, namespace.netlink, descriptor, endpoints, gateways)
            finally:
                os.close(descriptor)
            if sysctls:
                sandboxes.set_sysctls(namespace.path, sysctls)
            if sandbox.ports:
                self._nft.run(firewall.port_elements("add", self._instance.nft_table, sandbox.published()))
            sockets = names.open_sockets(namespace.path) if user_defined else None
            if sockets:
                sandbox.resolver = [sock.getsockname()[1] for sock in sockets]
            sandbox.save(self._directory)
            return sockets

        user_defined = any(not self._networks[e.network_id].is_default for e in sandbox.endpoints)
        sockets = await asyncio.to_thread(wire)
        if sockets:
            await self._serve_names(sandbox, sockets)
        for endpoint in sandbox.endpoints:
            self._publish_names(sandbox, endpoint)

    def _bridge_of(self, network_id: str) -> tuple[int, int]:
        if network_id not in self._bridges:
            raise EngineError(f"network {self._networks[network_id].name} has no bridge on this machine")
        return self._bridges[network_id]

    def _wanted_endpoints(self, request: NetworkRequest) -> Wanted:
        """The networks to join with their endpoint configs, that of the network mode first."""
        main = self.resolve(request.mode or "default")
        configs: dict[str, dict[str, Any]] = {main.id: {}}
        for ref, config in request.endpoints.items():
            network = self.resolve(ref)
            if network.driver != "bridge":
                raise InvalidParameter(_MULTIPLE_HOST if network.name == "host" else _MULTIPLE_NONE)
            configs[network.id] = config or {}
        if request.mac and not configs[main.id].get("MacAddress"):
            configs[main.id] = configs[main.id] | {"MacAddress": request.mac}
        if request.links and not main.is_default:
            configs[main.id] = configs[main.id] | {"Links": [*(configs[main.id].get("Links") or []), *request.links]}
        return [(self._networks[network_id], config) for network_id, config in configs.items()]

    def _reserve_endpoint(self, sandbox: Sandbox, network: Network, config: dict[str, Any]) -> Endpoint:
        """Addresses, names and interface of a new endpoint; nothing in the kernel yet."""
        static = config.get("IPAMConfig") or {}
        if (static.get("IPv4Address") or static.get("IPv6Address")) and not network.user_subnets:
            raise InvalidParameter(
                "user specified IP address is supported on user defined networks only"
                if network.is_default
                else _NO_USER_SUBNET
            )
        if network.is_default and config.get("Aliases"):
            raise InvalidParameter("network-scoped aliases are only supported for user-defined networks")
        address, gateway = self._allocate_address(network, 4, static.get("IPv4Address"))
        address6, gateway6 = "", ""
        try:
            if network.ipv6:
                address6, gateway6 = self._allocate_address(network, 6, static.get("IPv6Address"))
        except EngineError:
            self._release(network.id, address)
            raise
        endpoint = Endpoint(
            id=secrets.token_hex(32),
            network_id=network.id,
            network_name=network.name,
            config=config,
            interface=sandboxes.free_interface(network.interface_prefix, (e.interface for e in sandbox.endpoints)),
            link=self._instance.link_name("v", sandboxes.random_token()),
            mac=_mac(config.get("MacAddress")) or sandboxes.mac_for(address),
            address=address,
            gateway="" if network.internal else gateway,
            address6=address6,
            gateway6="" if network.internal else gateway6,
            internal=network.internal,
            names=[] if network.is_default else _dns_names(sandbox.request, config),
        )
        sandbox.endpoints.append(endpoint)
        return endpoint

    def _allocate_address(self, network: Network, version: int, wanted: str | None) -> tuple[str, str]:
        """(address with prefix length, gateway)."""
        try:
            asked = ipaddress.ip_address(wanted) if wanted else None
        except ValueError:
            raise InvalidParameter(f"invalid IPv{version} address: {wanted}") from None
        pools = [subnet for subnet in self._ipam.get(network.id, ()) if subnet.subnet.version == version]
        inside = [subnet for subnet in pools if asked is not None and asked in subnet.subnet]
        if asked is not None and not inside:
            raise InvalidParameter(
                f"invalid config for network {network.name}: invalid endpoint settings:\n"
                f"no configured subnet contains IP address {asked}"
            )
        for subnet in inside or pools:
            try:
                address = subnet.allocate(asked)
            except Conflict:
                continue
            return f"{address}/{subnet.subnet.prefixlen}", str(subnet.gateway)
        self._bridge_of(network.id)
        raise Conflict(
            f"no available IPv{version} addresses on this network's address pools: {network.name} ({network.id})"
        )

    def _release(self, network_id: str, *texts: str) -> None:
        for text in filter(None, texts):
            address = ipaddress.ip_interface(text).ip
            for subnet in self._ipam.get(network_id, ()):
                if address in subnet.subnet:
                    subnet.release(address)

    def _claim(self, endpoint: Endpoint) -> None:
        for ip in endpoint.addresses:
            for subnet in self._ipam.get(endpoint.network_id, ()):
                if (address := ipaddress.ip_address(ip)) in subnet.subnet:
                    subnet.reserve(address)

    def _allocate_ports(self, sandbox: Sandbox) -> None:
        """Hold every published port of the sandbox. Raises EngineError with Docker's words."""
        request = sandbox.request
        endpoint = sandbox.gateway_endpoint()
        if endpoint is None:
            return
        binding = self._networks[endpoint.network_id].host_binding
        default_ips = (binding,) if binding and binding != "0.0.0.0" else ("0.0.0.0", "::")
        requests = port_requests(
            request.port_bindings, request.exposed_ports, request.publish_all, default_ips=default_ips
        )
        for wanted in requests:
            try:
                held = self._ports.allocate(wanted)
            except PortInUse as error:
                raise EngineError(
                    "failed to set up container networking: "
                    "driver failed programming external connectivity on endpoint "
                    f"{request.name.lstrip('/')} ({endpoint.id}): {error.message}"
                ) from None
            for mapping, listener in held:
                sandbox.ports.append(mapping)
                self._relay(sandbox, mapping, listener)

    def _relay(self, sandbox: Sandbox, mapping: PortMapping, listener: socket.socket) -> None:
        if ":" in mapping.host_ip and (endpoint := sandbox.gateway_endpoint()) is not None:
            target = (endpoint.addresses[-1], mapping.container_port)
            self._relays.setdefault(sandbox.id, []).append(RELAYS[mapping.protocol](listener, target))

    def _publish_names(self, sandbox: Sandbox, endpoint: Endpoint) -> None:
        if endpoint.names:
            named = names.NamedEndpoint(sandbox.id, endpoint.network_id, tuple(endpoint.names), endpoint.addresses)
            self._named[endpoint.id] = named
            self._table.add(named)

    async def _start_resolver(self, sandbox: Sandbox) -> None:
        sockets = await asyncio.to_thread(names.open_sockets, sandbox.netns, sandbox.resolver)
        sandbox.resolver = [sock.getsockname()[1] for sock in sockets]
        await self._serve_names(sandbox, sockets)

    async def _serve_names(self, sandbox: Sandbox, sockets: names.Sockets) -> None:
        servers = sandbox.request.dns or read_host_resolv_conf().nameservers
        resolver = names.ContainerResolver(self._table, lambda: self._scope(sandbox))
        self._resolvers[sandbox.id] = await names.serve(sockets, resolver, servers)

    def _scope(self, sandbox: Sandbox) -> names.Scope:
        links = {}
        for endpoint in sandbox.endpoints:
            for link in endpoint.config.get("Links") or ():
                target, _, alias = link.partition(":")
                links[(alias or target).lower()] = target.lower()
        return names.Scope(
            networks=tuple((e.network_id, e.network_name) for e in sandbox.endpoints if e.names),
            links=links,
            forwards=any(not endpoint.internal for endpoint in sandbox.endpoints),
        )

    async def detach(self, container_id: str) -> None:
        """Take a container's network down. Idempotent."""
        async with self._locked(container_id):
            sandbox = self._sandboxes.get(container_id)
            if sandbox is None:
                return
            await self._take_down(container_id)
        for endpoint in sandbox.endpoints:
            if (network := self._networks.get(endpoint.network_id)) is not None:
                self._emit("disconnect", network, container=container_id)

    async def _take_down(self, container_id: str) -> None:
        sandbox = self._sandboxes[container_id]
        published = sandbox.published()
        self._unserve(sandbox)
        if (resolver := self._resolvers.pop(container_id, None)) is not None:
            resolver.close()

        def unwire() -> None:
            self._unpublish(published)
            self._disable(sandbox.endpoints)
            remove(sandbox.netns)
            (self._directory / f"{container_id}.json").unlink(missing_ok=True)

        try:
            await asyncio.to_thread(unwire)
        finally:
            for endpoint in sandbox.endpoints:
                self._forget(endpoint)
            self._doom(endpoint.link for endpoint in sandbox.endpoints)
            del self._sandboxes[container_id]

    def _unserve(self, sandbox: Sandbox) -> None:
        """Close the relays and sockets of the published ports."""
        for relay in self._relays.pop(sandbox.id, ()):
            relay.close()
        for mapping in sandbox.ports:
            self._ports.release(mapping)

    def _unpublish(self, published: Published) -> None:
        if published:
            table = self._instance.nft_table
            # Added first, as an element that is not there (a failed start) would make the whole deletion fail.
            document = firewall.port_elements("add", table, published) + firewall.port_elements(
                "delete", table, published
            )
            self._nft.run(document)

    def _disable(self, endpoints: Iterable[Endpoint]) -> None:
        """Let the host's ends carry nothing more, as the addresses are free from now on; the links themselves go with
        the namespace, or by the reaper."""
        for endpoint in endpoints:
            link = self._netlink.link(endpoint.link)
            if link is not None:
                with contextlib.suppress(OSError):
                    self._netlink.batch([set_bridge_port(link.index, disabled=True)])

    def _forget(self, endpoint: Endpoint) -> None:
        self._release(endpoint.network_id, endpoint.address, endpoint.address6)
        if (named := self._named.pop(endpoint.id, None)) is not None:
            self._table.remove(named)

    def _doom(self, links: Iterable[str]) -> None:
        self._doomed.update(links)
        if self._doomed and (self._reaper is None or self._reaper.done()):
            self._reaper = asyncio.get_running_loop().create_task(self._reap(), name="link-reaper")

    async def _reap(self) -> None:
        while self._doomed:
            links = set(self._doomed)
            await asyncio.sleep(_REAP_AFTER)
            try:
                await asyncio.to_thread(sandboxes.unplug, self._netlink, links)
            except OSError as error:
                log.warning("cannot remove links of ended containers: %s", error)
            self._doomed -= links

    # Connect and disconnect

    async def connect(self, ref: str, container: str, endpoint_config: dict[str, Any] | None = None) -> None:
        """`POST /networks/{id}/connect`, running or not. Raises NotFound, Forbidden, InvalidParameter, Conflict."""
        network = self.resolve(ref)
        view = self.containers.network_view(container)
        config = endpoint_config or {}
        async with self._locked(view.id):
            _check_modes(view.mode, network)
            sandbox = self._sandboxes.get(view.id)
            present = {self.resolve(known).id for known in view.endpoints if self._exists(known)}
            if network.id in present or (sandbox is not None and sandbox.endpoint(network.id)):
                name = view.name.lstrip("/")
                raise Forbidden(f"endpoint with name {name} already exists in network {network.name}")
            endpoints = view.endpoints | {network.name: config}
            if sandbox is None or not view.running:
                self._check_config(network, config)
                await self.containers.save_network(view.id, endpoints, None)
                return
            await self._plug_in(sandbox, network, config)
            await self.containers.save_network(view.id, endpoints, self.view(view.id))
        self._emit("connect", network, container=view.id)

    def _exists(self, ref: str) -> bool:
        try:
            self.resolve(ref)
        except (NotFound, InvalidParameter):
            return False
        return True

    def _check_config(self, network: Network, config: dict[str, Any]) -> None:
        """Refuse now what would fail when the container starts."""
        static = config.get("IPAMConfig") or {}
        if (static.get("IPv4Address") or static.get("IPv6Address")) and not network.user_subnets:
            raise InvalidParameter(_NO_USER_SUBNET)
        if network.is_default and config.get("Aliases"):
            raise InvalidParameter("network-scoped aliases are only supported for user-defined networks")
        _mac(config.get("MacAddress"))

    async def _plug_in(self, sandbox: Sandbox, network: Network, config: dict[str, Any]) -> None:
        endpoint = self._reserve_endpoint(sandbox, network, config)
        try:
            await asyncio.to_thread(self._wire_more, sandbox, endpoint)
            if not sandbox.resolver and not network.is_default:
                await self._start_resolver(sandbox)
            self._publish_names(sandbox, endpoint)
            sandbox.save(self._directory)
        except BaseException:
            sandbox.endpoints.remove(endpoint)
            self._forget(endpoint)
            self._doom([endpoint.link])
            raise

    def _wire_more(self, sandbox: Sandbox, endpoint: Endpoint) -> None:
        bridge, mtu = self._bridge_of(endpoint.network_id)
        gateways = [(e, version) for version in (4, 6) if (e := sandbox.gateway_endpoint(version)) is endpoint and e]
        with run_inside(sandbox.netns, Netlink) as inside:
            descriptor = os.open(sandbox.netns, os.O_RDONLY | os.O_CLOEXEC)
            try:
                icc = self._networks[endpoint.network_id].icc
                sandboxes.wire(self._netlink, inside, descriptor, [(endpoint, bridge, mtu, icc)], gateways)
            finally:
                os.close(descriptor)

    async def disconnect(self, ref: str, container: str, force: bool = False) -> None:
        """`POST /networks/{id}/disconnect`. `force` also when the container is gone."""
        network = self.resolve(ref)
        try:
            view = self.containers.network_view(container)
        except NotFound:
            if force and (found := self._endpoint_by_name(network, container)):
                await self.detach(found)
                return
            raise
        async with self._locked(view.id):
            if view.mode == "host" or network.name == "host":
                raise InvalidParameter(_MULTIPLE_HOST)
            sandbox = self._sandboxes.get(view.id)
            endpoint = sandbox.endpoint(network.id) if sandbox is not None else None
            endpoints = {name: config for name, config in view.endpoints.items() if not self._names(name, network)}
            if endpoint is None and len(endpoints) == len(view.endpoints):
                raise Forbidden(f"container {view.id} is not connected to network {network.name}")
            if sandbox is None or endpoint is None:
                await self.containers.save_network(view.id, endpoints, None)
                return
            before = sandbox.published()
            sandbox.endpoints.remove(endpoint)
            await asyncio.to_thread(self._unplug, sandbox, endpoint, before)
            self._forget(endpoint)
            sandbox.save(self._directory)
            await self.containers.save_network(view.id, endpoints, self.view(view.id))
        self._emit("disconnect", network, container=view.id)

    def _names(self, ref: str, network: Network) -> bool:
        return self._exists(ref) and self.resolve(ref).id == network.id

    def _endpoint_by_name(self, network: Network, container: str) -> str | None:
        for sandbox in self._sandboxes.values():
            if sandbox.endpoint(network.id) and container in (sandbox.id, sandbox.request.name.lstrip("/")):
                return sandbox.id
        return None

    def _unplug(self, sandbox: Sandbox, gone: Endpoint, before: Published) -> None:
        sandboxes.unplug(self._netlink, [gone.link])
        after = sandbox.published()
        if before != after:
            self._unpublish(before)
            self._nft.run(firewall.port_elements("add", self._instance.nft_table, after))
        gateways = [(e, version) for version in (4, 6) if (e := sandbox.gateway_endpoint(version))]
        with run_inside(sandbox.netns, Netlink) as inside:
            sandboxes.wire(self._netlink, inside, -1, [], gateways)

    # What the engine shows

    def view(self, container_id: str) -> NetworkSandbox | None:
        """The sandbox as it is now, or None when the container has none."""
        sandbox = self._sandboxes.get(container_id)
        if sandbox is None:
            return None
        return self._sandbox_view(sandbox, parse_extra_hosts(sandbox.request.extra_hosts, self._host_gateway()))

    def settings(self, container_id: str) -> dict[str, Any] | None:
        """The NetworkSettings object as it is now, or None when the container has no sandbox."""
        sandbox = self._sandboxes.get(container_id)
        return self._settings(sandbox) if sandbox is not None else None

    def _settings(self, sandbox: Sandbox) -> dict[str, Any]:
        none = self._by_name("none")
        return sandbox_settings(sandbox, none.id if none and sandbox.request.mode == "none" else "")

    def _host_gateway(self) -> str | None:
        default = self._by_name("bridge")
        return default.subnets[0]["Gateway"] if default is not None else None

    def _sandbox_view(self, sandbox: Sandbox, extra_hosts: HostLines) -> NetworkSandbox:
        request = sandbox.request
        known = (
            f"{request.hostname}.{request.domainname} {request.hostname}" if request.domainname else request.hostname
        )
        own = [(ip, known) for endpoint in sandbox.endpoints for ip in endpoint.addresses] if request.hostname else []
        resolv_conf = container_resolv_conf(
            read_host_resolv_conf(),
            dns=request.dns,
            search=request.dns_search,
            options=request.dns_options,
            internal_resolver=bool(sandbox.resolver),
        )
        return NetworkSandbox(
            netns=sandbox.netns,
            settings=self._settings(sandbox),
            hosts=hosts_text(own, [*extra_hosts, *self._linked_hosts(request)]),
            resolv_conf=resolv_conf.text(),
        )

    def _linked_hosts(self, request: NetworkRequest) -> HostLines:
        """Links on the default network are lines in /etc/hosts."""
        if request.mode not in ("default", "bridge", ""):
            return []
        found = []
        for link in request.links:
            name, _, alias = link.partition(":")
            target = next((s for s in self._sandboxes.values() if name in (s.request.name.lstrip("/"), s.id)), None)
            if target is None or not target.endpoints:
                alias_path = f"/{request.name.lstrip('/')}/{alias or name}"
                raise Conflict(f"Cannot link to a non running container: /{name} AS {alias_path}")
            names_ = dict.fromkeys((alias or name, target.request.hostname, target.request.name.lstrip("/")))
            found.append((target.endpoints[0].addresses[0], " ".join(filter(None, names_))))
        return found

    def _host_sandbox(self, request: NetworkRequest) -> NetworkSandbox:
        if any(self.resolve(ref).name != "host" for ref in request.endpoints):
            raise InvalidParameter(_MULTIPLE_HOST)
        try:
            with open("/etc/hosts") as file:
                hosts = file.read()
        except OSError:
            hosts = hosts_text([])
        extra = parse_extra_hosts(request.extra_hosts, self._host_gateway())
        hosts = "".join([hosts, *(f"{ip}\t{name}\n" for ip, name in extra)])
        conf = read_host_resolv_conf()
        if request.dns or request.dns_search or request.dns_options:
            conf = container_resolv_conf(conf, dns=request.dns, search=request.dns_search, options=request.dns_options)
        settings = empty_settings()
        host = self._by_name("host")
        settings["Networks"] = {"host": endpoint_settings(host.id if host else "")}
        return NetworkSandbox(None, settings, hosts, conf.text())

    def _shared_sandbox(self, ref: str) -> NetworkSandbox:
        target = self._sandboxes.get(ref)
        if target is None:
            raise Conflict(f"cannot join network of a non running container: {ref}")
        shared = self._sandbox_view(target, parse_extra_hosts(target.request.extra_hosts, self._host_gateway()))
        return NetworkSandbox(shared.netns, empty_settings(), shared.hosts, shared.resolv_conf)

    def foreign_drops(self) -> Texts:
        """Other programs' nftables base chains that drop forwarded packets by policy, as `family table chain`.

        Their verdict beats any accept of ours, so containers cannot reach the outside while they stand.
        """
        import json

        found = []
        for item in json.loads(self._nft.run("list chains", json=True))["nftables"]:
            chain = item.get("chain", {})
            if chain.get("hook") == "forward" and chain.get("policy") == "drop":
                found.append(f"{chain['family']} {chain['table']} {chain['name']}")
        return found


_MULTIPLE_HOST = "container cannot be disconnected from host network or connected to host network"
_MULTIPLE_NONE = "container cannot be connected to multiple networks with one of the networks in private (none) mode"
_NO_USER_SUBNET = "user specified IP address is supported only when connecting to networks with user configured subnets"
_SHARED = "container sharing network namespace with another container or host cannot be connected to any other network"


def _check_modes(mode: str, network: Network) -> None:
    if mode.startswith("container:"):
        raise InvalidParameter(_SHARED)
    if mode == "host" or network.name == "host":
        raise InvalidParameter(_MULTIPLE_HOST)
    if mode == "none" or network.name == "none":
        raise InvalidParameter(_MULTIPLE_NONE)


def _dns_names(request: NetworkRequest, config: dict[str, Any]) -> list[str]:
    found = [request.name.lstrip("/"), *(config.get("Aliases") or []), request.container_id[:12], request.hostname]
    return list(dict.fromkeys(filter(None, found)))


def _mac(text: str | None) -> str:
    """Normalised, or "". Raises InvalidParameter."""
    if not text:
        return ""
    parts = text.lower().replace("-", ":").split(":")
    try:
        raw = bytes(int(part, 16) for part in parts)
    except ValueError:
        raw = b""
    if len(raw) != 6 or raw[0] & 1:
        raise InvalidParameter(f"invalid MAC address: address {text}: invalid MAC address")
    return raw.hex(":")


def _now() -> str:
    now = datetime.datetime.now(datetime.UTC)
    return now.strftime("%Y-%m-%dT%H:%M:%S.") + f"{now.microsecond:06d}000Z"


def _store(connection: sqlite3.Connection, networks: Iterable[Network]) -> None:
    for network in networks:
        connection.execute(
            "INSERT OR REPLACE INTO networks (id, name, definition) VALUES (?, ?, ?)",
            (network.id, network.name, network.to_json()),
        )


def _until(filters: Filters) -> datetime.datetime | None:
    text = filters.one("until")
    if text is None:
        return None
    now = datetime.datetime.now(datetime.UTC)
    units = {"h": 3600, "m": 60, "s": 1}
    with contextlib.suppress(ValueError):
        if text[-1:] in units:
            return now - datetime.timedelta(seconds=float(text[:-1]) * units[text[-1]])
        return datetime.datetime.fromtimestamp(float(text), datetime.UTC)
    try:
        parsed = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise InvalidParameter(f"invalid value for until: {text}") from None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=datetime.UTC)


def _listed(network: Network, filters: Filters, used: set[str]) -> bool:
    kind = "builtin" if network.name in PREDEFINED else "custom"
    for value in filters.get("type", ()):
        if value not in ("builtin", "custom"):
            raise InvalidParameter(f"invalid filter 'type={value}'")
    if "dangling" in filters and filters.boolean("dangling") != (kind == "custom" and network.id not in used):
        return False
    return (
        filters.match("name", network.name)
        and filters.fuzzy("id", network.id)
        and filters.exact("driver", network.driver)
        and filters.exact("scope", "local")
        and filters.exact("type", kind)
        and filters.labels(network.labels)
    )


__all__ = ["Networks"]
