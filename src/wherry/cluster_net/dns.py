"""The cluster's DNS server: one per node, in the node's process, on the service range's tenth address.

That address is on the pod bridge, so pods reach it without translation. Names of the cluster are answered from
informers' caches, which outlive the API server; everything else is forwarded to the host's name servers and cached for
as long as the answers allow, at most `CACHE_SECONDS`.
"""

import asyncio
import ipaddress
import logging
import random
import socket
import time
from collections import OrderedDict
from collections.abc import Sequence

from wherry.client.api import Client
from wherry.client.informer import Informer
from wherry.cluster_net.addresses import dns_address
from wherry.cluster_net.dns_records import TTL, Found, Zone, index_addresses, index_cluster_ips
from wherry.cluster_net.service_proxy import index_service
from wherry.engine.networks.dns_server import DnsServer, Forwarder
from wherry.engine.networks.dns_wire import (
    NXDOMAIN,
    PTR,
    REFUSED,
    SERVFAIL,
    Query,
    read_answers,
    response,
    retarget,
    shortest_ttl,
    start_of_authority,
)
from wherry.engine.networks.files import read_host_resolv_conf
from wherry.host.netlink import Netlink, add_address, delete_address
from wherry.schema.builtin import ENDPOINT_SLICES, NAMESPACES, SERVICES

log = logging.getLogger(__name__)

CACHE_SECONDS = 30
CACHE_ENTRIES = 4096
DEFAULT_DOMAIN = "cluster.local"


class CachingForwarder(Forwarder):
    """Keeps answers; several clients that ask the same at once cause one query."""

    def __init__(self, servers: Sequence[str]) -> None:
        super().__init__(servers)
        self._kept: OrderedDict[tuple[bytes, bool, bool], tuple[float, bytes]] = OrderedDict()
        self._asking: dict[tuple[bytes, bool, bool], asyncio.Future[bytes]] = {}

    async def ask(self, query: Query, tcp: bool) -> bytes:
        key = (query.question.lower(), query.edns, tcp)
        kept = self._kept.get(key)
        if kept is not None and kept[0] > time.monotonic():
            return query.raw[:2] + kept[1][2:]
        if key not in self._asking:
            self._asking[key] = asyncio.ensure_future(super().ask(query, tcp))
            self._asking[key].add_done_callback(lambda done: self._keep(key, done))
        answer = await asyncio.shield(self._asking[key])
        return query.raw[:2] + answer[2:]

    def _keep(self, key: tuple[bytes, bool, bool], done: asyncio.Future[bytes]) -> None:
        del self._asking[key]
        if done.cancelled() or done.exception() is not None:
            return
        answer = done.result()
        seconds = min(shortest_ttl(answer), CACHE_SECONDS)
        if seconds <= 0 or answer[3] & 0x0F not in (0, NXDOMAIN) or answer[2] & 0x02:
            return
        self._kept[key] = (time.monotonic() + seconds, answer)
        self._kept.move_to_end(key)
        while len(self._kept) > CACHE_ENTRIES:
            self._kept.popitem(last=False)


