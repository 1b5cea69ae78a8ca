"""Scheduling decisions, straight on the arrays: which node, and why not."""

import asyncio
from typing import Any

import pytest

from wherry.client.informer import Informers
from wherry.scheduler import preemption
from wherry.scheduler.plugins import default_plugins
from wherry.scheduler.pod_info import PodInfo, compile_pod, pod_requests
from wherry.scheduler.profile import Profile
from wherry.scheduler.queue import NODE_ADD, POD_DELETE, SchedulingQueue
from wherry.scheduler.scheduler import Scheduler
from wherry.scheduler.snapshot import Snapshot
from wherry.schema import builtin as b
from wherry.testing.clock import MockClock
from wherry.testing.fake_client import FakeClient


def node(
    name: str, *, cpu: str = "4", taints: Any = None, unschedulable: bool = False, **labels: str
) -> dict[str, Any]:
    spec: dict[str, Any] = {"taints": taints} if taints else {}
    if unschedulable:
        spec["unschedulable"] = True
    named = {"kubernetes.io/hostname": name} | {key.replace("_", "-"): value for key, value in labels.items()}
    allocatable = {"cpu": cpu, "memory": "8Gi", "pods": "110"}
    return {"metadata": {"name": name, "labels": named}, "spec": spec, "status": {"allocatable": allocatable}}


