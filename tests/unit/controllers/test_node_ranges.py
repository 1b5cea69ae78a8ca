"""Every node has a range for its pods, and no two the same."""

from typing import Any

from wherry.controllers.node_ranges import free_ranges, reconcile
from wherry.controllers.plan import Patch


def node(cidr: str = "") -> dict[str, Any]:
    spec = {"podCIDR": cidr} if cidr else {}
    return {"metadata": {"name": "n", "uid": "u", "resourceVersion": "1"}, "spec": spec}


def test_a_node_without_a_range_gets_the_lowest_free_one() -> None:
    (step,) = reconcile(node(), ["10.0.0.0/24", "10.0.2.0/24"], "10.0.0.0/16").steps
    assert isinstance(step, Patch)
    assert step.patch["spec"] == {"podCIDR": "10.0.1.0/24", "podCIDRs": ["10.0.1.0/24"]}


def test_a_node_with_one_keeps_it() -> None:
    assert reconcile(node("10.9.9.0/24"), [], "10.0.0.0/16").empty


def test_a_full_cluster_says_so() -> None:
    plan = reconcile(node(), ["10.0.0.0/16"], "10.0.0.0/16")
    assert plan.events[0].reason == "CIDRNotAvailable"


def test_larger_and_foreign_ranges_are_respected() -> None:
    assert next(free_ranges("10.0.0.0/22", ["10.0.0.0/23", "192.168.0.0/16"])) == "10.0.2.0/24"
