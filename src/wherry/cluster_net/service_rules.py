"""From Services and EndpointSlices to nftables documents. Pure.

A *service port* is one port of one Service: the unit of change. It has a chain of its own that picks an endpoint, and
elements in the table's verdict maps that lead to it: `services` (address, protocol, port), `node_ports` (protocol,
port). What comes from outside the cluster goes by `external` chains, which differ when externalTrafficPolicy is Local.

Specified in the Service API and https://kubernetes.io/docs/reference/networking/virtual-ips/.
"""

import hashlib
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from wherry.host.nftables import elements
from wherry.schema.resource import Object

DEFAULT_AFFINITY_SECONDS = 10800
SERVICE_NAME_LABEL = "kubernetes.io/service-name"


@dataclass(frozen=True, order=True)
class Endpoint:
    ip: str
    port: int
    local: bool = field(default=False, compare=True)

    @property
    def text(self) -> str:
        return f"{self.ip} . {self.port}"


@dataclass(frozen=True)
class ServicePort:
    """What the table holds for one port of one Service. Equal values make equal rules."""

    namespace: str
    service: str
    name: str
    protocol: str
    """`tcp`, `udp` or `sctp`."""
    port: int
    cluster_ips: tuple[str, ...] = ()
    external_ips: tuple[str, ...] = ()
    """externalIPs and load balancer addresses: reached from outside, any port rules apply."""
    node_port: int = 0
    endpoints: tuple[Endpoint, ...] = ()
    """For clients in the cluster."""
    external_endpoints: tuple[Endpoint, ...] = ()
    """For clients from outside; differs with externalTrafficPolicy Local."""
    affinity: int = 0
    """Seconds of ClientIP affinity, or 0."""
    source_ranges: tuple[str, ...] = ()
    """Who may use `balancer_ips`, which are among `external_ips`; everybody when it is empty."""
    balancer_ips: tuple[str, ...] = ()

    @property
    def chain(self) -> str:
        """The name of its chains and sets: a digest, as names may be longer than nftables takes."""
        identity = f"{self.namespace}/{self.service}/{self.name}/{self.protocol}"
        return hashlib.sha256(identity.encode()).hexdigest()[:16]


def service_ports(service: Object, slices: Iterable[Object], node: str) -> list[ServicePort]:
    """Every port of `service` that the proxy serves; none for headless and ExternalName Services.

    Only IPv4. `node` is this node's name, for the Local traffic policies.
    """
    spec = service["spec"]
    cluster_ips = tuple(ip for ip in spec.get("clusterIPs") or [spec.get("clusterIP") or ""] if _is_ipv4(ip))
    if spec.get("type") == "ExternalName" or not cluster_ips:
        return []
    slices = [item for item in slices if item.get("addressType") == "IPv4"]
    metadata = service["metadata"]
    affinity = 0
    if spec.get("sessionAffinity") == "ClientIP":
        config = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
        affinity = int(config.get("timeoutSeconds") or DEFAULT_AFFINITY_SECONDS)
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    balancer = [
        entry["ip"] for entry in ingress if _is_ipv4(entry.get("ip") or "") and entry.get("ipMode", "VIP") != "Proxy"
    ]
    outside = [ip for ip in [*(spec.get("externalIPs") or ()), *balancer] if _is_ipv4(ip) and ip not in cluster_ips]
    external = tuple(dict.fromkeys(outside))
    found = []
    for port in spec.get("ports") or ():
        protocol = (port.get("protocol") or "TCP").lower()
        name = port.get("name") or ""
        everywhere = ready_endpoints(slices, name, protocol, node)
        here = ready_endpoints(slices, name, protocol, node, only_local=True)
        found.append(
            ServicePort(
                namespace=metadata["namespace"],
                service=metadata["name"],
                name=name,
                protocol=protocol,
                port=port["port"],
                cluster_ips=cluster_ips,
                external_ips=external,
                node_port=port.get("nodePort") or 0,
                endpoints=here if spec.get("internalTrafficPolicy") == "Local" else everywhere,
                external_endpoints=here if spec.get("externalTrafficPolicy") == "Local" else everywhere,
                affinity=affinity,
                source_ranges=tuple(spec.get("loadBalancerSourceRanges") or ()),
                balancer_ips=tuple(balancer) if spec.get("loadBalancerSourceRanges") else (),
            )
        )
    return found


