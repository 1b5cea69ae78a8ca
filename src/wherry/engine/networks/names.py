"""Names of containers on user-defined networks, and the resolver that each container on one has at 127.0.0.11.

A container answers to its name, its aliases on that network, its short id and its hostname, also with the
network's name appended (`web.shop`). A shared alias answers with all addresses, in changing order. The rest is
forwarded to the host's name servers (or the container's own `--dns`), unless all its networks are internal.

The sockets are the container's own: bound inside its namespace on a port of their own, which rules there put behind
127.0.0.11:53. So port 53 stays free for a name server that the container itself may run.
"""

import contextlib
import random
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from wherry.engine.networks.dns_server import DnsServer, Forwarder
from wherry.engine.networks.dns_wire import (
    AAAA,
    ANY,
    PTR,
    SERVFAIL,
    A,
    Query,
    address,
    pointer,
    response,
    reverse_address,
)
from wherry.engine.networks.files import RESOLVER_ADDRESS
from wherry.host.namespaces import run_inside
from wherry.host.nftables import Nftables, NftError

Sockets: TypeAlias = tuple[socket.socket, socket.socket]
"""UDP and TCP."""

TTL = 600
"""Seconds, as Docker's."""

_RULES = """
table ip wherry_dns {{
    chain output {{
        type nat hook output priority -100;
        ip daddr {address} udp dport 53 dnat to {address}:{udp}
        ip daddr {address} tcp dport 53 dnat to {address}:{tcp}
    }}
}}
"""


@dataclass(frozen=True)
class NamedEndpoint:
    """What the name table knows of one endpoint. `addresses` are without prefix length."""

    container: str
    network: str
    names: tuple[str, ...]
    addresses: tuple[str, ...]


class NameTable:
    """Names per network. Names are compared without regard to case."""

    def __init__(self) -> None:
        self._by_name: dict[tuple[str, str], list[NamedEndpoint]] = {}
        self._by_address: dict[tuple[str, str], NamedEndpoint] = {}

    def add(self, endpoint: NamedEndpoint) -> None:
        for name in dict.fromkeys(name.lower() for name in endpoint.names):
            self._by_name.setdefault((endpoint.network, name), []).append(endpoint)
        for ip in endpoint.addresses:
            self._by_address[endpoint.network, ip] = endpoint

    def remove(self, endpoint: NamedEndpoint) -> None:
        """Idempotent."""
        for name in dict.fromkeys(name.lower() for name in endpoint.names):
            key = (endpoint.network, name)
            left = [other for other in self._by_name.get(key, ()) if other is not endpoint]
            if left:
                self._by_name[key] = left
            else:
                self._by_name.pop(key, None)
        for ip in endpoint.addresses:
            if self._by_address.get((endpoint.network, ip)) is endpoint:
                del self._by_address[endpoint.network, ip]

    def find(self, network: str, name: str) -> list[NamedEndpoint]:
        return self._by_name.get((network, name), [])

    def at(self, network: str, ip: str) -> NamedEndpoint | None:
        return self._by_address.get((network, ip))


@dataclass(frozen=True)
class Scope:
    """What one container can see: its user-defined networks as (id, name), links as name → container name."""

    networks: tuple[tuple[str, str], ...]
    links: dict[str, str]
    forwards: bool


class ContainerResolver:
    """Answers one container's queries out of the name table."""

    def __init__(self, table: NameTable, scope: Callable[[], Scope]) -> None:
        self._table, self._scope = table, scope

    def answer(self, query: Query, tcp: bool) -> bytes | None:
        """None: forward."""
        scope = self._scope()
        limit = None if tcp else query.limit
        if query.type == PTR and (ip := reverse_address(query.name)) is not None:
            for network, network_name in scope.networks:
                if (endpoint := self._table.at(network, ip)) is not None:
                    return response(query, [pointer(query.name, f"{endpoint.names[0]}.{network_name}", TTL)])
        elif (found := self._find(scope, query.name)) and query.type in (A, AAAA, ANY):
            records = [
                record
                for endpoint in found
                for ip in endpoint.addresses
                if (record := address(query.name, ip, TTL)).type == query.type or query.type == ANY
            ]
            random.shuffle(records)
            return response(query, records, limit=limit)
        elif found:
            return response(query)
        return None if scope.forwards else response(query, code=SERVFAIL)

    def _find(self, scope: Scope, name: str) -> list[NamedEndpoint]:
        name = scope.links.get(name, name)
        for network, network_name in scope.networks:
            found = self._table.find(network, name)
            suffix = f".{network_name.lower()}"
            if not found and name.endswith(suffix):
                found = self._table.find(network, name[: -len(suffix)])
            if found:
                return found
        return []


def open_sockets(netns: Path, ports: Sequence[int] = ()) -> Sockets:
    """UDP and TCP sockets inside the namespace, with the rules that lead 127.0.0.11:53 to them. Blocks.

    `ports` are those of an earlier resolver of this namespace: if they are free, its rules still hold. Replacing
    rules makes the kernel wait for some 20 ms, adding them does not.
    """

    def inside() -> Sockets:
        if ports:
            with contextlib.suppress(OSError):
                return _bind(*ports)
        udp, tcp = _bind(0, 0)
        try:
            with Nftables() as nft:
                if ports:
                    nft.delete_table("wherry_dns", "ip")
                nft.run(_RULES.format(address=RESOLVER_ADDRESS, udp=udp.getsockname()[1], tcp=tcp.getsockname()[1]))
        except NftError:
            udp.close()
            tcp.close()
            raise
        return udp, tcp

    return run_inside(netns, inside)


def _bind(udp_port: int, tcp_port: int) -> Sockets:
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        udp.bind((RESOLVER_ADDRESS, udp_port))
        tcp.bind((RESOLVER_ADDRESS, tcp_port))
        tcp.listen(16)
    except OSError:
        udp.close()
        tcp.close()
        raise
    return udp, tcp


async def serve(sockets: Sockets, resolver: ContainerResolver, servers: Iterable[str]) -> DnsServer:
    server = DnsServer(*sockets, resolver.answer, Forwarder(tuple(servers)))
    await server.start()
    return server
