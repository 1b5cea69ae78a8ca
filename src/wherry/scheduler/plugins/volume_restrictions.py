"""VolumeRestrictions: a ReadWriteOncePod claim serves one pod at a time."""

from collections.abc import Sequence

import numpy as np

from wherry.client.informer import Informers
from wherry.scheduler import volumes
from wherry.scheduler.framework import Failure, Plugin
from wherry.scheduler.pod_info import PodInfo
from wherry.scheduler.queue import NODE_ADD, POD_DELETE, VOLUME
from wherry.scheduler.snapshot import Snapshot

REASON = (
    "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod"
)


class VolumeRestrictions(Plugin):
    name = "VolumeRestrictions"
    wakes = frozenset({NODE_ADD, POD_DELETE, VOLUME})

    def __init__(self, informers: Informers) -> None:
        self._informers = informers

    def filter(self, pod: PodInfo, snapshot: Snapshot) -> Sequence[Failure]:
        if not pod.spec.get("volumes"):
            return ()
        exclusive = {
            claim["metadata"]["name"]
            for claim in volumes.claims(pod.object, self._informers)
            if "ReadWriteOncePod" in (claim["spec"].get("accessModes") or ())
        }
        if not exclusive:
            return ()
        for other in snapshot.pods.values():
            if other.namespace != pod.namespace or other.uid == pod.uid:
                continue
            if any(name in exclusive for name, _ in volumes.claim_names(other.object)):
                return (Failure(np.ones(snapshot.size, bool), REASON),)
        return ()
