"""`Networks`: what the engine calls. Puts together the networks (`registry.py`), the containers' sandboxes, and what
this process serves for them (`serving.py`).

State: definitions in the database, sandboxes in files below `run` (see `sandboxes.py`), the rest in the kernel. Every
change is made in the kernel, then recorded; `open` puts right what a killed process left half done.
"""

import asyncio
import contextlib
import datetime
import json
import logging
import os
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, TypeAlias

from wherry.engine.errors import Conflict, EngineError, Forbidden, InvalidParameter, NotFound
from wherry.engine.events import Events
from wherry.engine.filters import filters_from
from wherry.engine.networks import checks, firewall, names, sandboxes
from wherry.engine.networks.definitions import PREDEFINED, Network
from wherry.engine.networks.ipam import DEFAULT_POOLS, Pool
from wherry.engine.networks.listing import LIST_FILTERS, created_before, is_listed
from wherry.engine.networks.ports import PortInUse
from wherry.engine.networks.registry import Registry
from wherry.engine.networks.sandboxes import DEFAULT_SYSCTLS, Endpoint, Sandbox
from wherry.engine.networks.serving import Serving
from wherry.engine.networks.settings import sandbox_settings
from wherry.engine.networks.types import ContainerRecords, NetworkRequest, NetworkSandbox
from wherry.engine.networks.views import host_view, sandbox_view, shared_view
from wherry.host.database import Database
from wherry.host.instance import Instance
from wherry.host.namespaces import Namespace, NetnsPool, is_pinned, remove, run_inside
from wherry.host.netlink import Netlink, set_bridge_port
from wherry.host.nftables import Nftables, NftError

log = logging.getLogger(__name__)

# The class has a method named `list`, which hides the type's name in its annotations.
Wanted: TypeAlias = list[tuple[Network, dict[str, Any]]]
Published: TypeAlias = list[firewall.PublishedPort]
Listing: TypeAlias = list[dict[str, Any]]
Texts: TypeAlias = list[str]

_PIN = "c-"
_REAP_AFTER = 1.0
"""Seconds the kernel gets to take links down together with their namespace before we delete them ourselves."""


