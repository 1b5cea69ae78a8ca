"""VolumeBinding: a pod goes where its volumes are, or where they can be made.

Bound claims bind the pod by their volume's node affinity. Claims that wait for their first consumer are matched with
existing volumes node by node, or left to their provisioner, which learns the node from an annotation.
https://kubernetes.io/docs/concepts/storage/storage-classes/#volume-binding-mode
"""

import asyncio
import functools
from collections.abc import Sequence

import numpy as np

from wherry.client.api import Client
from wherry.client.clock import Clock
from wherry.client.informer import Informers
from wherry.scheduler import volumes
from wherry.scheduler.framework import Failure, Plugin, Unschedulable
from wherry.scheduler.pod_info import PodInfo
from wherry.scheduler.queue import NODE_ADD, NODE_UPDATE, VOLUME
from wherry.scheduler.snapshot import Snapshot
from wherry.schema.builtin import NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from wherry.schema.resource import Object

CONFLICT = "node(s) had volume node affinity conflict"
NONE_AVAILABLE = "node(s) didn't find available persistent volumes to bind"
NOT_ENOUGH = "node(s) did not have enough free storage"
UNBOUND = "pod has unbound immediate PersistentVolumeClaims"
BIND_TIMEOUT = 600.0


class VolumesNotReady(Exception):
    """The pod's claims were not bound in time, or not as decided: schedule it again."""


