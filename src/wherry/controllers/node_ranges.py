"""Node IP ranges: a node that came without a range for its pods gets one out of the cluster's.

https://kubernetes.io/docs/reference/command-line-tools-reference/kube-controller-manager/ (node-ipam-controller)
"""

import ipaddress
from collections.abc import Iterable, Iterator

from wherry.client.informer import Informers
from wherry.controllers.loop import Controller
from wherry.controllers.plan import WARNING, Plan
from wherry.schema.builtin import NODES
from wherry.schema.resource import Object

NODE_PREFIX = 24
"""Of an IPv4 node range: room for 254 pods."""


def reconcile(node: Object, taken: Iterable[str], cluster_cidr: str) -> Plan:
    """`taken` are the ranges of all nodes."""
    plan = Plan()
    spec = node.get("spec") or {}
    if spec.get("podCIDR") or node["metadata"].get("deletionTimestamp"):
        return plan
    chosen = next(free_ranges(cluster_cidr, taken), None)
    if chosen is None:
        plan.event(WARNING, "CIDRNotAvailable", f"Node {node['metadata']['name']} status is now: CIDRNotAvailable")
        plan.because(f"no range of {cluster_cidr} is free")
        return plan
    patch = {"spec": {"podCIDR": chosen, "podCIDRs": [chosen]}}
    plan.patch(NODES, node, patch, check_version=True)
    plan.because(f"it has no range for its pods: {chosen} is free")
    return plan


def free_ranges(cluster_cidr: str, taken: Iterable[str]) -> Iterator[str]:
    """The ranges of the cluster that overlap none of `taken`, lowest first."""
    cluster = ipaddress.ip_network(cluster_cidr)
    used = [ipaddress.ip_network(one) for one in taken]
    for candidate in cluster.subnets(new_prefix=max(NODE_PREFIX, cluster.prefixlen)):
        if not any(candidate.version == other.version and candidate.overlaps(other) for other in used):
            yield str(candidate)


class NodeRangeController(Controller):
    name = "node-ipam-controller"
    resource = NODES
    workers = 1  # two at once could choose the same range

    def __init__(self, cluster_cidr: str) -> None:
        self._cluster_cidr = cluster_cidr

    def gather(self, obj: Object, informers: Informers) -> list[str]:
        if (obj.get("spec") or {}).get("podCIDR"):
            return []
        return [cidr for node in informers[NODES] if (cidr := (node.get("spec") or {}).get("podCIDR"))]

    def reconcile(self, obj: Object, children: list[str], now: float) -> Plan:
        return reconcile(obj, children, self._cluster_cidr)
