from ipaddress import ip_network
from typing import Any

import pytest

from wherry.engine.errors import EngineError, Forbidden, InvalidParameter, NotFound
from wherry.engine.errors import NotImplemented as Unsupported
from wherry.engine.networks.definitions import Network, parse_create
from wherry.engine.networks.ipam import DEFAULT_POOLS, unique_local_pool


def create(body: dict[str, Any], used: list[str] | None = None) -> Network:
    return parse_create(
        body,
        id="a" * 64,
        created="2026-01-31T10:00:00.000000000Z",
        bridge="whabcdb1",
        used=[ip_network(text) for text in used or []],
        pools=DEFAULT_POOLS,
        pool6=unique_local_pool(b"seed!"),
    )


def test_a_bare_name_makes_a_bridge_with_a_free_subnet() -> None:
    network = create({"Name": "shop"}, ["172.17.0.0/16"])
    assert network.subnets == ({"Subnet": "172.18.0.0/16", "Gateway": "172.18.0.1"},)
    assert network.driver == "bridge" and not network.user_subnets
    assert Network.from_json(network.to_json()) == network


def test_ipv6_adds_a_unique_local_subnet() -> None:
    network = create({"Name": "six", "EnableIPv6": True})
    assert len(network.subnets) == 2 and network.subnets[1]["Subnet"].startswith("fd")


def test_given_subnets_are_kept_with_range_gateway_and_auxiliaries() -> None:
    config = {
        "Subnet": "10.5.0.0/16",
        "IPRange": "10.5.1.0/24",
        "Gateway": "10.5.0.1",
        "AuxiliaryAddresses": {"r": "10.5.1.1"},
    }
    network = create({"Name": "n", "IPAM": {"Config": [config]}})
    assert network.subnets == (config,) and network.user_subnets


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        ({"Name": ""}, InvalidParameter, "name is empty"),
        ({"Name": "host"}, Forbidden, "operation is not permitted on predefined host network"),
        ({"Name": "n", "Driver": "host"}, Forbidden, 'only one instance of "host" network is allowed'),
        ({"Name": "n", "Driver": "macvlan"}, Unsupported, "macvlan is not supported"),
        ({"Name": "n", "Driver": "weave"}, NotFound, 'plugin "weave" not found'),
        ({"Name": "n", "Driver": "overlay"}, Forbidden, "not a swarm manager"),
        ({"Name": "n", "Options": {"com.docker.network.bridge.vlan": "7"}}, Unsupported, "vlan is not supported"),
        ({"Name": "n", "Options": {"com.docker.network.driver.mtu": "x"}}, InvalidParameter, "mtu"),
        ({"Name": "n", "Options": {"com.docker.network.bridge.name": "../x"}}, InvalidParameter, "bridge.name"),
        ({"Name": "n", "IPAM": {"Config": [{"Subnet": "10.0.0.0/33"}]}}, InvalidParameter, "invalid CIDR"),
        ({"Name": "n", "IPAM": {"Config": [{"Subnet": "10.0.0.7/24"}]}}, InvalidParameter, "it should be 10.0.0.0/24"),
        (
            {"Name": "n", "IPAM": {"Config": [{"Subnet": "192.0.2.0/25"}]}},
            Forbidden,
            "Pool overlaps with other one on this address space",
        ),
        (
            {"Name": "n", "IPAM": {"Config": [{"Subnet": "10.0.0.0/24", "Gateway": "10.1.0.1"}]}},
            InvalidParameter,
            "gateway",
        ),
        ({"Name": "n", "IPAM": {"Config": [{"Subnet": "fd00::/64"}]}}, InvalidParameter, "IPv6"),
    ],
)  # fmt: skip
def test_bad_requests_are_refused_in_dockers_words(
    body: dict[str, Any], error: type[EngineError], message: str
) -> None:
    with pytest.raises(error, match=message):
        create(body, ["192.0.2.0/24"])
