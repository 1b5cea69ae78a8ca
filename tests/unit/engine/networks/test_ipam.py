import ipaddress
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.engine.errors import Conflict, EngineError, Forbidden, InvalidParameter
from wherry.engine.networks.ipam import DEFAULT_POOLS, Pool, Subnet, choose_subnet, unique_local_pool


def test_the_first_default_pool_is_dockers() -> None:
    assert choose_subnet(DEFAULT_POOLS, []) == ip_network("172.17.0.0/16")


def test_subnets_in_use_are_skipped_and_the_default_route_is_not_a_use() -> None:
    used = [
        ip_network("0.0.0.0/0"),
        ip_network("172.17.5.0/24"),
        ip_network("172.16.0.0/15"),
        ip_network("172.18.0.1/32"),
    ]
    assert choose_subnet(DEFAULT_POOLS, used) == ip_network("172.19.0.0/16")


def test_after_the_sixteens_come_twenties_of_192_168() -> None:
    assert choose_subnet(DEFAULT_POOLS, [ip_network("172.16.0.0/12")]) == ip_network("192.168.0.0/20")


def test_exhausted_pools_are_an_error() -> None:
    with pytest.raises(EngineError, match="all predefined address pools have been fully subnetted"):
        choose_subnet([Pool(ip_network("10.0.0.0/24"), 24)], [ip_network("10.0.0.0/8")])


def test_the_gateway_is_the_first_address_and_containers_get_the_lowest_free() -> None:
    subnet = Subnet(ip_network("172.17.0.0/16"))
    assert subnet.gateway == ip_address("172.17.0.1")
    first, second = subnet.allocate(), subnet.allocate()
    assert (str(first), str(second)) == ("172.17.0.2", "172.17.0.3")
    subnet.release(first)
    assert subnet.allocate() == first


def test_a_range_bounds_what_is_given_out_but_not_what_is_asked_for() -> None:
    subnet = Subnet(
        ip_network("10.1.0.0/16"), ip_range=ip_network("10.1.5.0/30"), gateway=ip_address("10.1.0.1"),
        auxiliary={"router": ip_address("10.1.5.1")},
    )  # fmt: skip
    assert [str(subnet.allocate()) for _ in range(3)] == ["10.1.5.0", "10.1.5.2", "10.1.5.3"]
    with pytest.raises(Conflict):
        subnet.allocate()
    assert subnet.allocate(ip_address("10.1.9.9")) == ip_address("10.1.9.9")


@pytest.mark.parametrize("taken", ["10.0.0.1", "10.0.0.0", "10.0.0.255"])
def test_gateway_network_and_broadcast_addresses_are_never_given(taken: str) -> None:
    with pytest.raises(Forbidden, match="Address already in use"):
        Subnet(ip_network("10.0.0.0/24")).allocate(ip_address(taken))


def test_addresses_outside_are_refused() -> None:
    with pytest.raises(InvalidParameter, match="no configured subnet contains IP address"):
        Subnet(ip_network("10.0.0.0/24")).allocate(ip_address("10.0.1.5"))
    with pytest.raises(InvalidParameter, match="invalid gateway"):
        Subnet(ip_network("10.0.0.0/24"), gateway=ip_address("10.0.1.1"))


def test_ipv6_pool_is_unique_local() -> None:
    pool = unique_local_pool(b"abcdefgh")
    assert pool.base.is_private and str(pool.base).startswith("fd") and pool.base.prefixlen == 48
    chosen = choose_subnet([pool], [])
    assert chosen.prefixlen == 64 and Subnet(chosen).gateway == chosen[1]


@given(st.lists(st.booleans(), max_size=60))
def test_no_address_is_given_twice(steps: list[bool]) -> None:
    subnet = Subnet(ip_network("10.0.0.0/27"))
    held: list[ipaddress.IPv4Address | ipaddress.IPv6Address] = []
    for take in steps:
        if take and len(held) < 29:
            address = subnet.allocate()
            assert address not in held and address != subnet.gateway and address in subnet.subnet
            held.append(address)
        elif held:
            subnet.release(held.pop(0))
