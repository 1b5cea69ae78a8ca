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
        fractions = []
        for row, name in ((CPU, "cpu"), (MEMORY, "memory")):
            allocatable = np.maximum(snapshot.allocatable[row][among], 1)
            fraction = (snapshot.requested[row][among] + pod.requests.get(name, 0)) / allocatable
            fractions.append(np.minimum(fraction, 1.0))
        # The standard deviation of two values is half their distance.
        scores: Floats = np.floor((1.0 - np.abs(fractions[0] - fractions[1]) / 2) * MAX_SCORE)
        return scores
