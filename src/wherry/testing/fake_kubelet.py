"""A kubelet without containers, over any `Client`: bound pods become Running and Ready, deleted ones go.

For tests of controllers. `script(pod)` decides otherwise: return a status patch, or None for the usual course.
"""

from collections.abc import Callable

from wherry.client.api import Client
from wherry.client.clock import Clock, format_time
from wherry.client.informer import Informers
from wherry.schema.builtin import PODS
from wherry.schema.errors import Conflict, NotFound
from wherry.schema.resource import Object

Script = Callable[[Object], Object | None]


class FakeKubelet:
    """Call `step()` until it returns False: each call moves every pod of this node one state on."""

    def __init__(self, client: Client, informers: Informers, clock: Clock, *, node: str = "node-1") -> None:
        self.script: Script | None = None
        self.node = node
        self._client = client
        self._pods = informers[PODS]
        self._clock = clock
        self._addresses = 0

    async def step(self, *, bind: bool = True) -> bool:
        """With `bind`, unscheduled pods are bound here too. Returns whether anything was done."""
        moved = False
        for pod in self._pods.items():
            try:
                moved |= await self._move(pod, bind)
            except (Conflict, NotFound):
                moved = True
        return moved

    async def _move(self, pod: Object, bind: bool) -> bool:
        metadata = pod["metadata"]
        name, namespace = metadata["name"], metadata["namespace"]
        if not pod["spec"].get("nodeName"):
            if not bind or metadata.get("deletionTimestamp"):
                return False
            target = {"apiVersion": "v1", "kind": "Node", "name": self.node}
            binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
            await self._client.create(PODS, binding, namespace, name=name, subresource="binding")
            return True
        if pod["spec"]["nodeName"] != self.node:
            return False
        if metadata.get("deletionTimestamp"):
            if not metadata.get("finalizers"):
                await self._client.delete(PODS, name, namespace, uid=metadata["uid"], grace_period_seconds=0)
                return True
            if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed"):
                await self._write(pod, {"phase": "Failed"})
                return True
            return False
        status = self.script(pod) if self.script is not None else None
        if status is not None:
            current = pod.get("status") or {}
            if status.items() <= current.items():
                return False
            await self._write(pod, status)
            return True
        if (pod.get("status") or {}).get("phase") in ("Running", "Succeeded", "Failed"):
            return False
        self._addresses += 1
        now = format_time(self._clock.time())
        conditions = [
            {"type": type, "status": "True", "lastTransitionTime": now}
            for type in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
        ]
        address = f"10.1.{self._addresses // 250}.{self._addresses % 250 + 1}"
        await self._write(
            pod,
            {
                "phase": "Running",
                "podIP": address,
                "podIPs": [{"ip": address}],
                "conditions": conditions,
                "startTime": now,
            },
        )
        return True

    async def _write(self, pod: Object, status: Object) -> None:
        metadata = pod["metadata"]
        patch = {"metadata": {"uid": metadata["uid"]}, "status": status}
        await self._client.patch(PODS, metadata["name"], patch, metadata["namespace"], subresource="status")
