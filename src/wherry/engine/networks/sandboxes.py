"""One container's sandbox: its endpoints and published ports as records, their wiring in the kernel, and the record's
file.

The records live in `<run>/networks/<container id>.json`, not in the database: they describe kernel state, which a
killed process leaves behind and a reboot takes away, and so does a file below `run`.
"""

import contextlib
import ipaddress
import json
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from wherry.engine.errors import InvalidParameter
from wherry.engine.networks import checks
from wherry.engine.networks.firewall import PublishedPort
from wherry.engine.networks.ports import PortMapping
from wherry.engine.networks.types import NetworkRequest
from wherry.host.namespaces import run_inside, write_sysctl
from wherry.host.netlink import (
    Message,
    Netlink,
    add_address,
    add_forwarding,
    add_route,
    add_veth,
    delete_link,
    set_bridge_port,
    set_link,
)

DEFAULT_SYSCTLS: Mapping[str, str] = {
    # As Docker: a container's own network is its own, so low ports and ping need no privilege there.
    "net.ipv4.ip_unprivileged_port_start": "0",
    "net.ipv4.ping_group_range": "0 2147483647",
    "net.ipv6.conf.default.disable_ipv6": "1",
    # A hairpin port sends our own probes back to us, which would look like a duplicate.
    "net.ipv6.conf.default.accept_dad": "0",
}


@dataclass
class Endpoint:
    """A sandbox's interface on one network. Addresses carry their prefix length (`172.17.0.2/16`), gateways do not."""

    id: str
    network_id: str
    network_name: str
    config: dict[str, Any]
    """The endpoint config as the client gave it."""
    interface: str
    link: str
    """The host's end of the veth pair."""
    mac: str
    address: str
    gateway: str
    address6: str = ""
    gateway6: str = ""
    internal: bool = False
    names: list[str] = field(default_factory=list)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Without prefix lengths."""
        return tuple(text.partition("/")[0] for text in (self.address, self.address6) if text)

    @property
    def interface_addresses(self) -> list[ipaddress.IPv4Interface | ipaddress.IPv6Interface]:
        """All that the interface gets: its own, and the link-local ones that the client asked for."""
        own = [ipaddress.ip_interface(text) for text in (self.address, self.address6) if text]
        asked = [ipaddress.ip_address(text) for text in (self.config.get("IPAMConfig") or {}).get("LinkLocalIPs") or ()]
        return own + [ipaddress.ip_interface(f"{found}/{16 if found.version == 4 else 64}") for found in asked]

    def shown(self, aliases_too: bool = True) -> dict[str, Any]:
        """`NetworkSettings.Networks[name]` of `docker inspect`."""
        ip, _, length = self.address.partition("/")
        ip6, _, length6 = self.address6.partition("/")
        return {
            "IPAMConfig": self.config.get("IPAMConfig"),
            "Links": self.config.get("Links"),
            "Aliases": self.config.get("Aliases"),
            "MacAddress": self.mac,
            "DriverOpts": self.config.get("DriverOpts"),
            "GwPriority": self.config.get("GwPriority") or 0,
            "NetworkID": self.network_id,
            "EndpointID": self.id,
            "Gateway": self.gateway,
            "IPAddress": ip,
            "IPPrefixLen": int(length or 0),
            "IPv6Gateway": self.gateway6,
            "GlobalIPv6Address": ip6,
            "GlobalIPv6PrefixLen": int(length6 or 0),
            "DNSNames": list(self.names) if aliases_too else None,
        }


@dataclass
class Sandbox:
    """Everything that must be known to serve and to take down one container's network."""

    request: NetworkRequest
    netns: Path
    endpoints: list[Endpoint] = field(default_factory=list)
    ports: list[PortMapping] = field(default_factory=list)
    resolver: list[int] = field(default_factory=list)
    """UDP and TCP port of its resolver's sockets; empty without one."""

    @property
    def id(self) -> str:
        return self.request.container_id

    def endpoint(self, network_id: str) -> Endpoint | None:
        return next((endpoint for endpoint in self.endpoints if endpoint.network_id == network_id), None)

    def gateway_endpoint(self, version: int = 4) -> Endpoint | None:
        """The endpoint that traffic to elsewhere leaves by: highest GwPriority, then the network's name."""
        able = [
            endpoint
            for endpoint in self.endpoints
            if not endpoint.internal and (endpoint.gateway if version == 4 else endpoint.gateway6)
        ]
        return min(able, key=lambda e: (-int(e.config.get("GwPriority") or 0), e.network_name), default=None)

    def published(self) -> list[PublishedPort]:
        """Mappings with where they lead; none for an IPv6 mapping of an IPv4-only container: the relay serves it."""
        way_in = self.gateway_endpoint() or (self.endpoints[0] if self.endpoints else None)
        way_in6 = self.gateway_endpoint(6)
        found = []
        for mapping in self.ports:
            version = ipaddress.ip_address(mapping.host_ip).version
            endpoint = way_in if version == 4 else way_in6
            text = (endpoint.address if version == 4 else endpoint.address6) if endpoint else ""
            if text:
                found.append(PublishedPort(mapping, ipaddress.ip_interface(text).ip))
        return found

    def save(self, directory: Path) -> None:
        """Complete or not at all, also when the process is killed."""
        document = {
            "request": asdict(self.request),
            "netns": str(self.netns),
            "endpoints": [asdict(endpoint) for endpoint in self.endpoints],
            "ports": [asdict(port) for port in self.ports],
            "resolver": self.resolver,
        }
        temporary = directory / f".{self.id}.tmp"
        temporary.write_text(json.dumps(document))
        temporary.rename(directory / f"{self.id}.json")

    @staticmethod
    def load(path: Path) -> "Sandbox":
        """Raises ValueError for a file that is not one of ours."""
        try:
            stored = json.loads(path.read_text())
            return Sandbox(
                request=NetworkRequest(**stored["request"]),
                netns=Path(stored["netns"]),
                endpoints=[Endpoint(**endpoint) for endpoint in stored["endpoints"]],
                ports=[PortMapping(**port) for port in stored["ports"]],
                resolver=stored["resolver"],
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path}: {error}") from error