def _is_ipv4(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 4
    except ValueError:
        return False


def ready_endpoints(
    slices: Iterable[Object], port_name: str, protocol: str, node: str, *, only_local: bool = False
) -> tuple[Endpoint, ...]:
    """The ready endpoints, or when there is none those that terminate but still serve. Sorted, each once."""
    ready: set[Endpoint] = set()
    serving: set[Endpoint] = set()
    for item in slices:
        numbers = [
            port["port"]
            for port in item.get("ports") or ()
            if (port.get("name") or "") == port_name
            and (port.get("protocol") or "TCP").lower() == protocol
            and port.get("port")
        ]
        for endpoint in item.get("endpoints") or ():
            local = bool(node) and endpoint.get("nodeName") == node
            if only_local and not local:
                continue
            conditions = endpoint.get("conditions") or {}
            made = {Endpoint(ip, number, local) for ip in endpoint["addresses"][:1] for number in numbers}
            # A missing condition means true (EndpointSlice API).
            if conditions.get("ready") is not False:
                ready |= made
            elif conditions.get("serving") and conditions.get("terminating"):
                serving |= made
    return tuple(sorted(ready or serving))


TABLE = """
add table inet {table}
delete table inet {table}
table inet {table} {{
    map services {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
    map node_ports {{ type inet_proto . inet_service : verdict; }}
    set dead {{ type ipv4_addr . inet_proto . inet_service; }}
    set dead_node_ports {{ type inet_proto . inet_service; }}

    chain dispatch {{
        ip daddr . meta l4proto . th dport vmap @services
        fib daddr type local meta l4proto . th dport vmap @node_ports
    }}
    chain prerouting {{
        # Before the published ports of containers and pods: a Service's address may be one of the machine's own.
        type nat hook prerouting priority dstnat - 5; policy accept;
        jump dispatch
    }}
    chain output {{
        type nat hook output priority -105; policy accept;
        jump dispatch
    }}
    chain refuse {{
        ip daddr . meta l4proto . th dport @dead reject
        fib daddr type local meta l4proto . th dport @dead_node_ports reject
    }}
    chain input {{
        type filter hook input priority filter; policy accept;
        ct state new jump refuse
    }}
    chain forward {{
        type filter hook forward priority filter; policy accept;
        ct state new jump refuse
        ip daddr {service_cidr} ct state new reject
    }}
    chain local_output {{
        type filter hook output priority filter; policy accept;
        ct state new jump refuse
        fib daddr type local accept
        ip daddr {service_cidr} ct state new reject
    }}
}}
"""


def whole_table(table: str, service_cidr: str, ports: Iterable[ServicePort]) -> str:
    """Replaces whatever the table was, in one transaction."""
    return TABLE.format(table=table, service_cidr=service_cidr) + "".join(add_port(table, port) for port in ports)


def change(table: str, old: ServicePort | None, new: ServicePort | None) -> str:
    """The document that turns the rules of `old` into those of `new` (None: no such port); "" for no difference.

    Chains are rewritten in place, so a connection that arrives meanwhile meets either the old or the new endpoints.
    """
    if old == new:
        return ""
    document = ""
    if new is not None:
        document += _chains(table, new)
    before, after = _elements(old), _elements(new)
    for name in before:
        document += elements("delete", table, name, [value for value in before[name] if value not in after[name]])
    for name in after:
        document += elements("add", table, name, [value for value in after[name] if value not in before[name]])
    kept = _chain_names(new) if new is not None else {}
    for name in _chain_names(old) if old is not None else ():
        if name not in kept:
            document += f"flush chain inet {table} {name}\n"
    if old is not None:
        # Rules of all chains are gone before the chains: they may lead to one another.
        document += "".join(f"delete chain inet {table} {name}\n" for name in _chain_names(old) if name not in kept)
        sets = set(_affinity_sets(new)) if new is not None else set()
        document += "".join(f"delete set inet {table} {name}\n" for name in _affinity_sets(old) if name not in sets)
    return document


def add_port(table: str, port: ServicePort) -> str:
    return change(table, None, port)


def _endpoint_name(port: ServicePort, endpoint: Endpoint) -> str:
    return f"{port.chain}_{endpoint.ip.replace('.', '_')}_{endpoint.port}"


def _all_endpoints(port: ServicePort) -> list[Endpoint]:
    return sorted({*port.endpoints, *port.external_endpoints})


def _is_external(port: ServicePort) -> bool:
    """Whether anything but the cluster address leads to it."""
    return bool(port.external_ips or port.node_port)


def _is_guarded(port: ServicePort) -> bool:
    return bool(port.source_ranges and port.balancer_ips)


def _affinity_sets(port: ServicePort) -> list[str]:
    return [f"a_{_endpoint_name(port, endpoint)}" for endpoint in _all_endpoints(port)] if port.affinity else []


def _chain_names(port: ServicePort) -> dict[str, None]:
    """In an order in which none leads to a later one."""
    kinds = [*("f" if _is_guarded(port) else ""), *("x" if _is_external(port) else ""), "s"]
    names = dict.fromkeys(f"{kind}_{port.chain}" for kind in kinds)
    if port.affinity:
        names |= dict.fromkeys(f"e_{_endpoint_name(port, endpoint)}" for endpoint in _all_endpoints(port))
    return names


def _chains(table: str, port: ServicePort) -> str:
    document = "".join(
        f"add chain inet {table} {name}\nflush chain inet {table} {name}\n" for name in reversed(_chain_names(port))
    )
    if port.affinity:
        for endpoint in _all_endpoints(port):
            name = _endpoint_name(port, endpoint)
            document += (
                f"add set inet {table} a_{name} "
                f"{{ type ipv4_addr; flags dynamic,timeout; timeout {port.affinity}s; }}\n"
                f"add rule inet {table} e_{name} update @a_{name} {{ ip saddr timeout {port.affinity}s }} "
                f"meta l4proto {port.protocol} dnat ip to {endpoint.ip}:{endpoint.port}\n"
            )
    document += _choice(table, f"s_{port.chain}", port, port.endpoints)
    if not _is_external(port):
        return document
    if _is_guarded(port):
        # An nft set takes no range twice, nor one within another.
        networks = [ipaddress.IPv4Network(text.strip(), strict=False) for text in port.source_ranges if ":" not in text]
        ranges = ", ".join(str(network) for network in ipaddress.collapse_addresses(networks)) or "255.255.255.255"
        document += (
            f"add rule inet {table} f_{port.chain} ip saddr != {{ {ranges} }} drop\n"
            f"add rule inet {table} f_{port.chain} goto x_{port.chain}\n"
        )
    return document + _choice(table, f"x_{port.chain}", port, port.external_endpoints)


def _choice(table: str, chain: str, port: ServicePort, endpoints: Sequence[Endpoint]) -> str:
    """Rules that send a connection to one of `endpoints`, by chance or by the client's earlier choice."""
    if not endpoints:
        return ""
    rule = f"add rule inet {table} {chain} "
    if port.affinity:
        names = [_endpoint_name(port, endpoint) for endpoint in endpoints]
        document = "".join(f"{rule}ip saddr @a_{name} goto e_{name}\n" for name in names)
        targets = ", ".join(f"{number} : goto e_{name}" for number, name in enumerate(names))
        return document + f"{rule}numgen random mod {len(names)} vmap {{ {targets} }}\n"
    if len(endpoints) == 1:
        return f"{rule}meta l4proto {port.protocol} dnat ip to {endpoints[0].ip}:{endpoints[0].port}\n"
    targets = ", ".join(f"{number} : {endpoint.text}" for number, endpoint in enumerate(endpoints))
    chosen = f"numgen random mod {len(endpoints)} map {{ {targets} }}"
    return f"{rule}meta l4proto {port.protocol} dnat ip to {chosen}\n"


def _elements(port: ServicePort | None) -> Mapping[str, list[str]]:
    """The port's elements in each map and set of the table."""
    found: dict[str, list[str]] = {"services": [], "node_ports": [], "dead": [], "dead_node_ports": []}
    if port is None:
        return found
    tail = f"{port.protocol} . {port.port}"
    for ip in port.cluster_ips:
        if port.endpoints:
            found["services"].append(f"{ip} . {tail} : goto s_{port.chain}")
        else:
            found["dead"].append(f"{ip} . {tail}")
    for ip in port.external_ips:
        if port.external_endpoints:
            kind = "f" if _is_guarded(port) and ip in port.balancer_ips else "x"
            found["services"].append(f"{ip} . {tail} : goto {kind}_{port.chain}")
        else:
            found["dead"].append(f"{ip} . {tail}")
    if port.node_port:
        key = f"{port.protocol} . {port.node_port}"
        if port.external_endpoints:
            found["node_ports"].append(f"{key} : goto x_{port.chain}")
        else:
            found["dead_node_ports"].append(key)
    return found


def stale_udp(old: ServicePort | None, new: ServicePort | None) -> tuple[set[tuple[str, int]], set[str]]:
    """What must be forgotten of tracked UDP flows: (addresses that answered and are no endpoints now, the Service's
    addresses whose flows were not translated because there was no endpoint)."""
    port = new or old
    if port is None or port.protocol != "udp":
        return set(), set()
    before = {(e.ip, e.port) for e in _all_endpoints(old)} if old is not None else set()
    after = {(e.ip, e.port) for e in _all_endpoints(new)} if new is not None else set()
    untranslated = {*port.cluster_ips, *port.external_ips} if after and not before else set()
    return before - after, untranslated
