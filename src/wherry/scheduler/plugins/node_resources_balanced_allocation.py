"""NodeResourcesBalancedAllocation: prefer nodes where CPU and memory would be used alike."""

import numpy as np

from wherry.scheduler.framework import MAX_SCORE, Plugin
from wherry.scheduler.pod_info import PodInfo
from wherry.scheduler.snapshot import CPU, MEMORY, Floats, Ints, Snapshot


class NodeResourcesBalancedAllocation(Plugin):
    name = "NodeResourcesBalancedAllocation"
    weight = 1

    def score(self, pod: PodInfo, snapshot: Snapshot, among: Ints) -> Floats | None:
        if not pod.requests.get("cpu") and not pod.requests.get("memory"):
            return None  # best effort: it changes no node's balance
        key = (self.name, pod.requests.get("cpu", 0), pod.requests.get("memory", 0))
        scores: Floats = snapshot.load_vector(key, lambda slots: self._scores(pod, snapshot, slots)).take(among)
        return scores

    def _scores(self, pod: PodInfo, snapshot: Snapshot, among: Ints) -> Floats:
        fractions = []
        for row, name in ((CPU, "cpu"), (MEMORY, "memory")):
            allocatable = np.maximum(snapshot.allocatable[row][among], 1)
            fraction = (snapshot.requested[row][among] + pod.requests.get(name, 0)) / allocatable
            fractions.append(np.minimum(fraction, 1.0))
        # The standard deviation of two values is half their distance.
        scores: Floats = np.floor((1.0 - np.abs(fractions[0] - fractions[1]) / 2) * MAX_SCORE)
        return scores
