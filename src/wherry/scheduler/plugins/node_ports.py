"""NodePorts: two pods cannot have the same host port on one node."""

from collections.abc import Sequence

import numpy as np

from wherry.scheduler.framework import Failure, Plugin
from wherry.scheduler.pod_info import PodInfo
from wherry.scheduler.queue import NODE_ADD, POD_DELETE
from wherry.scheduler.snapshot import Snapshot


class NodePorts(Plugin):
    name = "NodePorts"
    wakes = frozenset({NODE_ADD, POD_DELETE})

    def filter(self, pod: PodInfo, snapshot: Snapshot) -> Sequence[Failure]:
        if not pod.ports:
            return ()
        taken = np.zeros(snapshot.size, bool)
        for port in pod.ports:
            for slot in snapshot.with_ports.get(port.port, ()):
                taken[slot] |= any(
                    port.conflicts(other) for one in snapshot.pods_on[slot].values() for other in one.ports
                )
        return (Failure(taken, "node(s) didn't have free ports for the requested pod ports"),)