class Networks:
    """All networks of one engine. Made by `open`; methods belong to the event loop's thread."""

    containers: ContainerRecords
    """Set by the engine; needed by `connect` and `disconnect` only."""

    def __init__(self, instance: Instance, db: Database, events: Events | None, pools: tuple[Pool, ...]) -> None:
        self._instance, self._events = instance, events
        self._directory = instance.run / "networks"
        self._netlink = Netlink()
        self._nft = Nftables()
        self._registry = Registry(instance, db, self._netlink, self._nft, pools)
        self._serving = Serving()
        self._warm = NetnsPool(instance.netns_dir, _PIN, sysctls=DEFAULT_SYSCTLS)
        self._sandboxes: dict[str, Sandbox] = {}
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
        await self._registry.load()
        await self._registry.store(await asyncio.to_thread(self._prepare))
        for sandbox in self._sandboxes.values():
            await self._resume(sandbox)
        self._warm.start()
        return self

    def _prepare(self) -> list[Network]:
        """Blocking half of `open`. Returns the definitions that are new or changed."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._instance.netns_dir.mkdir(parents=True, exist_ok=True, mode=0o755)
        changed = self._registry.raise_all()
        self._load_sandboxes()
        self._sweep()
        ports = [port for sandbox in self._sandboxes.values() for port in sandbox.published()]
        self._nft.run(firewall.whole_table(self._instance.nft_table, self._registry.rules(), ports))
        return changed

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
        known |= self._registry.bridge_names()
        prefixes = (self._instance.link_name("v", ""), self._instance.link_name("b", ""))
        stray = [
            link.name
            for link in self._netlink.links()
            if link.name not in known and (link.name.startswith(prefixes) or link.alias == self._registry.alias)
        ]
        sandboxes.unplug(self._netlink, stray)

    async def _resume(self, sandbox: Sandbox) -> None:
        """Serve an adopted sandbox again: its addresses, names, ports and resolver."""
        for endpoint in sandbox.endpoints:
            self._registry.reserve(endpoint.network_id, endpoint.addresses)
            self._serving.publish_names(sandbox, endpoint)
        for mapping in sandbox.ports:
            try:
                self._serving.hold_port(sandbox, mapping)
            except PortInUse as error:
                log.warning("container %s: %s; its traffic goes on", sandbox.request.name, error.message)
        if sandbox.resolver:
            try:
                await self._serving.start_resolver(sandbox)
            except (OSError, NftError) as error:
                log.warning("container %s: no name resolution: %s", sandbox.request.name, error)

    async def adopt(self, running: Iterable[str]) -> None:
        """Take down the sandboxes of all containers but these, which have ended while nobody looked."""
        alive = set(running)
        for container_id in [known for known in self._sandboxes if known not in alive]:
            await self.detach(container_id)

    async def close(self) -> None:
        """Stop serving (resolvers, relays, port sockets). Kernel state stays: containers keep running."""
        self._serving.close()
        if self._reaper is not None:
            self._reaper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reaper
        await self._warm.close()
        await asyncio.to_thread(sandboxes.unplug, self._netlink, list(self._doomed))
        self._netlink.close()
        self._nft.close()

    async def purge(self) -> None:
        """Remove every bridge, namespace and rule of this instance, and close. For when no container runs."""
        for container_id in list(self._sandboxes):
            await self.detach(container_id)
        await asyncio.to_thread(self._registry.remove_bridges)
        await asyncio.to_thread(self._nft.delete_table, self._instance.nft_table)
        await self.close()

    # Definitions

    def resolve(self, ref: str) -> Network:
        """By id, name, or unique id prefix. Raises NotFound, InvalidParameter (ambiguous)."""
        return self._registry.resolve(ref)

    async def create(self, body: dict[str, Any]) -> dict[str, str]:
        """`POST /networks/create`. Raises Conflict (name taken) and what `definitions.parse_create` raises."""
        async with self._changing:
            network = await self._registry.create(body)
        self._emit("create", network)
        return {"Id": network.id, "Warning": ""}

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
            await self._registry.remove(network)
        self._emit("destroy", network)

    async def prune(self, filters: Mapping[str, Any] | None = None) -> dict[str, list[str]]:
        """`POST /networks/prune`: filters `until`, `label`, `label!`."""
        wanted = filters_from(filters)
        wanted.validate(("until", "label", "label!"))
        before = created_before(wanted)
        deleted = []
        for network in self._registry:
            if network.name in PREDEFINED or not wanted.prune_labels(network.labels):
                continue
            if before is not None and datetime.datetime.fromisoformat(network.created) >= before:
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
        wanted.validate(LIST_FILTERS)
        used = {endpoint.network_id for sandbox in self._sandboxes.values() for endpoint in sandbox.endpoints}
        return [network.shown() for network in self._registry if is_listed(network, wanted, used)]

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
                target = self.view(request.mode.partition(":")[2])
                if target is None:
                    raise Conflict(f"cannot join network of a non running container: {request.mode[10:]}")
                return shared_view(target)
            if request.container_id in self._sandboxes:
                await self._take_down(request.container_id)
            wanted = self._wanted_endpoints(request)
            namespace = await self._warm.take()
            sandbox = Sandbox(request, namespace.path)
            self._sandboxes[sandbox.id] = sandbox
            try:
                for network, config in wanted:
                    self._reserve_endpoint(sandbox, network, config)
                await self._bring_up(sandbox, namespace)
                view = self._view(sandbox)
            except BaseException:
                await self._take_down(sandbox.id)
                raise
            finally:
                namespace.close()
        for network, _ in wanted:
            self._emit("connect", network, container=sandbox.id)
        return view

    async def _bring_up(self, sandbox: Sandbox, namespace: Namespace) -> None:
        request = sandbox.request
        way_out = sandbox.gateway_endpoint()
        self._serving.allocate_ports(sandbox, self.resolve(way_out.network_id).host_binding if way_out else "")
        endpoints = [
            (e, *self._registry.bridge_of(e.network_id), self.resolve(e.network_id).icc) for e in sandbox.endpoints
        ]
        gateways = _gateways(sandbox)
        sysctls = {name: value for name, value in request.sysctls.items() if name.startswith("net.")}
        user_defined = any(endpoint.names for endpoint in sandbox.endpoints)

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

        sockets = await asyncio.to_thread(wire)
        if sockets:
            await self._serving.serve_names(sandbox, sockets)
        for endpoint in sandbox.endpoints:
            self._serving.publish_names(sandbox, endpoint)

    def _wanted_endpoints(self, request: NetworkRequest) -> Wanted:
        """The networks to join with their endpoint configs, that of the network mode first."""
        main = self.resolve(request.mode or "default")
        configs: dict[str, dict[str, Any]] = {main.id: {}}
        for ref, config in request.endpoints.items():
            network = self.resolve(ref)
            if network.driver != main.driver or network.driver == "host":
                raise InvalidParameter(checks.MULTIPLE_HOST if network.name == "host" else checks.MULTIPLE_NONE)
            configs[network.id] = config or {}
        if main.driver == "null":
            if any(any(checks.static_addresses(config)) for config in configs.values()):
                raise InvalidParameter("user specified IP address is supported on user defined networks only")
            return []
        if request.mac and not configs[main.id].get("MacAddress"):
            configs[main.id] = configs[main.id] | {"MacAddress": request.mac}
        if request.links and not main.is_default:
            configs[main.id] = configs[main.id] | {"Links": [*(configs[main.id].get("Links") or []), *request.links]}
        return [(self.resolve(network_id), config) for network_id, config in configs.items()]

    def _reserve_endpoint(self, sandbox: Sandbox, network: Network, config: dict[str, Any]) -> Endpoint:
        """Addresses, names and interface of a new endpoint; nothing in the kernel yet."""
        checks.check_config(network, config)
        taken = [endpoint.interface for endpoint in sandbox.endpoints]
        interface = checks.interface_name(config, taken) or sandboxes.free_interface(network.interface_prefix, taken)
        static, static6 = checks.static_addresses(config)
        address, gateway = self._registry.allocate(network, 4, static)
        address6, gateway6 = "", ""
        try:
            if network.ipv6:
                address6, gateway6 = self._registry.allocate(network, 6, static6)
        except EngineError:
            self._registry.release(network.id, [address.partition("/")[0]])
            raise
        endpoint = Endpoint(
            id=secrets.token_hex(32),
            network_id=network.id,
            network_name=network.name,
            config=config,
            interface=interface,
            link=self._instance.link_name("v", sandboxes.random_token()),
            mac=checks.mac_address(config.get("MacAddress")) or sandboxes.mac_for(address),
            address=address,
            gateway="" if network.internal else gateway,
            address6=address6,
            gateway6="" if network.internal else gateway6,
            internal=network.internal,
            names=[] if network.is_default else checks.dns_names(sandbox.request, config),
        )
        sandbox.endpoints.append(endpoint)
        return endpoint

    async def detach(self, container_id: str) -> None:
        """Take a container's network down. Idempotent."""
        async with self._locked(container_id):
            sandbox = self._sandboxes.get(container_id)
            if sandbox is None:
                return
            await self._take_down(container_id)
        for endpoint in sandbox.endpoints:
            if (network := self._registry.get(endpoint.network_id)) is not None:
                self._emit("disconnect", network, container=container_id)

    async def _take_down(self, container_id: str) -> None:
        sandbox = self._sandboxes[container_id]
        published = sandbox.published()
        self._serving.release_ports(sandbox)
        self._serving.stop_resolver(container_id)

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

    def _unpublish(self, published: Published) -> None:
        if not published:
            return
        table = self._instance.nft_table
        # Added first, as an element that is not there (a failed start) would make the whole deletion fail.
        document = firewall.port_elements("add", table, published) + firewall.port_elements("delete", table, published)
        try:
            self._nft.run(document)
        except NftError as error:
            # Somebody else has been at the table, or we are wrong about it: write it anew, without these.
            log.warning("writing the table %s anew: %s", table, error)
            left = [port for sandbox in self._sandboxes.values() for port in sandbox.published()]
            left = [port for port in left if port not in published]
            self._nft.run(firewall.whole_table(table, self._registry.rules(), left))

    def _republish(self, before: Published, after: Published) -> None:
        self._unpublish(before)
        if after:
            self._nft.run(firewall.port_elements("add", self._instance.nft_table, after))

    def _disable(self, endpoints: Iterable[Endpoint]) -> None:
        """Let the host's ends carry nothing more, as the addresses are free from now on; the links themselves go with
        the namespace, or by the reaper."""
        for endpoint in endpoints:
            link = self._netlink.link(endpoint.link)
            if link is not None:
                with contextlib.suppress(OSError):
                    self._netlink.batch([set_bridge_port(link.index, disabled=True)])

    def _forget(self, endpoint: Endpoint) -> None:
        self._registry.release(endpoint.network_id, endpoint.addresses)
        self._serving.forget_names(endpoint)

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
            checks.check_modes(view.mode, network)
            sandbox = self._sandboxes.get(view.id)
            known = any(self._registry.is_ref_to(ref, network) for ref in view.endpoints)
            if known or (sandbox is not None and sandbox.endpoint(network.id)):
                name = view.name.lstrip("/")
                raise Forbidden(f"endpoint with name {name} already exists in network {network.name}")
            endpoints = view.endpoints | {network.name: config}
            if sandbox is None or not view.running:
                checks.check_config(network, config)
                await self.containers.save_network(view.id, endpoints, None)
                return
            await self._plug_in(sandbox, network, config)
            await self.containers.save_network(view.id, endpoints, self.view(view.id))
        self._emit("connect", network, container=view.id)

    async def _plug_in(self, sandbox: Sandbox, network: Network, config: dict[str, Any]) -> None:
        before = sandbox.published()
        endpoint = self._reserve_endpoint(sandbox, network, config)
        try:
            await asyncio.to_thread(self._wire_more, sandbox, endpoint)
            if before != (after := sandbox.published()):
                # The new network is the way out from now on, and so the way in.
                await asyncio.to_thread(self._republish, before, after)
            if not sandbox.resolver and not network.is_default:
                await self._serving.start_resolver(sandbox)
            self._serving.publish_names(sandbox, endpoint)
            sandbox.save(self._directory)
        except BaseException:
            sandbox.endpoints.remove(endpoint)
            self._forget(endpoint)
            self._doom([endpoint.link])
            raise

    def _wire_more(self, sandbox: Sandbox, endpoint: Endpoint) -> None:
        bridge, mtu = self._registry.bridge_of(endpoint.network_id)
        gateways = [(e, version) for e, version in _gateways(sandbox) if e is endpoint]
        with run_inside(sandbox.netns, Netlink) as inside:
            descriptor = os.open(sandbox.netns, os.O_RDONLY | os.O_CLOEXEC)
            try:
                icc = self.resolve(endpoint.network_id).icc
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
                raise InvalidParameter(checks.MULTIPLE_HOST)
            sandbox = self._sandboxes.get(view.id)
            endpoint = sandbox.endpoint(network.id) if sandbox is not None else None
            endpoints = {
                name: config for name, config in view.endpoints.items() if not self._registry.is_ref_to(name, network)
            }
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

    def _endpoint_by_name(self, network: Network, container: str) -> str | None:
        for sandbox in self._sandboxes.values():
            if sandbox.endpoint(network.id) and container in (sandbox.id, sandbox.request.name.lstrip("/")):
                return sandbox.id
        return None

    def _unplug(self, sandbox: Sandbox, gone: Endpoint, before: Published) -> None:
        sandboxes.unplug(self._netlink, [gone.link])
        after = sandbox.published()
        if before != after:
            self._republish(before, after)
        gateways = _gateways(sandbox)
        with run_inside(sandbox.netns, Netlink) as inside:
            sandboxes.wire(self._netlink, inside, -1, [], gateways)

    # What the engine shows

    def view(self, container_id: str) -> NetworkSandbox | None:
        """The sandbox as it is now, or None when the container has none."""
        sandbox = self._sandboxes.get(container_id)
        return self._view(sandbox) if sandbox is not None else None

    def settings(self, container_id: str) -> dict[str, Any] | None:
        """The NetworkSettings object as it is now, or None when the container has no sandbox."""
        sandbox = self._sandboxes.get(container_id)
        if sandbox is None:
            return None
        return sandbox_settings(sandbox, self.resolve("none").id if sandbox.request.mode == "none" else "")

    def _view(self, sandbox: Sandbox) -> NetworkSandbox:
        return sandbox_view(sandbox, self._sandboxes.values(), self._registry.host_gateway(), self.resolve("none").id)

    def _host_sandbox(self, request: NetworkRequest) -> NetworkSandbox:
        if any(self.resolve(ref).name != "host" for ref in request.endpoints):
            raise InvalidParameter(checks.MULTIPLE_HOST)
        return host_view(request, self._registry.host_gateway(), self.resolve("host").id)

    def foreign_drops(self) -> Texts:
        """Other programs' nftables base chains that drop forwarded packets by policy, as `family table chain`.

        Their verdict beats any accept of ours, so containers cannot reach the outside while they stand.
        """
        found = []
        for item in json.loads(self._nft.run("list chains", json=True))["nftables"]:
            chain = item.get("chain", {})
            if chain.get("hook") == "forward" and chain.get("policy") == "drop":
                found.append(f"{chain['family']} {chain['table']} {chain['name']}")
        return found


def _gateways(sandbox: Sandbox) -> list[tuple[Endpoint, int]]:
    """The endpoints that default routes lead through, with their IP versions."""
    return [(e, version) for version in (4, 6) if (e := sandbox.gateway_endpoint(version))]
