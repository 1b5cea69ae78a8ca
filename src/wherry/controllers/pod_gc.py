"""Pod garbage collection: pods of nodes that are gone, deleted pods that never ran, too many finished ones.

https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-garbage-collection
"""

from dataclasses import dataclass
from typing import Any

from wherry.client.clock import parse_time_or
from wherry.client.informer import Informers, Key, key_of
from wherry.controllers import conditions, pods
from wherry.controllers.loop import Controller, Watch
from wherry.controllers.node_lifecycle import NODE_NAME_INDEX, index_node_name
from wherry.controllers.plan import Plan
from wherry.schema.builtin import NODES, PODS
from wherry.schema.resource import Object

TERMINATED_LIMIT = 12_500
QUARANTINE = 40.0
"""Seconds that a pod's node may be missing before the pod is believed lost."""
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
_FINISHED_INDEX = "finished"


@dataclass
class Children:
    """`node`: the one that the pod is bound to; `missing_since`: since when it has been missing;
    `beyond_limit`: the pod is among the oldest finished ones beyond the limit."""

    node: Object | None = None
    missing_since: float | None = None
    beyond_limit: bool = False


def reconcile(pod: Object, children: Children, now: float) -> Plan:
    plan = Plan()
    name = pod["spec"].get("nodeName")
    if name and children.node is None:
        since = now if children.missing_since is None else children.missing_since
        if now - since < QUARANTINE:
            plan.again_in(QUARANTINE - (now - since))
            return plan
        message = "PodGC: node no longer exists"
        _collect(pod, plan, now, f"its node {name} is gone", message)
    elif name and children.node is not None and pods.is_terminating(pod) and _is_out_of_service(children.node):
        _collect(pod, plan, now, f"its node {name} is out of service", "")
    elif not name and pods.is_terminating(pod):
        _collect(pod, plan, now, "it is being deleted and was never scheduled", "")
    elif children.beyond_limit:
        _collect(pod, plan, now, f"more than {TERMINATED_LIMIT} finished pods", "")
    return plan


def _collect(pod: Object, plan: Plan, now: float, why: str, message: str) -> None:
    plan.because(why)
    if not pods.is_finished(pod):
        status: dict[str, Any] = {"phase": "Failed"}
        if message:
            status["conditions"] = conditions.put(
                list((pod.get("status") or {}).get("conditions") or ()),
                "DisruptionTarget",
                "True",
                "DeletionByPodGC",
                message,
                now,
            )
        plan.patch(PODS, pod, {"status": status}, subresource="status")
    plan.delete(PODS, pod, grace_period_seconds=0)


def first_to_go(pod: Object) -> tuple[bool, float, str]:
    """Evicted pods before those that controllers may still want to look at, then the oldest."""
    metadata = pod["metadata"]
    kept = (pod.get("status") or {}).get("reason") != "Evicted"
    return kept, parse_time_or(metadata.get("creationTimestamp"), 0), metadata["name"]


def _is_out_of_service(node: Object) -> bool:
    taints = (node.get("spec") or {}).get("taints") or ()
    ready = conditions.is_true(node.get("status"), "Ready")
    return not ready and any(taint["key"] == OUT_OF_SERVICE for taint in taints)


def _keys_of_node(node: Object, informers: Informers) -> list[Key]:
    on_node = informers[PODS].by_index(NODE_NAME_INDEX, node["metadata"]["name"])
    return [(pod["metadata"]["namespace"], pod["metadata"]["name"]) for pod in on_node]


def _matters(old: Object, new: Object) -> bool:
    return _is_out_of_service(old) != _is_out_of_service(new)


class PodGCController(Controller):
    name = "pod-garbage-collector-controller"
    resource = PODS
    watches = (Watch(NODES, _keys_of_node, _matters),)

    def __init__(self) -> None:
        self._missing: dict[str, float] = {}

    def setup(self, informers: Informers) -> None:
        index_node_name(informers)
        informers[PODS].add_index(_FINISHED_INDEX, lambda pod: ("yes",) if pods.is_finished(pod) else ())

        def node_changed(old: Object | None, new: Object | None) -> None:
            if new is not None:
                self._missing.pop(new["metadata"]["name"], None)

        informers[NODES].add_handler(node_changed)

    def keys(self, obj: Object, informers: Informers) -> list[Key]:
        """Pods that live on a node that is there are of no interest."""
        name = obj["spec"].get("nodeName")
        lost = name and informers[NODES].get(None, name) is None
        return [key_of(obj)] if lost or pods.is_terminating(obj) or pods.is_finished(obj) else []

    def gather(self, obj: Object, informers: Informers) -> Children:
        name = obj["spec"].get("nodeName")
        node = informers[NODES].get(None, name) if name else None
        children = Children(node)
        if name and node is None:
            children.missing_since = self._missing.get(name)
        if pods.is_finished(obj):
            finished = informers[PODS].by_index(_FINISHED_INDEX, "yes")
            surplus = len(finished) - TERMINATED_LIMIT
            if surplus > 0:
                oldest = sorted(finished, key=first_to_go)
                children.beyond_limit = any(pod is obj for pod in oldest[:surplus])
        return children

    def reconcile(self, obj: Object, children: Children, now: float) -> Plan:
        name = obj["spec"].get("nodeName")
        if name and children.node is None:
            children.missing_since = self._missing.setdefault(name, now)
        return reconcile(obj, children, now)
