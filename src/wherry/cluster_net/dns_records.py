"""What the cluster's DNS knows: names of Services and pods, out of Services, EndpointSlices and Namespaces.

Specified by "Kubernetes DNS-Based Service Discovery", schema 1.1.0
(https://github.com/kubernetes/dns/blob/master/docs/specification.md). Names are lower case, without the final dot.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from wherry.client.informer import Informer
from wherry.engine.networks.dns_wire import (
    ANY,
    CNAME,
    SRV,
    TXT,
    Record,
    address,
    name_server,
    pointer,
    reverse_address,
    service,
    start_of_authority,
    text,
)
from wherry.schema.resource import Object

TTL = 5
"""Seconds: how long a client may go on with an endpoint that is gone."""
SCHEMA_VERSION = "1.1.0"


@dataclass(frozen=True)
class Found:
    """`exists` tells an empty answer (the name has no such records) from NXDOMAIN. `alias` is an ExternalName's target,
    outside the cluster's zone."""

    exists: bool
    records: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()
    alias: str = ""


_NOTHING = Found(False)


@dataclass(frozen=True)
class _Target:
    """One endpoint of a headless Service: its label, address and (port name, protocol, number)s."""

    label: str
    ip: str
    ports: tuple[tuple[str, str, int], ...]


def endpoint_label(endpoint: Object, ip: str) -> str:
    """The endpoint's hostname, or its address with dashes."""
    return str(endpoint.get("hostname") or ip.replace(".", "-").replace(":", "-")).lower()


def index_addresses(item: Object) -> Iterable[str]:
    """EndpointSlices by every address in them."""
    return [ip for endpoint in item.get("endpoints") or () for ip in endpoint["addresses"]]


def index_cluster_ips(item: Object) -> Iterable[str]:
    """Services by their cluster addresses."""
    return [ip for ip in item["spec"].get("clusterIPs") or [item["spec"].get("clusterIP")] if ip and ip != "None"]


