"""Node lifecycle: a node whose kubelet is silent becomes Unknown; conditions become taints; its pods become not ready.

The taint that evicts pods is put on one node after the other (`EVICTION_PAUSE`), more slowly or not at all where most
nodes of a zone are silent, and on none when all are: it is then rather the network of this controller that is broken.
https://kubernetes.io/docs/concepts/architecture/nodes/#node-status and
https://kubernetes.io/docs/reference/labels-annotations-taints/ (node.kubernetes.io/…).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from wherry.client.clock import Clock, format_time, parse_time
from wherry.client.informer import Informers, Key
from wherry.controllers import conditions, pods
from wherry.controllers.loop import Controller, Watch
from wherry.controllers.plan import NORMAL, WARNING, Event, Plan
from wherry.schema.builtin import LEASES, NODES, PODS
from wherry.schema.resource import Object

LEASE_NAMESPACE = "kube-node-lease"
GRACE = 40.0
"""Seconds of silence after which a node is Unknown."""

NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
NODE_NAME_INDEX = "spec.nodeName"

_PRESSURE = {
    "MemoryPressure": "node.kubernetes.io/memory-pressure",
    "DiskPressure": "node.kubernetes.io/disk-pressure",
    "PIDPressure": "node.kubernetes.io/pid-pressure",
    "NetworkUnavailable": "node.kubernetes.io/network-unavailable",
}
_MANAGED = frozenset({NOT_READY, UNREACHABLE, UNSCHEDULABLE, *_PRESSURE.values()})
_HEARTBEAT = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")


EVICTION_PAUSE = 10.0
"""Seconds between two nodes of a zone whose pods are evicted."""
SLOW_EVICTION_PAUSE = 100.0
"""The same where a large part of a large zone is unhealthy."""
UNHEALTHY_SHARE = 0.55
LARGE_ZONE = 50
_ZONE, _REGION = "topology.kubernetes.io/zone", "topology.kubernetes.io/region"


@dataclass(frozen=True)
class Zone:
    """The nodes that fail together: how many there are, and when pods of one were last evicted (epoch seconds)."""

    nodes: int = 1
    unhealthy: int = 0
    last_eviction: float = 0.0
    cluster_down: bool = False
    """No node of any zone is healthy."""

    @property
    def pause(self) -> float | None:
        """Seconds between two evictions; None while there are to be none."""
        if self.cluster_down:
            return None
        if self.unhealthy < self.nodes and self.unhealthy > 2 and self.unhealthy / self.nodes >= UNHEALTHY_SHARE:
            return SLOW_EVICTION_PAUSE if self.nodes > LARGE_ZONE else None
        return EVICTION_PAUSE


@dataclass
class Children:
    """`watched_since`: when this controller began to look (epoch seconds): silence before that does not count."""

    lease: Object | None = None
    pods: list[Object] = field(default_factory=list)
    watched_since: float = 0.0
    zone: Zone = Zone()


def reconcile(node: Object, children: Children, now: float) -> Plan:
    plan = Plan()
    if node["metadata"].get("deletionTimestamp"):
        return plan
    status = node.get("status") or {}
    name = node["metadata"]["name"]
    heard = _last_heard(node, children)
    silent = now - heard > GRACE
    found: list[conditions.Condition] = list(status.get("conditions") or ())
    ready = conditions.get(status, "Ready")
    if silent:
        found = _mark_unknown(found, now)
        if ready is None or ready["status"] != "Unknown":
            plan.because(f"the kubelet has been silent for {int(now - heard)} s")
            plan.event(NORMAL, "NodeNotReady", f"Node {name} status is now: NodeNotReady")
    else:
        plan.again_in(GRACE - (now - heard) + 1)
    if found != (status.get("conditions") or []):
        plan.status = status | {"conditions": found}
    ready_status = (conditions.get({"conditions": found}, "Ready") or {}).get("status", "Unknown")
    _taint(node, found, ready_status, children.zone, plan, now)
    if ready_status != "True":
        _mark_pods(node, children.pods, plan, now)
    return plan


def _last_heard(node: Object, children: Children) -> float:
    times = [children.watched_since]
    renewed = ((children.lease or {}).get("spec") or {}).get("renewTime")
    times.append(parse_time(renewed) or 0.0)
    ready = conditions.get(node.get("status"), "Ready")
    if ready is not None and ready["status"] != "Unknown":
        times.append(parse_time(ready.get("lastHeartbeatTime")) or 0.0)
    else:
        times.append(parse_time(node["metadata"].get("creationTimestamp")) or 0.0)
    return max(times)


def _mark_unknown(found: list[conditions.Condition], now: float) -> list[conditions.Condition]:
    for type in _HEARTBEAT:
        old = next((one for one in found if one["type"] == type), None)
        if old is not None and old["status"] == "Unknown":
            continue
        if old is None:
            reason, message = "NodeStatusNeverUpdated", "Kubelet never posted node status."
        else:
            reason, message = "NodeStatusUnknown", "Kubelet stopped posting node status."
        heartbeat = (old or {}).get("lastHeartbeatTime") or format_time(now)
        found = conditions.put(found, type, "Unknown", reason, message, now, lastHeartbeatTime=heartbeat)
    return found


def _taint(node: Object, found: list[conditions.Condition], ready: str, zone: Zone, plan: Plan, now: float) -> None:
    spec = node.get("spec") or {}
    current: list[dict[str, Any]] = list(spec.get("taints") or ())
    wanted: list[tuple[str, str]] = []
    if ready != "True":
        key = NOT_READY if ready == "False" else UNREACHABLE
        wanted.append((key, "NoSchedule"))
        evicting = any(taint["key"] in (NOT_READY, UNREACHABLE) and taint["effect"] == "NoExecute" for taint in current)
        # A node that turns just now does not count among the unhealthy ones yet: its own change brings us back.
        if _is_unhealthy(node) and _may_evict(zone, evicting, plan, now):
            wanted.append((key, "NoExecute"))
    for condition in found:
        if condition["type"] in _PRESSURE and condition["status"] == "True":
            wanted.append((_PRESSURE[condition["type"]], "NoSchedule"))
    if spec.get("unschedulable"):
        wanted.append((UNSCHEDULABLE, "NoSchedule"))
    kept = [taint for taint in current if taint["key"] not in _MANAGED or (taint["key"], taint["effect"]) in wanted]
    present = {(taint["key"], taint["effect"]) for taint in kept}
    taints = kept + [
        {"key": key, "effect": effect, "timeAdded": format_time(now)}
        for key, effect in wanted
        if (key, effect) not in present
    ]
    if taints != current:
        plan.patch(NODES, node, {"spec": {"taints": taints or None}}, check_version=True)
        shown = ", ".join(f"{taint['key']}:{taint['effect']}" for taint in taints) or "none"
        plan.because(f"taints by its conditions: {shown}")


def _may_evict(zone: Zone, evicting: bool, plan: Plan, now: float) -> bool:
    """May the pods of this node be evicted now? If not yet, `plan` looks again when it may be."""
    if zone.cluster_down:
        plan.because("no node of the cluster is healthy: no pods are evicted")
        plan.again_in(EVICTION_PAUSE)
        return False
    if evicting:
        plan.again_in(60.0)
        return True
    if zone.pause is None:
        plan.because(f"{zone.unhealthy} of {zone.nodes} nodes of its zone are unhealthy: no pods are evicted")
        plan.again_in(EVICTION_PAUSE)
        return False
    left = zone.last_eviction + zone.pause - now
    if left > 0:
        plan.because(f"pods of another node of its zone are evicted: its own in {left:.0f} s")
        plan.again_in(left)
        return False
    return True


def _mark_pods(node: Object, found: list[Object], plan: Plan, now: float) -> None:
    for pod in found:
        if not pods.is_ready(pod) or pods.is_terminating(pod):
            continue
        status = pod.get("status") or {}
        changed = [
            one | {"status": "False", "lastTransitionTime": format_time(now)} if one["type"] == "Ready" else one
            for one in status.get("conditions") or ()
        ]
        event = Event(WARNING, "NodeNotReady", "Node is not ready", pod)
        plan.patch(PODS, pod, {"status": {"conditions": changed}}, subresource="status", check_version=True, done=event)


def _keys_of_pod(pod: Object, informers: Informers) -> Iterable[Key]:
    """Only pods that turned ready on a node that is not (a late status write) concern the node."""
    name = pod["spec"].get("nodeName")
    node = informers[NODES].get(None, name) if name else None
    if node is None or conditions.is_true(node.get("status"), "Ready"):
        return ()
    return (("", str(name)),)


class NodeLifecycleController(Controller):
    name = "node-controller"
    resource = NODES
    watches = (
        Watch(LEASES, lambda obj, _: (("", obj["metadata"]["name"]),) if _is_node_lease(obj) else ()),
        Watch(PODS, _keys_of_pod),
    )

    workers = 1  # two at once could evict from two nodes at once

    def __init__(self, clock: Clock) -> None:
        self._since = clock.time()

    def setup(self, informers: Informers) -> None:
        index_node_name(informers)
        informers[NODES].add_index(_ZONE, lambda node: (_zone_of(node),))
        informers[NODES].add_index(UNHEALTHY_INDEX, lambda node: (_zone_of(node), "") if _is_unhealthy(node) else ())

    def gather(self, obj: Object, informers: Informers) -> Children:
        name = obj["metadata"]["name"]
        on_node = informers[PODS].by_index(NODE_NAME_INDEX, name)
        lease = informers[LEASES].get(LEASE_NAMESPACE, name)
        zone = _zone(obj, informers) if _is_unhealthy(obj) else Zone()
        return Children(lease, on_node, self._since, zone)

    def reconcile(self, obj: Object, children: Children, now: float) -> Plan:
        return reconcile(obj, children, now)


UNHEALTHY_INDEX = "unhealthy nodes"


def _zone_of(node: Object) -> str:
    """The nodes of one zone of one region share this; never ""."""
    labels = node["metadata"].get("labels") or {}
    return f"{labels.get(_REGION, '')}/{labels.get(_ZONE, '')}"


def _is_unhealthy(node: Object) -> bool:
    return not conditions.is_true(node.get("status"), "Ready")


def _zone(node: Object, informers: Informers) -> Zone:
    nodes, name = informers[NODES], _zone_of(node)
    unhealthy = nodes.by_index(UNHEALTHY_INDEX, name)
    evicted = [
        parse_time(taint.get("timeAdded")) or 0.0
        for one in unhealthy
        for taint in (one.get("spec") or {}).get("taints") or ()
        if taint["key"] in (NOT_READY, UNREACHABLE) and taint["effect"] == "NoExecute"
    ]
    return Zone(
        nodes=len(nodes.by_index(_ZONE, name)),
        unhealthy=len(unhealthy),
        last_eviction=max(evicted, default=0.0),
        cluster_down=len(nodes.by_index(UNHEALTHY_INDEX, "")) == len(nodes),
    )


def _is_node_lease(lease: Object) -> bool:
    return bool(lease["metadata"]["namespace"] == LEASE_NAMESPACE)


def index_node_name(informers: Informers) -> None:
    """Let pods be found by the node they are bound to."""
    informers[PODS].add_index(NODE_NAME_INDEX, lambda pod: (pod["spec"].get("nodeName") or "",))
