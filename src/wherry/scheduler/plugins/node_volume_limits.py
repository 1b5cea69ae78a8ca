"""NodeVolumeLimits: a CSI driver attaches only so many volumes to a node."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from wherry.client.informer import Informers
from wherry.scheduler import volumes
from wherry.scheduler.framework import Failure, Plugin
from wherry.scheduler.pod_info import PodInfo
from wherry.scheduler.queue import NODE_ADD, POD_DELETE, VOLUME
from wherry.scheduler.snapshot import Snapshot
from wherry.schema.builtin import CSI_NODES
from wherry.schema.resource import Object

REASON = "node(s) exceed max volume count"


class NodeVolumeLimits(Plugin):
    name = "NodeVolumeLimits"
    wakes = frozenset({NODE_ADD, POD_DELETE, VOLUME})

    def __init__(self, informers: Informers) -> None:
        self._informers = informers
        _ = informers[CSI_NODES]

    def filter(self, pod: PodInfo, snapshot: Snapshot) -> Sequence[Failure]:
        if not pod.spec.get("volumes"):
            return ()
        new = self._handles(pod.object)
        if not new:
            return ()
        full = np.zeros(snapshot.size, bool)
        for name, slot in snapshot.slots.items():
            limits = self._limits(name)
            if not limits:
                continue
            used: defaultdict[str, set[str]] = defaultdict(set)
            for other in snapshot.pods_on[slot].values():
                for driver, handles in self._handles(other.object).items():
                    used[driver] |= handles
            full[slot] = any(
                driver in limits and len(used[driver] | handles) > limits[driver] for driver, handles in new.items()
            )
        return (Failure(full, REASON),) if full.any() else ()

    def _limits(self, node: str) -> dict[str, int]:
        found = self._informers[CSI_NODES].get(None, node)
        return {
            driver["name"]: driver["allocatable"]["count"]
            for driver in ((found or {}).get("spec") or {}).get("drivers") or ()
            if (driver.get("allocatable") or {}).get("count") is not None
        }

    def _handles(self, pod: Object) -> dict[str, set[str]]:
        """The CSI volumes of a pod, by driver."""
        found: defaultdict[str, set[str]] = defaultdict(set)
        for claim in volumes.claims(pod, self._informers):
            volume = volumes.volume_of(claim, self._informers)
            source = (volume["spec"].get("csi") or {}) if volume is not None else {}
            if source:
                found[source["driver"]].add(source["volumeHandle"])
        return dict(found)