class Zone:
    """Answers for one cluster domain. The informers must have the indexes `service`, `address` and `cluster_ip`."""

    def __init__(self, domain: str, services: Informer, slices: Informer, namespaces: Informer) -> None:
        self.domain = domain.lower().rstrip(".")
        self._services, self._slices, self._namespaces = services, slices, namespaces

    def covers(self, name: str) -> bool:
        return name == self.domain or name.endswith(f".{self.domain}")

    def reverse(self, name: str) -> tuple[Record, ...]:
        """PTR records for a reverse name; empty when the address is none of the cluster's."""
        ip = reverse_address(name)
        if ip is None:
            return ()
        for item in self._services.by_index("cluster_ip", ip):
            metadata = item["metadata"]
            target = f"{metadata['name']}.{metadata['namespace']}.svc.{self.domain}"
            return (pointer(name, target, TTL),)
        records = []
        for piece in self._slices.by_index("address", ip):
            metadata = piece["metadata"]
            service_name = (metadata.get("labels") or {}).get("kubernetes.io/service-name")
            item_ = self._services.get(metadata["namespace"], service_name) if service_name else None
            if item_ is None or not _is_headless(item_):
                continue
            for endpoint in piece.get("endpoints") or ():
                if ip in endpoint["addresses"]:
                    label = endpoint_label(endpoint, ip)
                    target = f"{label}.{service_name}.{metadata['namespace']}.svc.{self.domain}"
                    records.append(pointer(name, target, TTL))
        return tuple(dict.fromkeys(records))

    def find(self, name: str, kind: int) -> Found:
        """`name` is in the zone (`covers`); `kind` is the question's type."""
        labels = name[: -len(self.domain)].rstrip(".").split(".") if name != self.domain else []
        if not labels:
            return Found(True, _matching([start_of_authority(self.domain, TTL), name_server(self.domain, TTL)], kind))
        if labels == ["dns-version"]:
            return Found(True, (text(name, SCHEMA_VERSION, TTL),) if kind in (TXT, ANY) else ())
        if labels[-1] == "pod":
            return self._pod(name, kind, labels[:-1])
        if labels[-1] == "svc":
            return self._service(name, kind, labels[:-1])
        return _NOTHING

    def _pod(self, name: str, kind: int, labels: Sequence[str]) -> Found:
        """`10-42-0-5.default.pod`: the address that the name itself says."""
        if len(labels) < 2:
            return Found(not labels or self._namespaces.get(None, labels[0]) is not None)
        if len(labels) != 2 or self._namespaces.get(None, labels[1]) is None:
            return _NOTHING
        for separator in (".", ":"):
            try:
                ip = str(ipaddress.ip_address(labels[0].replace("-", separator)))
            except ValueError:
                continue
            return Found(True, _matching([address(name, ip, TTL)], kind))
        return _NOTHING

    def _service(self, name: str, kind: int, labels: Sequence[str]) -> Found:
        if len(labels) < 2:
            return Found(not labels or self._namespaces.get(None, labels[0]) is not None)
        *front, service_name, namespace = labels
        item = self._services.get(namespace, service_name)
        if item is None:
            return _NOTHING
        spec = item["spec"]
        if spec.get("type") == "ExternalName":
            target = spec["externalName"].lower().rstrip(".")
            if front:
                return _NOTHING
            return Found(True, (pointer(name, target, TTL, CNAME),), alias=target)
        own = f"{service_name}.{namespace}.svc.{self.domain}"
        if len(front) == 2 and front[0].startswith("_") and front[1].startswith("_"):
            return self._named_port(name, kind, item, own, front[0][1:], front[1][1:])
        if _is_headless(item):
            return self._headless(name, kind, item, own, front)
        if front:
            return _NOTHING
        addresses = [address(name, ip, TTL) for ip in spec.get("clusterIPs") or [spec["clusterIP"]]]
        if kind == SRV:
            services = [service(name, own, port["port"], TTL) for port in spec.get("ports") or ()]
            return Found(True, tuple(services), tuple(addresses))
        return Found(True, _matching(addresses, kind))

    def _named_port(self, name: str, kind: int, item: Object, own: str, port_name: str, protocol: str) -> Found:
        """`_http._tcp.web.default.svc`."""
        spec = item["spec"]
        if _is_headless(item):
            targets = [
                (target, number)
                for target in self._targets(item)
                for known, known_protocol, number in target.ports
                if (known, known_protocol) == (port_name, protocol)
            ]
            if not targets:
                return _NOTHING
            records = [service(name, f"{target.label}.{own}", number, TTL) for target, number in targets]
            extra = [address(f"{target.label}.{own}", target.ip, TTL) for target, _ in targets]
        else:
            numbers = [
                port["port"]
                for port in spec.get("ports") or ()
                if (port.get("name") or "").lower() == port_name and (port.get("protocol") or "TCP").lower() == protocol
            ]
            if not numbers:
                return _NOTHING
            records = [service(name, own, number, TTL) for number in numbers]
            extra = [address(own, ip, TTL) for ip in spec.get("clusterIPs") or [spec["clusterIP"]]]
        if kind not in (SRV, ANY):
            return Found(True)
        return Found(True, tuple(records), tuple(dict.fromkeys(extra)))

    def _headless(self, name: str, kind: int, item: Object, own: str, front: Sequence[str]) -> Found:
        targets = self._targets(item)
        if front:
            targets = [target for target in targets if len(front) == 1 and target.label == front[0]]
            if not targets:
                return _NOTHING
        if kind == SRV:
            records = [
                service(name, f"{target.label}.{own}", number, TTL) for target in targets for *_, number in target.ports
            ]
            extra = [address(f"{target.label}.{own}", target.ip, TTL) for target in targets]
            return Found(True, tuple(records), tuple(extra))
        if not targets:
            # A headless Service without a ready endpoint has no address: the specification leaves NXDOMAIN or an
            # empty answer; CoreDNS says NXDOMAIN, and clients retry on it.
            return _NOTHING
        return Found(True, _matching([address(name, target.ip, TTL) for target in targets], kind))

    def _targets(self, item: Object) -> list[_Target]:
        """Endpoints of a headless Service: the ready ones, or all with publishNotReadyAddresses."""
        metadata = item["metadata"]
        everyone = item["spec"].get("publishNotReadyAddresses")
        found: dict[tuple[str, str], _Target] = {}
        for piece in self._slices.by_index("service", f"{metadata['namespace']}/{metadata['name']}"):
            ports = tuple(
                ((port.get("name") or "").lower(), (port.get("protocol") or "TCP").lower(), port["port"])
                for port in piece.get("ports") or ()
                if port.get("port")
            )
            for endpoint in piece.get("endpoints") or ():
                if not everyone and (endpoint.get("conditions") or {}).get("ready") is False:
                    continue
                for ip in endpoint["addresses"]:
                    label = endpoint_label(endpoint, ip)
                    found[label, ip] = _Target(label, ip, ports)
        return list(found.values())


def _is_headless(item: Object) -> bool:
    return bool(item["spec"].get("clusterIP") == "None")


def _matching(records: Iterable[Record], kind: int) -> tuple[Record, ...]:
    return tuple(record for record in records if kind == ANY or record.type == kind)
