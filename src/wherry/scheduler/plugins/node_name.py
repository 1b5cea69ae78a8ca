"""NodeName: a pod that names its node."""

from collections.abc import Sequence

import numpy as np

from wherry.scheduler.framework import Failure, Plugin
from wherry.scheduler.pod_info import PodInfo
from wherry.scheduler.queue import NODE_ADD
from wherry.scheduler.snapshot import Snapshot


class NodeName(Plugin):
    name = "NodeName"
    static = True
    wakes = frozenset({NODE_ADD})

    def filter(self, pod: PodInfo, snapshot: Snapshot) -> Sequence[Failure]:
        wanted = pod.spec.get("nodeName")
        if not wanted:
            return ()
        others = np.ones(snapshot.size, bool)
        slot = snapshot.slots.get(wanted)
        if slot is not None:
            others[slot] = False
        return (Failure(others, "node(s) didn't match the requested node name", resolvable=False),)