class ClusterDNS:
    """`run` serves until it is cancelled."""

    def __init__(
        self,
        client: Client,
        *,
        service_cidr: str,
        bridge: str,
        domain: str = DEFAULT_DOMAIN,
        address: str | None = None,
        upstream: Sequence[str] | None = None,
        port: int = 53,
        services: Informer | None = None,
        slices: Informer | None = None,
        namespaces: Informer | None = None,
    ) -> None:
        """`bridge` is the pod bridge, which gets `address` (default: the tenth of `service_cidr`);
        with bridge "" the address must be there already. `upstream` defaults to the host's name servers.
        Informers may be shared ones that somebody else runs."""
        self.address = address or dns_address(service_cidr)
        self._bridge, self._port = bridge, port
        self.services = services if services is not None else Informer(client, SERVICES)
        self.slices = slices if slices is not None else Informer(client, ENDPOINT_SLICES)
        self.namespaces = namespaces if namespaces is not None else Informer(client, NAMESPACES)
        self._run_informers = [
            informer
            for informer, given in ((self.services, services), (self.slices, slices), (self.namespaces, namespaces))
            if given is None
        ]
        self.services.add_index("cluster_ip", index_cluster_ips)
        self.slices.add_index("service", index_service)
        self.slices.add_index("address", index_addresses)
        self.zone = Zone(domain, self.services, self.slices, self.namespaces)
        servers = upstream if upstream is not None else read_host_resolv_conf().nameservers
        # Never ask ourselves.
        self._forwarder = CachingForwarder([server for server in servers if server != self.address])
        self.serving = asyncio.Event()
        """Set while queries are answered."""

    async def run(self) -> None:
        udp, tcp = await asyncio.to_thread(self._bind)
        server = DnsServer(udp, tcp, self.answer, self._forwarder)
        try:
            await server.start()
            async with asyncio.TaskGroup() as group:
                for informer in self._run_informers:
                    group.create_task(informer.run())
                for informer in (self.services, self.slices, self.namespaces):
                    await informer.synced.wait()
                self.serving.set()
                await asyncio.Event().wait()  # until cancelled
        finally:
            self.serving.clear()
            server.close()

    def _bind(self) -> tuple[socket.socket, socket.socket]:
        if self._bridge:
            with Netlink() as netlink:
                own = ipaddress.ip_interface(self.address)
                netlink.batch([add_address(netlink.index(self._bridge), own)])
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        udp = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        tcp = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            udp.bind((self.address, self._port))
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tcp.bind((self.address, self._port))
            tcp.listen(128)
        except OSError:
            udp.close()
            tcp.close()
            raise
        return udp, tcp

    def release(self) -> None:
        """Take the address off the bridge. Blocks. For when the instance goes away."""
        with Netlink() as netlink:
            link = netlink.link(self._bridge)
            if link is not None:
                netlink.batch([delete_address(link.index, ipaddress.ip_interface(self.address))])

    def answer(self, query: Query, tcp: bool) -> bytes | asyncio.Future[bytes] | None:
        """None: forward. A future: an ExternalName, whose target is asked for elsewhere."""
        limit = None if tcp else query.limit
        if self.zone.covers(query.name):
            if query.question[-2:] != b"\0\x01":
                return response(query, code=REFUSED)
            if not self.services.synced.is_set() or not self.slices.synced.is_set():
                # Not knowing yet is not the same as knowing that there is none.
                return response(query, code=SERVFAIL)
            found = self.zone.find(query.name, query.type)
            if found.alias:
                return asyncio.ensure_future(self._follow(query, found, tcp))
            return self._respond(query, found, limit)
        if query.type == PTR and (records := self.zone.reverse(query.name)):
            return response(query, records, limit=limit, authoritative=True)
        return None

    def _respond(self, query: Query, found: Found, limit: int | None) -> bytes:
        if found.records:
            records = list(found.records)
            random.shuffle(records)
            return response(query, records, additional=found.additional, limit=limit, authoritative=True)
        authority = [start_of_authority(self.zone.domain, TTL)]
        code = 0 if found.exists else NXDOMAIN
        return response(query, code=code, authority=authority, limit=limit, authoritative=True)

    async def _follow(self, query: Query, found: Found, tcp: bool) -> bytes:
        """The CNAME with what its target answers, as CoreDNS does: many resolvers do not follow by themselves."""
        limit = None if tcp else query.limit
        if query.type == 5:
            return response(query, found.records, limit=limit, authoritative=True)
        target = retarget(query, found.alias)
        if self.zone.covers(found.alias):
            inner = self.zone.find(found.alias, query.type)
            records = () if inner.alias else inner.records
            return response(query, [*found.records, *records], limit=limit, authoritative=True)
        answer = await self._forwarder.ask(target, tcp)
        return response(query, [*found.records, *read_answers(answer)], limit=limit)
