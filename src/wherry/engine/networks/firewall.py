"""The engine's nftables table: address translation for networks and published ports, isolation between networks.

One table per instance, `inet wherry_<id>`. Its chains never change; a network or a published port is an element of
a set or a map, so a change costs what changed and happens at once or not at all. Pure functions that give documents.

`bridges` all our bridges; `same` pairs of a bridge with itself; `local4/6` pairs of a subnet with its bridge;
`internal` bridges without a way out; `masquerade4/6` subnets that get the host's address on their way out;
`publish4/6` (host address, protocol, port) → (container address, port); `publish_any4/6` the same for all of the
host's addresses.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from wherry.engine.networks.ports import PortMapping
from wherry.host.netlink import IPAddress, IPNetwork
from wherry.host.nftables import elements


@dataclass(frozen=True)
class NetworkRules:
    """What the table must know of one network."""

    bridge: str
    subnets: tuple[IPNetwork, ...]
    internal: bool = False
    masquerade: bool = True


@dataclass(frozen=True)
class PublishedPort:
    """A mapping with the container address that it leads to (of the same family as the mapping's host address)."""

    mapping: PortMapping
    target: IPAddress


_CHAINS = """
table inet {table} {{
    set bridges {{ type ifname; }}
    set same {{ type ifname . ifname; }}
    set internal {{ type ifname; }}
    set local4 {{ type ipv4_addr . ifname; flags interval; }}
    set local6 {{ type ipv6_addr . ifname; flags interval; }}
    set masquerade4 {{ type ipv4_addr; flags interval; }}
    set masquerade6 {{ type ipv6_addr; flags interval; }}
    map publish4 {{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }}
    map publish6 {{ type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service; }}
    map publish_any4 {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}
    map publish_any6 {{ type inet_proto . inet_service : ipv6_addr . inet_service; }}

    chain guard {{
        type filter hook prerouting priority raw; policy accept;
        # The bridges accept routes to 127.0.0.0/8 for the answers to published ports; nothing else may use that.
        iifname @bridges ip daddr 127.0.0.0/8 drop
        iifname @bridges ip saddr 127.0.0.0/8 drop
    }}
    chain publish {{
        meta l4proto != {{ tcp, udp }} return
        ip6 daddr ::1 return
        dnat ip to ip daddr . meta l4proto . th dport map @publish4
        dnat ip6 to ip6 daddr . meta l4proto . th dport map @publish6
        dnat ip to meta l4proto . th dport map @publish_any4
        dnat ip6 to meta l4proto . th dport map @publish_any6
    }}
    chain prerouting {{
        type nat hook prerouting priority dstnat; policy accept;
        fib daddr type local jump publish
    }}
    chain output {{
        type nat hook output priority -100; policy accept;
        fib daddr type local jump publish
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        # Published on the same network, or reached from 127.0.0.1: the answer must come back through the host.
        # (By address: where bridges call iptables, the packet comes here without its input interface.)
        ct status dnat ip saddr . oifname @local4 masquerade
        ct status dnat ip6 saddr . oifname @local6 masquerade
        ct status dnat ip saddr 127.0.0.0/8 oifname @bridges masquerade
        ip saddr @masquerade4 oifname != @bridges masquerade
        ip6 saddr @masquerade6 oifname != @bridges masquerade
    }}
    chain forward {{
        type filter hook forward priority filter; policy accept;
        ct state established,related accept
        iifname . oifname @same accept
        iifname @internal drop
        oifname @internal drop
        ct status dnat accept
        oifname @bridges drop
    }}
}}
"""


def whole_table(table: str, networks: Iterable[NetworkRules], ports: Iterable[PublishedPort]) -> str:
    """A document that replaces whatever the table was, in one transaction."""
    document = f"add table inet {table}\ndelete table inet {table}\n" + _CHAINS.format(table=table)
    for network in networks:
        document += network_elements("add", table, network)
    return document + port_elements("add", table, list(ports))


def network_elements(verb: str, table: str, network: NetworkRules) -> str:
    """`add` or `delete` one network."""
    name = f'"{network.bridge}"'
    document = elements(verb, table, "bridges", [name]) + elements(verb, table, "same", [f"{name} . {name}"])
    if network.internal:
        document += elements(verb, table, "internal", [name])
    for version in (4, 6):
        subnets = [str(subnet) for subnet in network.subnets if subnet.version == version]
        document += elements(verb, table, f"local{version}", [f"{subnet} . {name}" for subnet in subnets])
        if network.masquerade and not network.internal:
            document += elements(verb, table, f"masquerade{version}", subnets)
    return document


def port_elements(verb: str, table: str, ports: Sequence[PublishedPort]) -> str:
    """`add` or `delete` published ports."""
    listed: dict[str, list[str]] = {}
    for port in ports:
        mapping, target = port.mapping, port.target
        any_address = mapping.host_ip in ("0.0.0.0", "::")
        key = f"{mapping.protocol} . {mapping.host_port}"
        if not any_address:
            key = f"{mapping.host_ip} . {key}"
        name = f"publish{'_any' if any_address else ''}{target.version}"
        listed.setdefault(name, []).append(f"{key} : {target} . {mapping.container_port}")
    return "".join(elements(verb, table, name, values) for name, values in listed.items())
