"""Taint eviction: pods on a node with a NoExecute taint go, at once or after their tolerationSeconds.

https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/#taint-based-evictions
"""

from typing import Any

from wherry.client.clock import parse_time_or
from wherry.client.informer import Informers, Key, key_of
from wherry.controllers import conditions, pods
from wherry.controllers.loop import Controller, Watch
from wherry.controllers.node_lifecycle import NODE_NAME_INDEX, index_node_name
from wherry.controllers.plan import NORMAL, Event, Plan
from wherry.schema.builtin import NODES, PODS
from wherry.schema.resource import Object


def tolerates(toleration: dict[str, Any], taint: dict[str, Any]) -> bool:
    """Whether one toleration covers one taint."""
    if toleration.get("effect") and toleration["effect"] != taint["effect"]:
        return False
    if toleration.get("key") and toleration["key"] != taint["key"]:
        return False
    operator = toleration.get("operator") or "Equal"
    if operator == "Exists":
        return True
    return bool(toleration.get("key")) and toleration.get("value", "") == taint.get("value", "")


def reconcile(pod: Object, node: Object | None, now: float) -> Plan:
    """`node`: the one that the pod is bound to, if it is there."""
    plan = Plan()
    if node is None or pods.is_terminating(pod) or pods.is_finished(pod):
        return plan
    taints = [taint for taint in (node.get("spec") or {}).get("taints") or () if taint["effect"] == "NoExecute"]
    if not taints:
        return plan
    deadline: float | None = None
    for taint in taints:
        covering = next((one for one in pod["spec"].get("tolerations") or () if tolerates(one, taint)), None)
        if covering is None:
            deadline = now
            plan.because(f"it does not tolerate {taint['key']}:NoExecute")
            break
        # The first that covers it counts, whatever the others say.
        limit = covering.get("tolerationSeconds")
        if limit is not None:
            until = parse_time_or(taint.get("timeAdded"), now) + max(limit, 0)
            deadline = until if deadline is None else min(deadline, until)
    if deadline is None:
        return plan
    if deadline > now:
        plan.again_in(deadline - now)
        return plan
    metadata = pod["metadata"]
    message = f"Marking for deletion Pod {metadata['namespace']}/{metadata['name']}"
    status = pod.get("status") or {}
    target = conditions.put(
        list(status.get("conditions") or ()),
        "DisruptionTarget",
        "True",
        "DeletionByTaintManager",
        "Taint manager: deleting due to NoExecute taint",
        now,
    )
    plan.patch(PODS, pod, {"status": {"conditions": target}}, subresource="status")
    plan.delete(PODS, pod, Event(NORMAL, "TaintManagerEviction", message))
    plan.because("its toleration has run out" if not plan.reasons else "it is evicted")
    return plan


def _evicts(node: Object) -> bool:
    taints = (node.get("spec") or {}).get("taints") or ()
    return any(taint["effect"] == "NoExecute" for taint in taints)


def _keys_of_node(node: Object, informers: Informers) -> list[Key]:
    if not _evicts(node):
        return []
    on_node = informers[PODS].by_index(NODE_NAME_INDEX, node["metadata"]["name"])
    return [(pod["metadata"]["namespace"], pod["metadata"]["name"]) for pod in on_node]


def _taints_differ(old: Object, new: Object) -> bool:
    return (old.get("spec") or {}).get("taints") != (new.get("spec") or {}).get("taints")


class TaintEvictionController(Controller):
    name = "taint-eviction-controller"
    resource = PODS
    watches = (Watch(NODES, _keys_of_node, _taints_differ),)

    def setup(self, informers: Informers) -> None:
        index_node_name(informers)

    def keys(self, obj: Object, informers: Informers) -> list[Key]:
        """Pods of most nodes are of no interest: taints that come later come by `_keys_of_node`."""
        name = obj["spec"].get("nodeName")
        node = informers[NODES].get(None, name) if name else None
        return [key_of(obj)] if node is not None and _evicts(node) else []

    def gather(self, obj: Object, informers: Informers) -> Object | None:
        name = obj["spec"].get("nodeName")
        return informers[NODES].get(None, name) if name else None

    def reconcile(self, obj: Object, children: Object | None, now: float) -> Plan:
        return reconcile(obj, children, now)
