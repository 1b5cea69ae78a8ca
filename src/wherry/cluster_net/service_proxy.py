"""The service proxy: keeps this node's nftables table equal to what Services and EndpointSlices say.

One transaction per batch of changes, holding only what changed. The table lives in the kernel: while this process is
away, connections go on by the last known endpoints. After a restart the whole table is replaced in one transaction,
once both lists are complete.
"""

import asyncio
import ipaddress
import json
import logging
from collections.abc import Iterable

from wherry.client.api import Client
from wherry.client.informer import Informer
from wherry.cluster_net.service_rules import (
    SERVICE_NAME_LABEL,
    ServicePort,
    change,
    service_ports,
    stale_udp,
    whole_table,
)
from wherry.host.instance import Instance
from wherry.host.netlink import Conntrack, Flow
from wherry.host.nftables import Nftables, NftError
from wherry.schema.builtin import ENDPOINT_SLICES, SERVICES
from wherry.schema.resource import Object

log = logging.getLogger(__name__)

Key = tuple[str, str]
"""(namespace, name) of a Service."""

_UDP = 17
_RETRY_SECONDS = 5.0


def index_service(item: Object) -> Iterable[str]:
    """EndpointSlices by `namespace/service`."""
    metadata = item["metadata"]
    name = (metadata.get("labels") or {}).get(SERVICE_NAME_LABEL)
    return (f"{metadata['namespace']}/{name}",) if name else ()


def is_proxied(service: Object) -> bool:
    """False for Services that ask for another proxy."""
    return "service.kubernetes.io/service-proxy-name" not in (service["metadata"].get("labels") or {})


