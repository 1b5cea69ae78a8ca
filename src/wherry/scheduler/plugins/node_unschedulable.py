"""NodeUnschedulable: cordoned nodes take only pods that tolerate it."""

from collections.abc import Sequence

from wherry.scheduler.framework import Failure, Plugin
from wherry.scheduler.plugins.taint_toleration import tolerates
from wherry.scheduler.pod_info import PodInfo
from wherry.scheduler.queue import NODE_ADD, NODE_UPDATE
from wherry.scheduler.snapshot import Snapshot

_TAINT = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


class NodeUnschedulable(Plugin):
    name = "NodeUnschedulable"
    static = True
    wakes = frozenset({NODE_ADD, NODE_UPDATE})

    def filter(self, pod: PodInfo, snapshot: Snapshot) -> Sequence[Failure]:
        cordoned = snapshot.vector(self.name, lambda node: bool((node.get("spec") or {}).get("unschedulable")))
        if not cordoned.any() or any(tolerates(one, _TAINT) for one in pod.spec.get("tolerations") or ()):
            return ()
        return (Failure(cordoned, "node(s) were unschedulable", resolvable=False),)
