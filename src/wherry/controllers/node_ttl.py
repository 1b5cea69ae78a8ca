"""How long a kubelet may keep Secrets and ConfigMaps: an annotation on each node, longer the larger the cluster is.

https://kubernetes.io/docs/reference/command-line-tools-reference/kube-controller-manager/ (ttl-controller)
"""

from wherry.client.informer import Informers
from wherry.controllers.loop import Controller
from wherry.controllers.plan import Plan
from wherry.schema.builtin import NODES
from wherry.schema.resource import Object

ANNOTATION = "node.alpha.kubernetes.io/ttl"
STEPS = ((0, 100, 0), (90, 500, 15), (450, 1000, 30), (900, 2000, 60), (1800, 1_000_000, 300))
"""(fewest nodes, most nodes, seconds). They overlap, so that one node more or less does not change all others."""


def reconcile(node: Object, count: int, now: float) -> Plan:
    """`count` is the number of nodes."""
    plan = Plan()
    if node["metadata"].get("deletionTimestamp"):
        return plan
    current = (node["metadata"].get("annotations") or {}).get(ANNOTATION)
    fitting = [str(seconds) for least, most, seconds in STEPS if least <= count <= most]
    if current not in fitting:
        plan.patch(NODES, node, {"metadata": {"annotations": {ANNOTATION: fitting[0]}}})
        plan.because(f"of a cluster of {count} nodes it should be {fitting[0]} s, not {current}")
    return plan


class NodeTTLController(Controller):
    name = "ttl-controller"
    resource = NODES

    def gather(self, obj: Object, informers: Informers) -> int:
        return len(informers[NODES])

    def reconcile(self, obj: Object, children: int, now: float) -> Plan:
        return reconcile(obj, children, now)
