"""Which ranges this machine's pods and this cluster's Services get: free ones, so that instances run side by side.

Kubernetes leaves both to whoever sets a cluster up. A pod range is one node's; a service range is one cluster's.
"""

import ipaddress
from collections.abc import Sequence

from wherry.engine.networks.bridges import networks_in_use
from wherry.engine.networks.files import read_host_resolv_conf
from wherry.engine.networks.ipam import Pool, choose_subnet
from wherry.host.netlink import IPNetwork, Netlink

POD_POOLS: Sequence[Pool] = (
    Pool(ipaddress.ip_network("10.42.0.0/16"), 24),
    Pool(ipaddress.ip_network("10.44.0.0/14"), 24),
    Pool(ipaddress.ip_network("10.244.0.0/16"), 24),
)
SERVICE_POOLS: Sequence[Pool] = (
    Pool(ipaddress.ip_network("10.43.0.0/16"), 20),
    Pool(ipaddress.ip_network("10.96.0.0/12"), 20),
)
DNS_OFFSET = 10
"""The cluster DNS is the tenth address of the service range, as everywhere."""


def in_use() -> list[IPNetwork]:
    """Every subnet that an interface, a route or a name server of this machine uses."""
    with Netlink() as netlink:
        return networks_in_use(netlink, read_host_resolv_conf().nameservers)


def choose_pod_cidr(also: Sequence[IPNetwork] = ()) -> IPNetwork:
    """A free /24. Blocks. Raises EngineError when every one is taken."""
    return choose_subnet(POD_POOLS, [*in_use(), *also])


def choose_service_cidr(also: Sequence[IPNetwork] = ()) -> IPNetwork:
    """A free /20: 4,094 Services. Blocks. Raises EngineError when every one is taken."""
    return choose_subnet(SERVICE_POOLS, [*in_use(), *also])


def dns_address(service_cidr: IPNetwork | str) -> str:
    return str(ipaddress.ip_network(service_cidr)[DNS_OFFSET])
