"""NodeAffinity: nodeSelector and node affinity, required and preferred.

https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#node-affinity
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from wherry.scheduler.framework import Failure, Plugin, normalized
from wherry.scheduler.pod_info import PodInfo
from wherry.scheduler.queue import NODE_ADD, NODE_UPDATE
from wherry.scheduler.snapshot import Floats, Ints, Mask, Snapshot
from wherry.schema.resource import Object
from wherry.schema.selectors import node_selector_matches, node_selector_term_matches

REASON = "node(s) didn't match Pod's node affinity/selector"


def _required(pod: PodInfo) -> Object | None:
    affinity = (pod.spec.get("affinity") or {}).get("nodeAffinity") or {}
    found: Object | None = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return found


def _preferred(pod: PodInfo) -> Sequence[Object]:
    affinity = (pod.spec.get("affinity") or {}).get("nodeAffinity") or {}
    found: Sequence[Object] = affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
    return found


def matching(pod: PodInfo, snapshot: Snapshot) -> Mask | None:
    """The nodes that the pod's selector and required affinity allow; None means all."""
    selector, required = pod.spec.get("nodeSelector") or {}, _required(pod)
    if not selector and required is None:
        return None

    def allows(node: Any) -> bool:
        labels = (node.get("metadata") or {}).get("labels") or {}
        return selector.items() <= labels.items() and node_selector_matches(required, node)

    return snapshot.vector((NodeAffinity.name, pod.placement), allows)


class NodeAffinity(Plugin):
    name = "NodeAffinity"
    static = True
    weight = 2
    wakes = frozenset({NODE_ADD, NODE_UPDATE})

    def filter(self, pod: PodInfo, snapshot: Snapshot) -> Sequence[Failure]:
        mask = matching(pod, snapshot)
        return () if mask is None else (Failure(~mask, REASON, resolvable=False),)

    def score(self, pod: PodInfo, snapshot: Snapshot, among: Ints) -> Floats | None:
        terms = _preferred(pod)
        if not terms:
            return None

        def liking(node: Any) -> float:
            return float(
                sum(
                    term["weight"]
                    for term in terms
                    if not (term.get("preference") or {}) or node_selector_term_matches(term["preference"], node)
                )
            )

        values = snapshot.vector((NodeAffinity.name, "preferred", pod.placement), liking, np.float64)
        return normalized(values[among])
