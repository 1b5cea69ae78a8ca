"""NodeResourcesFit: requests (also extended resources and overhead) must fit into what the node has left.

The score is LeastAllocated by default: emptier nodes first; MostAllocated is the other choice.
https://kubernetes.io/docs/concepts/scheduling-eviction/resource-bin-packing/
"""

from collections.abc import Sequence

import numpy as np

from wherry.scheduler.framework import MAX_SCORE, Failure, Plugin
from wherry.scheduler.pod_info import PodInfo
from wherry.scheduler.queue import NODE_ADD, NODE_UPDATE, POD_DELETE
from wherry.scheduler.snapshot import CPU, MEMORY, PODS, Floats, Ints, Mask, Snapshot


class NodeResourcesFit(Plugin):
    name = "NodeResourcesFit"
    weight = 1
    wakes = frozenset({NODE_ADD, NODE_UPDATE, POD_DELETE})

    def __init__(self, *, most_allocated: bool = False) -> None:
        self._most_allocated = most_allocated

    def filter(self, pod: PodInfo, snapshot: Snapshot) -> Sequence[Failure]:
        failures = []
        full = snapshot.requested[PODS] >= snapshot.allocatable[PODS]
        if full.any():
            failures.append(Failure(full, "Too many pods"))
        for resource, value in pod.requests.items():
            if value <= 0:
                continue
            row = snapshot.row(resource)
            allocatable = snapshot.allocatable[row]
            short = snapshot.requested[row] > allocatable - value
            if not short.any():
                continue
            reason = f"Insufficient {resource}"
            hopeless = allocatable < value
            if hopeless.any():
                failures.append(Failure(hopeless, reason, resolvable=False))
                short &= ~hopeless
            failures.append(Failure(short, reason))
        return failures

    def passing(self, pod: PodInfo, snapshot: Snapshot) -> Mask | None:
        needs = tuple((resource, value) for resource, value in pod.requests.items() if value > 0)
        for resource, _ in needs:
            snapshot.row(resource)

        def fits(slots: Ints) -> Mask:
            room: Mask = snapshot.requested[PODS][slots] < snapshot.allocatable[PODS][slots]
            for resource, value in needs:
                row = snapshot.row(resource)
                room &= snapshot.requested[row][slots] <= snapshot.allocatable[row][slots] - value
            return room

        return snapshot.load_vector((self.name, needs), fits, np.bool_)

    def score(self, pod: PodInfo, snapshot: Snapshot, among: Ints) -> Floats | None:
        key = (self.name, self._most_allocated, pod.nonzero)
        scores: Floats = snapshot.load_vector(key, lambda slots: self._scores(pod, snapshot, slots)).take(among)
        return scores

    def _scores(self, pod: PodInfo, snapshot: Snapshot, among: Ints) -> Floats:
        total = np.zeros(len(among))
        weights = np.zeros(len(among))
        for row, kind, value in ((CPU, 0, pod.nonzero[0]), (MEMORY, 1, pod.nonzero[1])):
            allocatable = snapshot.allocatable[row][among]
            requested = snapshot.nonzero[kind][among] + value
            has = allocatable > 0
            shown = np.maximum(allocatable, 1)
            if self._most_allocated:
                part = requested * int(MAX_SCORE) // shown
            else:
                part = (allocatable - requested) * int(MAX_SCORE) // shown
            total += np.where(has & (requested <= allocatable), part, 0)
            weights += has
        scores: Floats = np.floor(total / np.maximum(weights, 1))
        return scores