def pod(name: str, *, cpu: str = "100m", on: str = "", app: str = "x", priority: int = 0, **spec: Any) -> PodInfo:
    body = {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}], **spec}
    if on:
        body["nodeName"] = on
    metadata = {"name": name, "namespace": "default", "uid": name, "labels": {"app": app}}
    return compile_pod({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": body | {"priority": priority}})


@pytest.fixture
def profile() -> Profile:
    informers = Informers(FakeClient(MockClock()))
    return Profile("default-scheduler", default_plugins(informers, lambda one: None, lambda: ["default"]))


def snapshot(*nodes: dict[str, Any]) -> Snapshot:
    found = Snapshot()
    for one in nodes:
        found.set_node(one)
    return found


def why(profile: Profile, found: Snapshot, one: PodInfo) -> str:
    passed, diagnosis = profile.feasible(one, found)
    assert not passed.any()
    return diagnosis.summary()


def where(profile: Profile, found: Snapshot, one: PodInfo) -> str:
    passed, _ = profile.feasible(one, found)
    return found.name(profile.best(one, found, passed))


def test_each_node_tells_its_own_reason(profile: Profile) -> None:
    taint = {"key": "dedicated", "value": "db", "effect": "NoSchedule"}
    found = snapshot(node("a", cpu="1"), node("b", taints=[taint]), node("c", unschedulable=True))
    assert why(profile, found, pod("p", cpu="2")) == (
        "0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {dedicated: db}, "
        "1 node(s) were unschedulable."
    )
    assert why(profile, found, pod("q", nodeSelector={"disk": "ssd"})).startswith("0/3 nodes are available: 1 node(s) ")


def test_no_nodes_at_all(profile: Profile) -> None:
    assert why(profile, snapshot(), pod("p")) == "no nodes available to schedule pods"


def test_the_emptier_node_is_taken(profile: Profile) -> None:
    found = snapshot(node("a"), node("b"))
    found.add_pod(pod("old", cpu="2", on="a"))
    assert where(profile, found, pod("p")) == "b"


def test_tolerations_and_preferred_affinity(profile: Profile) -> None:
    taint = {"key": "dedicated", "value": "db", "effect": "NoSchedule"}
    found = snapshot(node("a"), node("b", taints=[taint], disk="ssd"))
    liking = {"weight": 100, "preference": {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}}
    spec = {
        "tolerations": [{"key": "dedicated", "operator": "Equal", "value": "db"}],
        "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [liking]}},
    }
    assert where(profile, found, pod("p", **spec)) == "b"
    assert where(profile, found, pod("q")) == "a"


def _near(kind: str, key: str = "kubernetes.io/hostname") -> dict[str, Any]:
    term = {"topologyKey": key, "labelSelector": {"matchLabels": {"app": "x"}}}
    return {"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}


def test_pods_that_repel_each_other(profile: Profile) -> None:
    found = snapshot(node("a"), node("b"))
    found.add_pod(pod("one", on="a", **_near("podAntiAffinity")))
    assert where(profile, found, pod("two", **_near("podAntiAffinity"))) == "b"
    assert where(profile, found, pod("plain")) == "b"  # the placed pod's own rule holds for others too
    found.add_pod(pod("two", on="b", **_near("podAntiAffinity")))
    assert "2 node(s) didn't match pod anti-affinity rules" in why(
        profile, found, pod("three", **_near("podAntiAffinity"))
    )
    found.remove_pod("one")
    assert where(profile, found, pod("three", **_near("podAntiAffinity"))) == "a"


def test_pods_that_want_company_and_the_first_of_them(profile: Profile) -> None:
    found = snapshot(node("a", zone="1"), node("b", zone="2"))
    first = pod("one", **_near("podAffinity", "zone"))
    assert where(profile, found, first) in ("a", "b")
    found.add_pod(pod("one", on="b", **_near("podAffinity", "zone")))
    assert where(profile, found, pod("two", **_near("podAffinity", "zone"))) == "b"
    stranger = pod("s", app="y", **_near("podAffinity", "rack"))
    assert why(profile, found, stranger) == "0/2 nodes are available: 2 node(s) didn't match pod affinity rules."


def test_spreading_over_zones(profile: Profile) -> None:
    found = snapshot(node("a", zone="1"), node("b", zone="1"), node("c", zone="2"), node("d"))
    rule = {
        "maxSkew": 1,
        "topologyKey": "zone",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "x"}},
    }
    for number in range(4):
        one = pod(f"p{number}", topologySpreadConstraints=[rule])
        one.node = where(profile, found, one)
        found.add_pod(one)
    zones = sorted("1" if one.node in "ab" else "2" for one in found.pods.values())
    assert zones == ["1", "1", "2", "2"]
    diagnosis = profile.diagnose(pod("q", topologySpreadConstraints=[rule]), found)
    reasons = [refusal.reason for refusal in diagnosis.refusals]
    assert reasons == ["node(s) didn't match pod topology spread constraints (missing required label)"]


def test_host_ports_collide_only_on_the_same_node(profile: Profile) -> None:
    ports = [{"containerPort": 80, "hostPort": 8080}]
    spec = {"containers": [{"name": "c", "image": "i", "ports": ports}]}
    found = snapshot(node("a"))
    found.add_pod(pod("one", on="a", **spec))
    message = "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."
    assert why(profile, found, pod("two", **spec)) == message


def test_requests_count_sidecars_init_phases_and_overhead() -> None:
    def container(cpu: str, **more: Any) -> dict[str, Any]:
        return {"name": "c", "resources": {"requests": {"cpu": cpu}}, **more}

    spec = {
        "containers": [container("1")],
        "initContainers": [container("500m", restartPolicy="Always"), container("2")],
        "overhead": {"cpu": "100m"},
    }
    assert pod_requests(spec) == {"cpu": 2600}


def test_preemption_takes_the_least_important_pods(profile: Profile) -> None:
    found = snapshot(node("a", cpu="2"), node("b", cpu="2"), node("c", cpu="1"))
    found.add_pod(pod("important", cpu="2", on="a", priority=50))
    found.add_pod(pod("lowly", cpu="1500m", on="b", priority=1))
    found.add_pod(pod("small", cpu="100m", on="b", priority=1))
    high = pod("high", cpu="1800m", priority=100)
    _, diagnosis = profile.feasible(high, found)
    candidate, _ = preemption.find(high, profile, found, diagnosis, lambda namespace: [])
    assert candidate is not None and found.name(candidate.slot) == "b"
    assert [one.name for one in candidate.victims] == ["lowly"]
    equal = pod("equal", cpu="1800m", priority=1)
    _, diagnosis = profile.feasible(equal, found)
    nobody, message = preemption.find(equal, profile, found, diagnosis, lambda namespace: [])
    assert nobody is None and message == (
        "0/3 nodes are available: 1 Preemption is not helpful for scheduling, "
        "2 No preemption victims found for incoming pod."
    )


def test_removed_and_returning_nodes_keep_their_pods_counted(profile: Profile) -> None:
    found = snapshot(node("a", cpu="1"))
    found.add_pod(pod("one", cpu="800m", on="a"))
    found.remove_node("a")
    found.set_node(node("b", cpu="1"))
    assert where(profile, found, pod("p", cpu="500m")) == "b"
    found.set_node(node("a", cpu="1"))
    assert found.requested[0, found.slots["a"]] == 800 and found.requested[0, found.slots["b"]] == 0


async def test_a_refused_pod_returns_when_what_it_waits_for_happens() -> None:
    clock = MockClock()
    queue = SchedulingQueue(clock)
    timers = asyncio.create_task(queue.run_timers())
    queue.add(pod("low"))
    queue.add(pod("high", priority=5))
    first = await queue.pop()
    assert first.pod.name == "high"
    queue.refuse(first, frozenset({"NodeResourcesFit"}), frozenset({POD_DELETE}))
    queue.happened(NODE_ADD)
    assert "high" in queue.unschedulable
    queue.happened(POD_DELETE)
    assert "high" in queue.backing_off
    await clock.advance(1.1)
    assert "high" in queue.active
    timers.cancel()


async def test_pods_are_bound_and_refusals_are_written() -> None:
    clock = MockClock()
    client = FakeClient(clock)
    client.seed(b.NODES, node("a", cpu="1"))
    scheduler = Scheduler(client, clock)
    task = asyncio.create_task(scheduler.run())
    for name, cpu in (("fits", "500m"), ("huge", "8")):
        spec = {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}]}
        await client.create(b.PODS, {"metadata": {"name": name, "namespace": "default"}, "spec": spec})
    await clock.settle(400)
    assert (await client.get(b.PODS, "fits", "default"))["spec"]["nodeName"] == "a"
    [condition] = (await client.get(b.PODS, "huge", "default"))["status"]["conditions"]
    assert condition["reason"] == "Unschedulable"
    assert condition["message"] == (
        "0/1 nodes are available: 1 Insufficient cpu. "
        "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    )
    events = {one["reason"]: one["message"] for one in client.all(b.EVENTS)}
    assert events["Scheduled"] == "Successfully assigned default/fits to a"
    uid = (await client.get(b.PODS, "huge", "default"))["metadata"]["uid"]
    explained = scheduler.explanations.get(uid)
    assert explained is not None and explained.message == condition["message"]
    await client.create(b.NODES, node("b", cpu="16"))
    await clock.advance(2)
    assert (await client.get(b.PODS, "huge", "default"))["spec"]["nodeName"] == "b"
    task.cancel()
    await scheduler.informers.stop()


def test_thousands_of_nodes_fill_evenly(profile: Profile) -> None:
    found = snapshot(*(node(f"n{number}") for number in range(2000)))
    for number in range(400):
        one = pod(f"p{number}")
        one.node = where(profile, found, one)
        found.add_pod(one)
    assert max(len(on_node) for on_node in found.pods_on) == 1
