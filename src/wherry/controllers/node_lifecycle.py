"""Node lifecycle: a node whose kubelet is silent becomes Unknown; conditions become taints; its pods become not ready.

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


@dataclass
class Children:
    """`watched_since`: when this controller began to look (epoch seconds): silence before that does not count."""

    lease: Object | None = None
    pods: list[Object] = field(default_factory=list)
    watched_since: float = 0.0


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
    _taint(node, found, ready_status, plan, now)
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


def _taint(node: Object, found: list[conditions.Condition], ready: str, plan: Plan, now: float) -> None:
    spec = node.get("spec") or {}
    current: list[dict[str, Any]] = list(spec.get("taints") or ())
    wanted: list[tuple[str, str]] = []
    if ready == "False":
        wanted += [(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")]
    elif ready == "Unknown":
        wanted += [(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]
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

    def __init__(self, clock: Clock) -> None:
        self._since = clock.time()

    def setup(self, informers: Informers) -> None:
        index_node_name(informers)

    def gather(self, obj: Object, informers: Informers) -> Children:
        name = obj["metadata"]["name"]
        on_node = informers[PODS].by_index(NODE_NAME_INDEX, name)
        return Children(informers[LEASES].get(LEASE_NAMESPACE, name), on_node, self._since)

    def reconcile(self, obj: Object, children: Children, now: float) -> Plan:
        return reconcile(obj, children, now)


def _is_node_lease(lease: Object) -> bool:
    return bool(lease["metadata"]["namespace"] == LEASE_NAMESPACE)


def index_node_name(informers: Informers) -> None:
    """Let pods be found by the node they are bound to."""
    informers[PODS].add_index(NODE_NAME_INDEX, lambda pod: (pod["spec"].get("nodeName") or "",))