class VolumeBinding(Plugin):
    name = "VolumeBinding"
    wakes = frozenset({NODE_ADD, NODE_UPDATE, VOLUME})

    def __init__(self, informers: Informers) -> None:
        self._informers = informers
        self._waiting: set[asyncio.Event] = set()
        informers[PERSISTENT_VOLUME_CLAIMS].add_handler(self._claim_changed)
        _ = informers[PERSISTENT_VOLUMES]

    def prefilter(self, pod: PodInfo, snapshot: Snapshot) -> None:
        if not pod.spec.get("volumes"):
            return
        for name, ephemeral in volumes.claim_names(pod.object):
            claim = self._informers[PERSISTENT_VOLUME_CLAIMS].get(pod.namespace, name)
            if claim is None:
                if ephemeral:
                    raise Unschedulable(
                        f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{name}"'
                    )
                raise Unschedulable(f'persistentvolumeclaim "{name}" not found')
            if claim["metadata"].get("deletionTimestamp"):
                raise Unschedulable(f'persistentvolumeclaim "{name}" is being deleted')
            if (claim.get("status") or {}).get("phase") == "Lost":
                volume = claim["spec"].get("volumeName", "")
                raise Unschedulable(f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{volume}"')
            if ephemeral and not _owned_by(claim, pod):
                raise Unschedulable(f"PVC {pod.namespace}/{name} was not created for pod {pod.namespace}/{pod.name}")
            if not volumes.is_bound(claim) and not volumes.waits_for_consumer(claim, self._informers):
                raise Unschedulable(UNBOUND)

    def filter(self, pod: PodInfo, snapshot: Snapshot) -> Sequence[Failure]:
        if not pod.spec.get("volumes"):
            return ()
        found = volumes.claims(pod.object, self._informers)
        if not found:
            return ()
        failures = []
        open_claims = []
        for claim in found:
            if volumes.is_bound(claim):
                volume = volumes.volume_of(claim, self._informers)
                if volume is None or not volume["spec"].get("nodeAffinity"):
                    continue
                key = (self.name, volume["metadata"]["uid"], volume["metadata"].get("resourceVersion"))
                allowed = snapshot.vector(key, functools.partial(volumes.node_allows, volume))
                failures.append(Failure(~allowed, CONFLICT, resolvable=False))
            else:
                open_claims.append(claim)
        if open_claims:
            missing = np.zeros(snapshot.size, bool)
            for slot in snapshot.slots.values():
                missing[slot] = self._plan(open_claims, snapshot.nodes[slot] or {}) is None
            failures.append(Failure(missing, NONE_AVAILABLE, resolvable=False))
        return failures

    def _plan(self, claims: Sequence[Object], node: Object) -> list[tuple[Object, Object | None]] | None:
        """For each claim the volume it gets on `node`, or None where it is to be made; None if that cannot be."""
        taken: set[str] = set()
        plan: list[tuple[Object, Object | None]] = []
        for claim in claims:
            selected = (claim["metadata"].get("annotations") or {}).get(volumes.SELECTED_NODE)
            if selected and selected != node["metadata"]["name"]:
                return None
            here = [
                volume
                for volume in self._informers[PERSISTENT_VOLUMES]
                if volume["metadata"]["name"] not in taken and volumes.node_allows(volume, node)
            ]
            volume = volumes.smallest(here, claim)
            if volume is not None:
                taken.add(volume["metadata"]["name"])
                plan.append((claim, volume))
                continue
            storage_class = volumes.storage_class(claim, self._informers)
            if storage_class is None or storage_class.get("provisioner") == volumes.NO_PROVISIONER:
                return None
            if not _topology_allows(storage_class, node):
                return None
            plan.append((claim, None))
        return plan

    async def bind(self, pod: PodInfo, client: Client, clock: Clock) -> None:
        """Reserve volumes or ask for new ones on `pod.node`, and wait until all claims are bound.

        Raises VolumesNotReady and ApiError.
        """
        if not pod.spec.get("volumes"):
            return
        open_claims = [one for one in volumes.claims(pod.object, self._informers) if not volumes.is_bound(one)]
        if not open_claims:
            return
        plan = self._plan(open_claims, {"metadata": {"name": pod.node}} | (self._node(pod.node) or {}))
        if plan is None:
            raise VolumesNotReady("volumes are no longer available on the node")
        for claim, volume in plan:
            if volume is None:
                await self._ask(claim, pod.node, client)
            elif not volume["spec"].get("claimRef"):
                await self._reserve(volume, claim, client)
        await self._wait(pod, clock)

    def _node(self, name: str) -> Object | None:
        return self._informers[NODES].get(None, name)

    async def _ask(self, claim: Object, node: str, client: Client) -> None:
        metadata = claim["metadata"]
        if (metadata.get("annotations") or {}).get(volumes.SELECTED_NODE) == node:
            return
        patch = {"metadata": {"uid": metadata["uid"], "annotations": {volumes.SELECTED_NODE: node}}}
        updated = await client.patch(PERSISTENT_VOLUME_CLAIMS, metadata["name"], patch, metadata["namespace"])
        self._informers[PERSISTENT_VOLUME_CLAIMS].record_write(updated)

    async def _reserve(self, volume: Object, claim: Object, client: Client) -> None:
        metadata = volume["metadata"]
        reference = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "namespace": claim["metadata"]["namespace"],
            "name": claim["metadata"]["name"],
            "uid": claim["metadata"]["uid"],
        }
        patch = {
            "metadata": {
                "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
                "annotations": {"pv.kubernetes.io/bound-by-controller": "yes"},
            },
            "spec": {"claimRef": reference},
        }
        updated = await client.patch(PERSISTENT_VOLUMES, metadata["name"], patch)
        self._informers[PERSISTENT_VOLUMES].record_write(updated)

    async def _wait(self, pod: PodInfo, clock: Clock) -> None:
        changed = asyncio.Event()
        self._waiting.add(changed)
        try:
            deadline = clock.monotonic() + BIND_TIMEOUT
            while True:
                found = volumes.claims(pod.object, self._informers)
                if all(volumes.is_bound(claim) for claim in found):
                    return
                if any(
                    (claim["metadata"].get("annotations") or {}).get(volumes.SELECTED_NODE, pod.node) != pod.node
                    for claim in found
                ):
                    raise VolumesNotReady("the provisioner could not make a volume on the node")
                left = deadline - clock.monotonic()
                if left <= 0:
                    raise VolumesNotReady("timed out waiting for the condition")
                changed.clear()
                try:
                    await asyncio.wait_for(changed.wait(), left)
                except TimeoutError:
                    continue
        finally:
            self._waiting.discard(changed)

    def _claim_changed(self, old: Object | None, new: Object | None) -> None:
        for event in self._waiting:
            event.set()


def _owned_by(claim: Object, pod: PodInfo) -> bool:
    return any(one["uid"] == pod.uid for one in claim["metadata"].get("ownerReferences") or ())


def _topology_allows(storage_class: Object, node: Object) -> bool:
    terms = storage_class.get("allowedTopologies") or ()
    if not terms:
        return True
    labels = node["metadata"].get("labels") or {}
    return any(
        all(labels.get(one["key"]) in one["values"] for one in term.get("matchLabelExpressions") or ())
        for term in terms
    )