class ServiceProxy:
    """One node's. `run` works until it is cancelled; the table stays."""

    def __init__(
        self,
        client: Client,
        instance: Instance,
        node_name: str,
        *,
        service_cidr: str,
        services: Informer | None = None,
        slices: Informer | None = None,
    ) -> None:
        """`services` and `slices` may be shared informers that somebody else runs (they then get the index needed)."""
        self._node = node_name
        self._cidr = str(ipaddress.ip_network(service_cidr))
        self.table = f"{instance.nft_table}_svc"
        self.services = services if services is not None else Informer(client, SERVICES)
        self.slices = slices if slices is not None else Informer(client, ENDPOINT_SLICES)
        self.slices.add_index("service", index_service)
        self._run_informers = [
            informer for informer, given in ((self.services, services), (self.slices, slices)) if given is None
        ]
        self._nft = Nftables()
        self._dirty: set[Key] = set()
        self._wake = asyncio.Event()
        self._applied: dict[Key, dict[str, ServicePort]] = {}
        self._health: dict[int, _HealthCheck] = {}
        self.programmed = asyncio.Event()
        """Set once the table holds everything for the first time."""

    async def run(self) -> None:
        self.services.add_handler(self._on_service)
        self.slices.add_handler(self._on_slice)
        async with asyncio.TaskGroup() as group:
            for informer in self._run_informers:
                group.create_task(informer.run())
            await self.services.synced.wait()
            await self.slices.synced.wait()
            try:
                await self._replace()
                while True:
                    await self._wake.wait()
                    self._wake.clear()
                    await self._apply()
            finally:
                for check in self._health.values():
                    check.close()

    async def purge(self) -> None:
        """Remove the table. For when the instance goes away."""
        await asyncio.to_thread(self._nft.delete_table, self.table)

    def _on_service(self, old: Object | None, new: Object | None) -> None:
        metadata = (new or old or {})["metadata"]
        self._touch((metadata["namespace"], metadata["name"]))

    def _on_slice(self, old: Object | None, new: Object | None) -> None:
        for item in (old, new):
            for value in index_service(item) if item is not None else ():
                namespace, _, name = value.partition("/")
                self._touch((namespace, name))

    def _touch(self, key: Key) -> None:
        self._dirty.add(key)
        self._wake.set()

    def _desired(self, key: Key) -> dict[str, ServicePort]:
        service = self.services.get(*key)
        if service is None or not is_proxied(service):
            return {}
        slices = self.slices.by_index("service", f"{key[0]}/{key[1]}")
        return {port.chain: port for port in service_ports(service, slices, self._node)}

    async def _replace(self) -> None:
        self._dirty.clear()
        self._wake.clear()
        wanted = {}
        for service in self.services:
            key = (service["metadata"]["namespace"], service["metadata"]["name"])
            if ports := self._desired(key):
                wanted[key] = ports
        document = whole_table(self.table, self._cidr, (port for ports in wanted.values() for port in ports.values()))
        await asyncio.to_thread(self._nft.run, document)
        self._applied = wanted
        self.programmed.set()
        for key in wanted:
            await self._check_health(key)

    async def _apply(self) -> None:
        keys, self._dirty = self._dirty, set()
        changes: list[tuple[ServicePort | None, ServicePort | None]] = []
        wanted = {key: self._desired(key) for key in keys}
        for key, ports in wanted.items():
            applied = self._applied.get(key, {})
            for chain in applied.keys() | ports.keys():
                if applied.get(chain) != ports.get(chain):
                    changes.append((applied.get(chain), ports.get(chain)))
        # What goes first makes room: two Services may hand an address or a node port from one to the other.
        changes.sort(key=lambda pair: pair[1] is not None)
        if changes:
            document = "".join(change(self.table, old, new) for old, new in changes)
            try:
                await asyncio.to_thread(self._nft.run, document)
            except NftError as error:
                # Somebody changed our table, or two Services claim the same address: start from what is wanted.
                log.warning("service proxy: %s; writing the whole table", error)
                await self._replace_safely()
                return
        for key, ports in wanted.items():
            if ports:
                self._applied[key] = ports
            else:
                self._applied.pop(key, None)
            await self._check_health(key)
        await self._forget_udp(changes)

    async def _replace_safely(self) -> None:
        try:
            await self._replace()
        except NftError as error:
            log.error("service proxy: %s; trying again in %.0f s", error, _RETRY_SECONDS)
            asyncio.get_running_loop().call_later(_RETRY_SECONDS, self._retry)

    def _retry(self) -> None:
        for service in self.services:
            self._touch((service["metadata"]["namespace"], service["metadata"]["name"]))
        for key in self._applied:
            self._touch(key)

    async def _forget_udp(self, changes: Iterable[tuple[ServicePort | None, ServicePort | None]]) -> None:
        """A tracked UDP flow would stick to an endpoint that is gone, as UDP never says goodbye."""
        gone: set[tuple[str, int]] = set()
        untranslated: set[str] = set()
        for old, new in changes:
            left, plain = stale_udp(old, new)
            gone |= left
            untranslated |= plain
        if not gone and not untranslated:
            return

        def stale(flow: Flow) -> bool:
            if flow.protocol != _UDP:
                return False
            answered = (str(flow.reply_source), flow.reply_source_port)
            destination = str(flow.destination)
            return (answered in gone and destination != answered[0]) or (
                destination in untranslated and destination == answered[0]
            )

        def forget() -> int:
            with Conntrack() as conntrack:
                return conntrack.forget(stale)

        try:
            await asyncio.to_thread(forget)
        except OSError as error:
            log.warning("service proxy: cannot forget UDP flows: %s", error)

    async def _check_health(self, key: Key) -> None:
        """Serve `healthCheckNodePort`, where outside load balancers ask whether this node has endpoints."""
        service = self.services.get(*key)
        spec = service["spec"] if service is not None else {}
        number = spec.get("healthCheckNodePort") or 0
        if spec.get("type") != "LoadBalancer" or spec.get("externalTrafficPolicy") != "Local":
            number = 0
        for port, check in list(self._health.items()):
            if check.key == key and port != number:
                check.close()
                del self._health[port]
        if not number:
            return
        local = {e.ip for port in self._applied.get(key, {}).values() for e in port.external_endpoints if e.local}
        if number not in self._health:
            check = _HealthCheck(key)
            try:
                await check.start(number)
            except OSError as error:
                log.warning("health check node port %d of service %s/%s: %s", number, *key, error)
                return
            self._health[number] = check
        self._health[number].endpoints = len(local)


class _HealthCheck:
    """A tiny HTTP server: 200 with local endpoints, 503 without, as kube-proxy's."""

    def __init__(self, key: Key) -> None:
        self.key = key
        self.endpoints = 0
        self._server: asyncio.Server | None = None

    async def start(self, port: int) -> None:
        self._server = await asyncio.start_server(self._serve, None, port)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(5):
                await reader.readuntil(b"\r\n\r\n")
            body = json.dumps(
                {
                    "service": {"namespace": self.key[0], "name": self.key[1]},
                    "localEndpoints": self.endpoints,
                    "serviceProxyHealthy": True,
                }
            ).encode()
            status = "200 OK" if self.endpoints else "503 Service Unavailable"
            head = (
                f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nX-Content-Type-Options: nosniff\r\n"
                f"X-Load-Balancing-Endpoint-Weight: {self.endpoints}\r\nContent-Length: {len(body)}\r\n"
                "Connection: close\r\n\r\n"
            )
            writer.write(head.encode() + body)
            await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return
        finally:
            writer.close()
