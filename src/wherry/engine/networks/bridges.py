"""The host's side of a bridge network: the interface, its addresses and sysctls. Everything here blocks.

What it changes on the host besides its own bridges, because containers cannot reach anything otherwise:
`net.ipv4.ip_forward=1`, and with IPv6 networks `net.ipv6.conf.all.forwarding=1` (interfaces that took their routes from
router advertisements keep doing so: `accept_ra=2`).
"""

import fcntl
import ipaddress
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from wherry.engine.errors import Conflict
from wherry.engine.networks.definitions import Network
from wherry.host.namespaces import read_sysctl, write_sysctl
from wherry.host.netlink import IPNetwork, Link, Netlink, add_address, add_bridge, delete_link, set_alias

_POOL_LOCK = Path("/run/wherry-pools.lock")


@contextmanager
def pools_locked() -> Iterator[None]:
    """One instance at a time chooses a free subnet and makes the bridge that shows it as used."""
    descriptor = os.open(_POOL_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def networks_in_use(netlink: Netlink, nameservers: Iterable[str], but_links: Iterable[str] = ()) -> list[IPNetwork]:
    """Subnets that some interface, route or name server of this machine uses, except those of `but_links`."""
    skipped = {link.index for link in netlink.links() if link.name in set(but_links)}
    used: list[IPNetwork] = [
        route.destination for route in netlink.routes() if route.destination.prefixlen and route.index not in skipped
    ]
    used += [address.network for index, address in netlink.addresses() if index not in skipped]
    for server in nameservers:
        try:
            used.append(ipaddress.ip_network(server.split("%")[0]))
        except ValueError:
            continue
    return used


def way_out_mtu(netlink: Netlink) -> int:
    """The MTU of the interface that the default route uses, at most 1500."""
    indexes = {route.index for route in netlink.routes() if not route.destination.prefixlen}
    return min([1500, *(link.mtu for link in netlink.links() if link.index in indexes and link.mtu >= 1280)])


def is_ours(link: Link, alias: str) -> bool:
    """A bridge that this instance made: by its alias `wherry <id>`, or by a name that carries the id."""
    return link.kind == "bridge" and (link.alias == alias or link.name.startswith("wh" + alias.rpartition(" ")[2]))


def ensure_bridge(netlink: Netlink, network: Network, alias: str) -> int:
    """Make the bridge, or take over one that a former run made (known by its `alias`). Returns its index.

    Raises Conflict when an interface of that name is no bridge or somebody else's.
    """
    found = netlink.link(network.bridge)
    if found is not None and not is_ours(found, alias):
        raise Conflict(f"an interface named {network.bridge} exists already")
    if found is None:
        mtu = network.mtu or way_out_mtu(netlink)
        netlink.batch([add_bridge(network.bridge, mtu=mtu), set_alias(network.bridge, alias)])
        index = netlink.index(network.bridge)
    else:
        index = found.index
    conf6 = f"net.ipv6.conf.{network.bridge.replace('.', '/')}"
    write_sysctl(f"net.ipv4.conf.{network.bridge.replace('.', '/')}.route_localnet", "1")
    if read_sysctl("net.ipv6.conf.all.disable_ipv6") is not None:
        write_sysctl(f"{conf6}.accept_ra", "0")
        write_sysctl(f"{conf6}.disable_ipv6", "0" if network.ipv6 else "1")
    here = {address for at, address in netlink.addresses() if at == index}
    addresses = []
    for entry in network.subnets:
        subnet = ipaddress.ip_network(entry["Subnet"])
        if subnet.version == 4 and network.flag("inhibit_ipv4", False):
            continue
        address = ipaddress.ip_interface(f"{entry['Gateway']}/{subnet.prefixlen}")
        if address not in here:
            addresses.append(add_address(index, address))
    netlink.batch(addresses)
    return index


def remove_bridge(netlink: Netlink, name: str, alias: str) -> None:
    """Idempotent; leaves an interface of that name alone that is not ours."""
    found = netlink.link(name)
    if found is not None and is_ours(found, alias):
        netlink.batch([delete_link(name)])


def enable_forwarding(ipv6: bool) -> None:
    if read_sysctl("net.ipv4.ip_forward") != "1":
        write_sysctl("net.ipv4.ip_forward", "1")
    if ipv6 and read_sysctl("net.ipv6.conf.all.forwarding") != "1":
        for conf in Path("/proc/sys/net/ipv6/conf").iterdir():
            name = f"net.ipv6.conf.{conf.name.replace('.', '/')}.accept_ra"
            if conf.name not in ("all", "lo") and read_sysctl(name) == "1":
                write_sysctl(name, "2")
        write_sysctl("net.ipv6.conf.all.forwarding", "1")
