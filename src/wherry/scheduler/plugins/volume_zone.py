"""VolumeZone: a volume that carries zone or region labels is only reachable from there."""

from collections.abc import Sequence
from typing import Any

from wherry.client.informer import Informers
from wherry.scheduler import volumes
from wherry.scheduler.framework import Failure, Plugin
from wherry.scheduler.pod_info import PodInfo
from wherry.scheduler.queue import NODE_ADD, NODE_UPDATE, VOLUME
from wherry.scheduler.snapshot import Snapshot

REASON = "node(s) had no available volume zone"
LABELS = (
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
)


class VolumeZone(Plugin):
    name = "VolumeZone"
    wakes = frozenset({NODE_ADD, NODE_UPDATE, VOLUME})

    def __init__(self, informers: Informers) -> None:
        self._informers = informers

    def filter(self, pod: PodInfo, snapshot: Snapshot) -> Sequence[Failure]:
        if not pod.spec.get("volumes"):
            return ()
        failures = []
        for claim in volumes.claims(pod.object, self._informers):
            volume = volumes.volume_of(claim, self._informers)
            labels = (volume["metadata"].get("labels") or {}) if volume is not None else {}
            # A volume that spans zones lists them all, joined by two underscores.
            zones = {key: frozenset(labels[key].split("__")) for key in LABELS if key in labels}
            if not zones:
                continue

            def reaches(node: Any, zones: dict[str, frozenset[str]] = zones) -> bool:
                here = (node.get("metadata") or {}).get("labels") or {}
                if not any(key in here for key in LABELS):
                    return True
                return all(here.get(key) in values for key, values in zones.items())

            allowed = snapshot.vector((self.name, tuple(sorted(zones.items()))), reaches)
            failures.append(Failure(~allowed, REASON, resolvable=False))
        return failures
