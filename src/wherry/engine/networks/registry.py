"""The networks that there are: their definitions in the database, their bridges in the kernel, their addresses.

Knows nothing of containers.
"""

import asyncio
import datetime
import hashlib
import ipaddress
import logging
import secrets
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any

from wherry.engine.errors import Conflict, EngineError, InvalidParameter, NotFound
from wherry.engine.networks import bridges, firewall
from wherry.engine.networks.definitions import PREDEFINED, Network, parse_create
from wherry.engine.networks.files import read_host_resolv_conf
from wherry.engine.networks.ipam import Pool, Subnet, choose_subnet, overlapping, unique_local_pool
from wherry.host.database import Database
from wherry.host.instance import Instance
from wherry.host.netlink import IPNetwork, Netlink
from wherry.host.nftables import Nftables, NftError

log = logging.getLogger(__name__)

_SCHEMA = "CREATE TABLE IF NOT EXISTS networks (id TEXT PRIMARY KEY, name TEXT NOT NULL, definition TEXT NOT NULL)"


class Registry:
    """All networks of one engine. `load`, then `raise_all` (which blocks), then the rest."""

    def __init__(
        self, instance: Instance, db: Database, netlink: Netlink, nft: Nftables, pools: Iterable[Pool]
    ) -> None:
        self._instance, self._db, self._netlink, self._nft = instance, db, netlink, nft
        self._pools = tuple(pools)
        self._pool6 = unique_local_pool(hashlib.sha256(instance.id.encode()).digest())
        self.alias = f"wherry {instance.id}"
        """The alias of every bridge that we make."""
        self._networks: dict[str, Network] = {}
        self._addresses: dict[str, list[Subnet]] = {}
        self._bridges: dict[str, tuple[int, int]] = {}

    def __iter__(self) -> Iterator[Network]:
        return iter(list(self._networks.values()))

    def get(self, network_id: str) -> Network | None:
        return self._networks.get(network_id)

    def by_name(self, name: str) -> Network | None:
        return next((network for network in self._networks.values() if network.name == name), None)

    def resolve(self, ref: str) -> Network:
        """By id, name, or unique id prefix. Raises NotFound, InvalidParameter (ambiguous)."""
        if ref == "default":
            ref = "bridge"
        if (found := self._networks.get(ref)) is not None or (found := self.by_name(ref)) is not None:
            return found
        matches = [network for network in self._networks.values() if ref and network.id.startswith(ref)]
        if len(matches) > 1:
            raise InvalidParameter(f"network {ref} is ambiguous ({len(matches)} matches found based on ID prefix)")
        if not matches:
            raise NotFound(f"network {ref} not found")
        return matches[0]

    def is_ref_to(self, ref: str, network: Network) -> bool:
        """Whether `ref` means `network`; also False for one that means none."""
        try:
            return self.resolve(ref).id == network.id
        except (NotFound, InvalidParameter):
            return False

    def host_gateway(self) -> str | None:
        """The host as containers on the default network see it (`host-gateway`)."""
        default = self.by_name("bridge")
        return str(default.subnets[0]["Gateway"]) if default is not None else None

    # Coming up.

    async def load(self) -> None:
        await self._db.ensure(_SCHEMA)
        stored = await self._db.read(
            lambda connection: connection.execute("SELECT definition FROM networks").fetchall()
        )
        for (definition,) in stored:
            network = Network.from_json(definition)
            self._networks[network.id] = network

    def raise_all(self) -> list[Network]:
        """Make the predefined networks and every bridge. Blocks. Returns definitions to `store`."""
        bridges.enable_forwarding(any(network.ipv6 for network in self._networks.values()))
        changed = []
        for name, driver in (("host", "host"), ("none", "null")):
            if self.by_name(name) is None:
                changed.append(Network(id=secrets.token_hex(32), name=name, driver=driver, created=now()))
        with bridges.pools_locked():
            default = self._default_bridge()
            if default not in self._networks.values():
                changed.append(default)
            self._networks |= {network.id: network for network in changed}
            for network in self._networks.values():
                if network.driver == "bridge":
                    self._raise(network)
        return changed

    async def store(self, networks: Iterable[Network]) -> None:
        await self._db.run(lambda connection: _store(connection, networks))

    def _default_bridge(self) -> Network:
        """The stored default network, with another subnet when that one is now used by something else."""
        stored = self.by_name("bridge")
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
            created=stored.created if stored else now(),
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

    def _raise(self, network: Network) -> None:
        try:
            index = bridges.ensure_bridge(self._netlink, network, self.alias)
        except (OSError, Conflict) as error:
            # The other networks must come up all the same; starting a container on this one says what is wrong.
            log.error("network %s has no bridge: %s", network.name, error)
            return
        self._raised(network, index)

    def _raised(self, network: Network, index: int) -> None:
        link = self._netlink.link(network.bridge)
        self._bridges[network.id] = (index, link.mtu if link else 1500)
        self._addresses[network.id] = network.ipam()

    def rules(self) -> list[firewall.NetworkRules]:
        """What the firewall must know of all networks that have a bridge."""
        return [self._networks[network_id].rules() for network_id in self._bridges]

    def bridge_of(self, network_id: str) -> tuple[int, int]:
        """Index and MTU of a network's bridge. Raises EngineError when it could not be made."""
        if network_id not in self._bridges:
            raise EngineError(f"network {self._networks[network_id].name} has no bridge on this machine")
        return self._bridges[network_id]

    def bridge_names(self) -> set[str]:
        return {network.bridge for network in self._networks.values() if network.bridge}

    # Changing.

    async def create(self, body: dict[str, Any]) -> Network:
        """Raises Conflict (name taken) and what `definitions.parse_create` raises. One at a time."""
        name = body.get("Name")
        if isinstance(name, str) and name not in PREDEFINED and self.by_name(name) is not None:
            raise Conflict(f"network with name {name} already exists")
        network = await asyncio.to_thread(self._make, secrets.token_hex(32), body)
        try:
            await self.store([network])
        except BaseException:
            await asyncio.to_thread(self._unmake, network)
            raise
        self._networks[network.id] = network
        return network

    def _make(self, network_id: str, body: dict[str, Any]) -> Network:
        with bridges.pools_locked():
            network = parse_create(
                body,
                id=network_id,
                created=now(),
                bridge=self._instance.link_name("b", network_id[:8]),
                used=self._used_elsewhere() + self._own_subnets(),
                pools=self._pools,
                pool6=self._pool6,
            )
            if network.ipv6:
                bridges.enable_forwarding(ipv6=True)
            try:
                index = bridges.ensure_bridge(self._netlink, network, self.alias)
            except OSError:
                bridges.remove_bridge(self._netlink, network.bridge, self.alias)
                raise
        try:
            self._nft.run(firewall.network_elements("add", self._instance.nft_table, network.rules()))
        except NftError:
            bridges.remove_bridge(self._netlink, network.bridge, self.alias)
            raise
        self._raised(network, index)
        return network

    def _own_subnets(self) -> list[IPNetwork]:
        return [ipaddress.ip_network(entry["Subnet"]) for net in self._networks.values() for entry in net.subnets]

    def _unmake(self, network: Network) -> None:
        self._bridges.pop(network.id, None)
        self._addresses.pop(network.id, None)
        self._nft.run(firewall.network_elements("delete", self._instance.nft_table, network.rules()))
        bridges.remove_bridge(self._netlink, network.bridge, self.alias)

    async def remove(self, network: Network) -> None:
        """The caller has made sure that nobody uses it."""
        await self._db.run(lambda connection: connection.execute("DELETE FROM networks WHERE id = ?", (network.id,)))
        del self._networks[network.id]
        if network.id in self._bridges:
            await asyncio.to_thread(self._unmake, network)

    def remove_bridges(self) -> None:
        """All of them; the definitions stay. Blocks."""
        for network_id in self._bridges:
            bridges.remove_bridge(self._netlink, self._networks[network_id].bridge, self.alias)

    # Addresses.

    def allocate(self, network: Network, version: int, wanted: str) -> tuple[str, str]:
        """(address with prefix length, gateway). `wanted` "" takes any.

        Raises Forbidden (taken), InvalidParameter (outside), Conflict (none left).
        """
        asked = ipaddress.ip_address(wanted) if wanted else None
        pools = [subnet for subnet in self._addresses.get(network.id, ()) if subnet.subnet.version == version]
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
        self.bridge_of(network.id)
        raise Conflict(
            f"no available IPv{version} addresses on this network's address pools: {network.name} ({network.id})"
        )

    def reserve(self, network_id: str, addresses: Iterable[str]) -> None:
        """Mark addresses (without prefix lengths) as given out."""
        for text in addresses:
            address = ipaddress.ip_address(text)
            for subnet in self._addresses.get(network_id, ()):
                if address in subnet.subnet:
                    subnet.reserve(address)

    def release(self, network_id: str, addresses: Iterable[str]) -> None:
        """Idempotent."""
        for text in addresses:
            address = ipaddress.ip_address(text)
            for subnet in self._addresses.get(network_id, ()):
                if address in subnet.subnet:
                    subnet.release(address)


def now() -> str:
    """Docker's time stamps: RFC 3339 with nanoseconds."""
    moment = datetime.datetime.now(datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond:06d}000Z"


def _store(connection: sqlite3.Connection, networks: Iterable[Network]) -> None:
    for network in networks:
        connection.execute(
            "INSERT OR REPLACE INTO networks (id, name, definition) VALUES (?, ?, ?)",
            (network.id, network.name, network.to_json()),
        )
