"""IPAM: which subnet a network gets, and which address an endpoint gets.

A *pool* is a range that subnets are cut from; a *subnet* is one network's addresses; its *range* is the part that
addresses are handed out from without being asked for by number; an *auxiliary* address is never handed out.
Pure: what is in use on the machine is passed in.
"""

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from wherry.engine.errors import Conflict, EngineError, Forbidden, InvalidParameter
from wherry.host.netlink import IPAddress, IPNetwork


@dataclass(frozen=True)
class Pool:
    base: IPNetwork
    size: int
    """Prefix length of the subnets cut from it."""

    def subnets(self) -> Iterator[IPNetwork]:
        yield from self.base.subnets(new_prefix=self.size)


DEFAULT_POOLS: tuple[Pool, ...] = (
    Pool(ipaddress.ip_network("172.17.0.0/16"), 16),
    Pool(ipaddress.ip_network("172.18.0.0/16"), 16),
    Pool(ipaddress.ip_network("172.19.0.0/16"), 16),
    Pool(ipaddress.ip_network("172.20.0.0/14"), 16),
    Pool(ipaddress.ip_network("172.24.0.0/14"), 16),
    Pool(ipaddress.ip_network("172.28.0.0/14"), 16),
    Pool(ipaddress.ip_network("192.168.0.0/16"), 20),
)
"""Docker's own (dockerd --default-address-pool)."""


def unique_local_pool(seed: bytes) -> Pool:
    """The instance's IPv6 pool: a /48 below fd00::/8 made from five bytes of `seed`, cut into /64s (RFC 4193)."""
    return Pool(ipaddress.ip_network((b"\xfd" + seed[:5] + bytes(10), 48)), 64)


def overlapping(subnet: IPNetwork, used: Iterable[IPNetwork]) -> IPNetwork | None:
    """The first of `used` that shares an address with `subnet`."""
    for other in used:
        if other.version == subnet.version and subnet.overlaps(other):
            return other
    return None


def choose_subnet(pools: Iterable[Pool], used: Iterable[IPNetwork]) -> IPNetwork:
    """The first subnet of `pools` that overlaps nothing in `used`. Raises EngineError when there is none."""
    taken = [network for network in used if network.prefixlen]
    for pool in pools:
        near = [network for network in taken if network.version == pool.base.version and network.overlaps(pool.base)]
        for subnet in pool.subnets():
            if overlapping(subnet, near) is None:
                return subnet
    raise EngineError("all predefined address pools have been fully subnetted")


def _within(inner: IPNetwork, outer: IPNetwork) -> bool:
    if isinstance(inner, ipaddress.IPv4Network):
        return isinstance(outer, ipaddress.IPv4Network) and inner.subnet_of(outer)
    return isinstance(outer, ipaddress.IPv6Network) and inner.subnet_of(outer)


class Subnet:
    """One subnet's addresses. Addresses are given out lowest first, as Docker does."""

    def __init__(
        self,
        subnet: IPNetwork,
        *,
        ip_range: IPNetwork | None = None,
        gateway: IPAddress | None = None,
        auxiliary: Mapping[str, IPAddress] | None = None,
    ) -> None:
        """`gateway` defaults to the first address of the range. Raises InvalidParameter for what lies outside."""
        self.subnet = subnet
        self.range = ip_range or subnet
        if ip_range is not None and not _within(ip_range, subnet):
            raise InvalidParameter(f"invalid network config:\ninvalid subnet {subnet}: invalid ip-range {ip_range}: "
                                   f"parent subnet is an IPv{subnet.version} block; no overlap")  # fmt: skip
        self._used: set[int] = set()
        first, last = int(subnet.network_address), int(subnet.broadcast_address)
        plain = subnet.prefixlen < subnet.max_prefixlen - 1
        self._first = first + 1 if plain else first
        self._last = last - 1 if plain and subnet.version == 4 else last
        self._next = max(int(self.range.network_address), self._first)
        for name, address in (auxiliary or {}).items():
            if address not in subnet:
                raise InvalidParameter(
                    f"invalid network config:\ninvalid subnet {subnet}: invalid auxiliary address {name}: "
                    f"parent subnet doesn't contain this address"
                )
            self._used.add(int(address))
        if gateway is not None and gateway not in subnet:
            raise InvalidParameter(
                f"invalid network config:\ninvalid subnet {subnet}: invalid gateway {gateway}: "
                "parent subnet doesn't contain this address"
            )
        if gateway is not None:
            self._used.add(int(gateway))
        self.gateway: IPAddress = gateway if gateway is not None else self.allocate()

    def allocate(self, wanted: IPAddress | None = None) -> IPAddress:
        """The lowest free address of the range, or `wanted` from anywhere in the subnet.

        Raises Forbidden ("Address already in use"), InvalidParameter (outside the subnet), Conflict (none left).
        """
        if wanted is not None:
            number = int(wanted)
            if wanted not in self.subnet:
                raise InvalidParameter(
                    "invalid config for network: invalid endpoint settings:\n"
                    f"no configured subnet contains IP address {wanted}"
                )
            if number in self._used or not self._first <= number <= self._last:
                raise Forbidden("Address already in use")
            self._used.add(number)
            return wanted
        last = min(int(self.range.broadcast_address), self._last)
        number = self._next
        while number in self._used:
            number += 1
        if number > last:
            raise Conflict("no available addresses")
        self._used.add(number)
        self._next = number + 1
        return ipaddress.ip_address(self.subnet.network_address.__class__(number))

    def reserve(self, address: IPAddress) -> None:
        """Mark as given out, whatever it was: what an adopted endpoint has."""
        self._used.add(int(address))

    def release(self, address: IPAddress) -> None:
        """Idempotent. The gateway stays taken."""
        number = int(address)
        if address == self.gateway or number not in self._used:
            return
        self._used.discard(number)
        if int(self.range.network_address) <= number < self._next:
            self._next = max(number, self._first)