def mac_for(address: str) -> str:
    """02:42 and the IPv4 address: the same address always has the same MAC, so no neighbour's cache goes stale."""
    return "02:42:" + ipaddress.ip_interface(address).ip.packed[-4:].hex(":")


def random_token() -> str:
    return secrets.token_hex(4)


def wire(
    host: Netlink,
    inside: Netlink,
    netns: int,
    endpoints: Sequence[tuple[Endpoint, int, int, bool]],
    gateways: Iterable[tuple[Endpoint, int]],
) -> None:
    """Plug `endpoints` in and set the default routes. Blocks for about a millisecond per endpoint.

    `endpoints` are (endpoint, bridge index, mtu, may talk to its neighbours); `gateways` (endpoint, IP version).
    `inside` is a socket in the namespace, `netns` a descriptor of it.
    """
    if endpoints:
        host.batch(
            [
                add_veth(e.link, peer=e.interface, peer_netns=netns, peer_mac=e.mac, master=bridge, mtu=mtu)
                for e, bridge, mtu, _ in endpoints
            ]
        )
    with_ipv6 = [e.interface for e, *_ in endpoints if any(one.version == 6 for one in e.interface_addresses)]
    if with_ipv6:
        run_inside(netns, lambda: _allow_ipv6(with_ipv6))
    messages: list[Message] = []
    indexes: dict[str, int] = {}
    for e, *_ in endpoints:
        index = indexes[e.interface] = inside.index(e.interface)
        messages.append(set_link(index, up=True))
        messages += [add_address(index, address) for address in e.interface_addresses]
    for e, version in gateways:
        index = indexes.get(e.interface) or inside.index(e.interface)
        everywhere = ipaddress.ip_network("0.0.0.0/0" if version == 4 else "::/0")
        gateway = ipaddress.ip_address(e.gateway if version == 4 else e.gateway6)
        messages.append(add_route(everywhere, index=index, gateway=gateway))
    inside.batch(messages)
    own_sysctls: dict[str, str] = {}
    for e, *_ in endpoints:
        own_sysctls |= checks.interface_sysctls(e.config, e.interface)
    if own_sysctls:
        set_sysctls(netns, own_sysctls)
    ports: list[Message] = []
    for e, _, _, icc in endpoints:
        index = host.index(e.link)
        ports.append(add_forwarding(index, e.mac))
        # Hairpin: where bridges call iptables, a container that uses its own published port is bridged, not routed.
        ports.append(set_bridge_port(index, hairpin=True, isolated=None if icc else True))
    host.batch(ports)


def _allow_ipv6(interfaces: Iterable[str]) -> None:
    for name in interfaces:
        write_sysctl(f"net.ipv6.conf.{name.replace('.', '/')}.disable_ipv6", "0")


def set_sysctls(netns: Path | int, values: Mapping[str, str]) -> None:
    """Write `net.*` sysctls inside. Blocks. Raises InvalidParameter naming the one that failed."""

    def inside() -> None:
        for name, value in values.items():
            write_sysctl(name, value)

    try:
        run_inside(netns, inside)
    except OSError as error:
        raise InvalidParameter(f"cannot set {error.strerror or error}") from error


def unplug(host: Netlink, links: Iterable[str]) -> None:
    """Delete host ends (and with them the other ends). Blocks for some 10 ms. Idempotent."""
    host.batch([delete_link(link) for link in links])


def free_interface(prefix: str, taken: Iterable[str]) -> str:
    """`eth0`, or the first number that is free."""
    names = set(taken)
    number = 0
    while f"{prefix}{number}" in names:
        number += 1
    return f"{prefix}{number}"


def close_descriptor(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        os.close(descriptor)
