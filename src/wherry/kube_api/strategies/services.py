"""Services: cluster addresses and node ports, given out once and taken back.

An address or port is taken while any service in the cache holds it, or while a write that claims it is under way.
https://kubernetes.io/docs/concepts/services-networking/service/
"""

import ipaddress
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from wherry.kube_api.cache import CacheEvent
from wherry.kube_api.call import Call
from wherry.kube_api.objects import Entry
from wherry.kube_api.strategy import Strategy, keep
from wherry.schema import builtin, errors
from wherry.schema.resource import Object

if TYPE_CHECKING:
    from wherry.kube_api.api import Api

DNS_OFFSET = 10
NODE_PORT_TYPES = ("NodePort", "LoadBalancer")


class ServiceAddresses:
    """What services hold, kept up to date from the cache."""

    def __init__(self, api: "Api", cidr: str, ports: tuple[int, int]) -> None:
        self.network = ipaddress.ip_network(cidr)
        self.ports = ports
        # Where pods find the cluster's DNS, which is no Service here.
        dns = str(self.network[DNS_OFFSET]) if self.network.num_addresses > DNS_OFFSET else ""
        self._addresses: dict[str, tuple[str, str]] = {dns: ("kube-system", "kube-dns")}
        self._ports: dict[tuple[str, int], tuple[str, str]] = {}
        self._claimed: set[str | tuple[str, int]] = set()
        cache = api.cache_of(builtin.SERVICES)
        for entry in cache.entries():
            self._hold(entry)
        cache.listen(self._follow)

    def _follow(self, event: CacheEvent) -> None:
        if event.previous is not None:
            self._free(event.previous)
        if not event.deleted:
            self._hold(event.entry)

    def _hold(self, entry: Entry) -> None:
        owner = (entry.namespace, entry.name)
        spec = entry.peek().get("spec") or {}
        for address in spec.get("clusterIPs") or ():
            self._addresses[address] = owner
        for key in node_ports(spec):
            self._ports[key] = owner

    def _free(self, entry: Entry) -> None:
        owner = (entry.namespace, entry.name)
        spec = entry.peek().get("spec") or {}
        for address in spec.get("clusterIPs") or ():
            if self._addresses.get(address) == owner:
                del self._addresses[address]
        for key in node_ports(spec):
            if self._ports.get(key) == owner:
                del self._ports[key]

    def taken(self, address: str) -> bool:
        return address in self._addresses or address in self._claimed

    def port_taken(self, key: tuple[str, int]) -> bool:
        return key in self._ports or key in self._claimed

    def claim(self, key: str | tuple[str, int]) -> None:
        self._claimed.add(key)

    def release(self, keys: list[str | tuple[str, int]]) -> None:
        self._claimed.difference_update(keys)

    def free_address(self) -> str:
        """A free address, preferably from the upper part of the range (the lower one is for those who choose)."""
        size = self.network.num_addresses - 2
        reserved = min(max(16, size // 16), 256)
        for _ in range(64):
            address = str(self.network[random.randint(min(reserved, size), size)])
            if not self.taken(address):
                return address
        for offset in [*range(reserved, size + 1), *range(2, reserved)]:
            address = str(self.network[offset])
            if not self.taken(address):
                return address
        raise errors.InternalError("failed to allocate a serviceIP: range is full")

    def free_port(self, protocols: set[str]) -> int:
        low, high = self.ports
        reserved = min(max(16, (high - low + 1) // 32), 128)
        candidates = list(range(low + reserved, high + 1))
        for _ in range(64):
            port: int = random.choice(candidates) if candidates else low
            if not any(self.port_taken((protocol, port)) for protocol in protocols):
                return port
        for port in [*candidates, *range(low, low + reserved)]:
            if not any(self.port_taken((protocol, port)) for protocol in protocols):
                return int(port)
        raise errors.InternalError("failed to allocate a nodePort: range is full")


def _check_families(obj: Object, spec: Object) -> None:
    """The cluster has IPv4 addresses only. A headless service without selector may say what it likes."""
    if spec.get("clusterIP") == "None" and not spec.get("selector"):
        return
    causes = [
        errors.Cause(
            "FieldValueInvalid", f'Invalid value: "{family}": not configured on this cluster',
            f"spec.ipFamilies[{index}]",
        )
        for index, family in enumerate(spec.get("ipFamilies") or ())
        if family != "IPv4"
    ]  # fmt: skip
    if spec.get("ipFamilyPolicy") == "RequireDualStack":
        causes.append(
            errors.Cause(
                "FieldValueInvalid",
                'Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services',
                "spec.ipFamilyPolicy",
            )
        )
    if causes:
        raise errors.invalid("", "Service", obj["metadata"]["name"], causes)


def node_ports(spec: Object) -> list[tuple[str, int]]:
    """(protocol, port) of every node port in a service's spec."""
    found = [
        (one.get("protocol") or "TCP", one["nodePort"])
        for one in spec.get("ports") or ()
        if isinstance(one, dict) and one.get("nodePort")
    ]
    if spec.get("healthCheckNodePort"):
        found.append(("TCP", spec["healthCheckNodePort"]))
    return found


class ServiceStrategy(Strategy):
    """See the module."""

    def prepare_create(self, api: "Api", call: Call, obj: Object) -> None:
        super().prepare_create(api, call, obj)
        obj["status"] = {"loadBalancer": {}}

    def prepare_update(self, api: "Api", call: Call, obj: Object, old: Object) -> None:
        super().prepare_update(api, call, obj, old)
        new, before = obj.get("spec"), old["spec"]
        if not isinstance(new, dict):
            return
        if new.get("type") == "ExternalName":
            if before.get("type") != "ExternalName" and new.get("clusterIP") == before.get("clusterIP"):
                for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
                    new.pop(field, None)
            return
        if before.get("type") != "ExternalName":
            changed = new.get("clusterIP") and new["clusterIP"] != before.get("clusterIP")
            if changed and new.get("clusterIPs") == before.get("clusterIPs"):
                # Of a client that knows only the older field: it speaks for both.
                new["clusterIPs"] = [new["clusterIP"]]
            for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
                if not new.get(field):
                    keep(new, before, field)
        if before.get("type") in NODE_PORT_TYPES and new.get("type") in NODE_PORT_TYPES:
            _keep_node_ports(new, before)
        if new.get("type") == "ClusterIP":
            old_ports = set(node_ports(before))
            for port in new.get("ports") or ():
                if (port.get("protocol") or "TCP", port.get("nodePort")) in old_ports:
                    port.pop("nodePort")
        if not _needs_health_port(new) and new.get("healthCheckNodePort") == before.get("healthCheckNodePort"):
            new.pop("healthCheckNodePort", None)

    async def before_write(self, api: "Api", call: Call, obj: Object, old: Object | None) -> Callable[[], None] | None:
        addresses: ServiceAddresses | None = api.services.get("addresses")
        if addresses is None:
            return None
        claims: list[str | tuple[str, int]] = []

        def release() -> None:
            addresses.release(claims)

        try:
            spec = obj.setdefault("spec", {})
            self._addresses(addresses, claims, obj, spec, old)
            self._node_ports(addresses, claims, obj, spec, old)
        except errors.ApiError:
            release()
            raise
        return release

    def _addresses(
        self,
        addresses: ServiceAddresses,
        claims: list[str | tuple[str, int]],
        obj: Object,
        spec: Object,
        old: Object | None,
    ) -> None:
        if spec.get("type") == "ExternalName":
            return
        _check_families(obj, spec)
        held = set(((old or {}).get("spec") or {}).get("clusterIPs") or ())
        wanted = spec.get("clusterIP") or ""
        spec.setdefault("ipFamilyPolicy", "SingleStack")
        spec.setdefault("ipFamilies", ["IPv6" if addresses.network.version == 6 else "IPv4"])
        if wanted == "None":
            spec["clusterIPs"] = ["None"]
            return
        if not wanted:
            wanted = addresses.free_address()
        elif wanted not in held:
            try:
                inside = ipaddress.ip_address(wanted) in addresses.network
            except ValueError:
                inside = False
            why = ""
            if not inside:
                why = (
                    f"failed to allocate IP {wanted}: the provided IP ({wanted}) is not in the valid range. "
                    f"The range of valid IPs is {addresses.network}"
                )
            elif addresses.taken(wanted):
                why = f"failed to allocate IP {wanted}: provided IP is already allocated"
            if why:
                raise errors.invalid(
                    "", "Service", obj["metadata"]["name"],
                    [errors.Cause("FieldValueInvalid", f'Invalid value: ["{wanted}"]: {why}', "spec.clusterIPs")],
                )  # fmt: skip
        if wanted not in held:
            addresses.claim(wanted)
            claims.append(wanted)
        spec["clusterIP"] = wanted
        spec["clusterIPs"] = [wanted]

    def _node_ports(
        self,
        addresses: ServiceAddresses,
        claims: list[str | tuple[str, int]],
        obj: Object,
        spec: Object,
        old: Object | None,
    ) -> None:
        if spec.get("type") not in NODE_PORT_TYPES:
            return
        if spec.get("type") == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is False:
            return
        held = set(node_ports((old or {}).get("spec") or {}))
        given: dict[tuple[str, int], int] = {}
        for index, port in enumerate(spec.get("ports") or ()):
            protocol = port.get("protocol") or "TCP"
            number = port.get("nodePort")
            if not number:
                same = given.get((protocol, port["port"])) or next(
                    (found for (other, service_port), found in given.items()
                     if service_port == port["port"] and other != protocol), None)  # fmt: skip
                number = same or addresses.free_port({protocol})
                port["nodePort"] = number
            elif (protocol, number) not in held:
                self._check_port(addresses, obj, index, protocol, number)
            given[protocol, port["port"]] = number
            if (protocol, number) not in held:
                addresses.claim((protocol, number))
                claims.append((protocol, number))
        if _needs_health_port(spec) and not spec.get("healthCheckNodePort"):
            spec["healthCheckNodePort"] = addresses.free_port({"TCP"})
            addresses.claim(("TCP", spec["healthCheckNodePort"]))
            claims.append(("TCP", spec["healthCheckNodePort"]))

    def _check_port(self, addresses: ServiceAddresses, obj: Object, index: int, protocol: str, number: int) -> None:
        low, high = addresses.ports
        why = ""
        if not low <= number <= high:
            why = f"provided port is not in the valid range. The range of valid ports is {low}-{high}"
        elif addresses.port_taken((protocol, number)):
            why = "provided port is already allocated"
        if why:
            raise errors.invalid(
                "", "Service", obj["metadata"]["name"],
                [errors.Cause("FieldValueInvalid", f"Invalid value: {number}: {why}", f"spec.ports[{index}].nodePort")],
            )  # fmt: skip


def _needs_health_port(spec: Object) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def _keep_node_ports(new: Object, before: Object) -> None:
    """A port that stays the same keeps its node port when the client leaves it out."""
    held = {
        (one.get("protocol") or "TCP", one.get("port")): one.get("nodePort")
        for one in before.get("ports") or ()
        if one.get("nodePort")
    }
    used = {one.get("nodePort") for one in new.get("ports") or ()}
    for port in new.get("ports") or ():
        key = (port.get("protocol") or "TCP", port.get("port"))
        if not port.get("nodePort") and key in held and held[key] not in used:
            port["nodePort"] = held[key]
    if _needs_health_port(new) and not new.get("healthCheckNodePort"):
        keep(new, before, "healthCheckNodePort")
