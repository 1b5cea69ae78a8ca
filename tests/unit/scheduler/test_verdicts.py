"""The whole judgement of a pod: every rule on every node."""

from typing import Any

import pytest

from wherry.client.informer import Informers
from wherry.scheduler.plugins import default_plugins
from wherry.scheduler.pod_info import PodInfo, compile_pod
from wherry.scheduler.profile import Profile
from wherry.scheduler.snapshot import Snapshot
from wherry.scheduler.verdicts import judge
from wherry.testing.clock import MockClock
from wherry.testing.fake_client import FakeClient


def make_node(name: str, *, cpu: str = "4", taints: Any = None) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {"taints": taints} if taints else {},
        "status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "110"}},
    }


def make_pod(name: str, *, cpu: str, on: str = "") -> PodInfo:
    spec: dict[str, Any] = {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}]}
    if on:
        spec["nodeName"] = on
    metadata = {"name": name, "namespace": "default", "uid": name}
    return compile_pod({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})


def snapshot_of(*nodes: dict[str, Any]) -> Snapshot:
    found = Snapshot()
    for node in nodes:
        found.set_node(node)
    return found


@pytest.fixture
def profile() -> Profile:
    informers = Informers(FakeClient(MockClock()))
    return Profile("default-scheduler", default_plugins(informers, lambda one: None, lambda: ["default"]))


def test_every_rule_that_refuses_a_node_is_told_not_only_the_first(profile: Profile) -> None:
    taint = {"key": "dedicated", "value": "db", "effect": "NoSchedule"}
    found = snapshot_of(make_node("small", cpu="1", taints=[taint]), make_node("roomy"))
    judgement = judge(make_pod("p", cpu="2"), profile, found)
    assert judgement.feasible == 1
    assert judgement.nodes["small"].refusals == {
        "TaintToleration": ["node(s) had untolerated taint {dedicated: db}"],
        "NodeResourcesFit": ["Insufficient cpu"],
    }
    assert judgement.counts["NodeResourcesFit", "Insufficient cpu"] == 1
    assert list(judgement.nodes) == ["roomy", "small"]


def test_nodes_that_can_take_it_come_best_first_with_their_points(profile: Profile) -> None:
    found = snapshot_of(make_node("full", cpu="4"), make_node("empty", cpu="4"))
    found.add_pod(make_pod("other", cpu="3", on="full"))
    judgement = judge(make_pod("p", cpu="500m"), profile, found)
    assert list(judgement.nodes) == ["empty", "full"]
    assert judgement.nodes["empty"].total > judgement.nodes["full"].total


def test_a_placed_pod_is_judged_as_if_it_were_not_and_stays_counted(profile: Profile) -> None:
    found = snapshot_of(make_node("one", cpu="1"))
    here = make_pod("p", cpu="1", on="one")
    found.add_pod(here)
    assert judge(here, profile, found).feasible == 1
    assert here.uid in found.pods
    assert judge(make_pod("q", cpu="1"), profile, found).feasible == 0
