"""Telling the cluster that this node lives: its registration, its status and its lease.

The lease in `kube-node-lease` is renewed every 10 s; the status is written when something in it changed, and at
the latest every 5 minutes. Specified in https://kubernetes.io/docs/concepts/architecture/nodes/#heartbeats.
"""

import asyncio
import copy
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from wherry.client.api import Client, PatchType
from wherry.client.clock import Clock
from wherry.node import node_status, pods
from wherry.node.node_status import NodeSettings
from wherry.schema.builtin import LEASES, NODES
from wherry.schema.errors import AlreadyExists, ApiError, Conflict, NotFound
from wherry.schema.resource import Object

log = logging.getLogger(__name__)

LEASE_NAMESPACE = "kube-node-lease"
LEASE_SECONDS = 40
RENEW_EVERY = 10.0
MEASURE_EVERY = 10.0
REPORT_EVERY = 300.0
RETRY = 0.5


class Heartbeat:
    """Keeps one Node and its Lease true. `images()` lists {names, sizeBytes}; `problems()` what keeps it unready."""

    def __init__(
        self,
        client: Client,
        settings: NodeSettings,
        root: Path,
        clock: Clock,
        *,
        images: Callable[[], Awaitable[list[dict[str, Any]]]],
        problems: Callable[[], list[str]],
        event: Callable[[Object, str, str, str], None],
    ) -> None:
        self._client = client
        self._settings = settings
        self._root = root
        self._clock = clock
        self._images = images
        self._problems = problems
        self._event = event
        self._changed = asyncio.Event()
        self._reported_at = float("-inf")
        self._last: dict[str, Any] = {}
        self.port = 0
        self.node: Object | None = None
        self.registered = asyncio.Event()

    def changed(self) -> None:
        """Something in the status is different now: report soon."""
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        await self._register()
        await asyncio.gather(self._lease_loop(), self._status_loop())

    async def report(self) -> None:
        """Measure, and write the status if it changed or is old. Raises ApiError, OSError."""
        found = await asyncio.to_thread(node_status.machine, self._root)
        node = self.node or await self._client.get(NODES, self._settings.name)
        now = self._clock.time()
        old = node.get("status") or {}
        status = node_status.node_status(
            old, self._settings, found, now=now, port=self.port, images=await self._images(), problems=self._problems()
        )
        if _essence(status) == self._last and now - self._reported_at < REPORT_EVERY:
            return
        patch = {"status": status}
        self.node = await self._client.patch(
            NODES, self._settings.name, patch, type=PatchType.MERGE, subresource="status", field_manager="kubelet"
        )
        self._tell_changes(old, status)
        self._last = _essence(status)
        self._reported_at = now

    def _tell_changes(self, old: dict[str, Any], status: dict[str, Any]) -> None:
        """An event for each condition that turned."""
        before = {entry["type"]: entry.get("status") for entry in old.get("conditions") or []}
        words = {
            ("Ready", "True"): "NodeReady",
            ("Ready", "False"): "NodeNotReady",
            ("MemoryPressure", "False"): "NodeHasSufficientMemory",
            ("MemoryPressure", "True"): "NodeHasInsufficientMemory",
            ("DiskPressure", "False"): "NodeHasNoDiskPressure",
            ("DiskPressure", "True"): "NodeHasDiskPressure",
            ("PIDPressure", "False"): "NodeHasSufficientPID",
            ("PIDPressure", "True"): "NodeHasInsufficientPID",
        }
        for entry in status["conditions"]:
            reason = words.get((entry["type"], entry["status"]))
            if reason and before.get(entry["type"]) != entry["status"] and self.node is not None:
                self._event(self.node, "Normal", reason, f"Node {self._settings.name} status is now: {reason}")

    async def _register(self) -> None:
        while True:
            try:
                await self._register_once()
                await self.report()
                self.registered.set()
                return
            except (ApiError, OSError) as error:
                log.warning("node %s not registered: %s", self._settings.name, error)
                await self._clock.sleep(RETRY)

    async def _register_once(self) -> None:
        wanted = node_status.node_object(self._settings)
        try:
            self.node = await self._client.create(NODES, wanted)
        except AlreadyExists:
            node = await self._client.get(NODES, self._settings.name)
            labels = node["metadata"].get("labels") or {}
            missing = {k: v for k, v in wanted["metadata"]["labels"].items() if labels.get(k) != v}
            patch: Object = {"metadata": {"labels": missing}} if missing else {}
            if "podCIDR" in wanted["spec"] and "podCIDR" not in node["spec"]:
                patch["spec"] = {key: wanted["spec"][key] for key in ("podCIDR", "podCIDRs")}
            if patch:
                node = await self._client.patch(NODES, self._settings.name, patch)
            self.node = node
        self._event(self.node, "Normal", "Starting", "Starting kubelet.")

    async def _status_loop(self) -> None:
        while True:
            waits = [
                asyncio.ensure_future(self._clock.sleep(MEASURE_EVERY)),
                asyncio.ensure_future(self._changed.wait()),
            ]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
            self._changed.clear()
            try:
                await self.report()
            except NotFound:
                # Somebody deleted the Node while the machine lives: it comes back.
                self.node = None
                self._last = {}
                await self._register()
            except (ApiError, OSError) as error:
                log.warning("status of node %s not written: %s", self._settings.name, error)

    async def _lease_loop(self) -> None:
        while True:
            try:
                await self._renew()
            except (ApiError, OSError) as error:
                log.warning("lease of node %s not renewed: %s", self._settings.name, error)
                await self._clock.sleep(1.0)
                continue
            await self._clock.sleep(RENEW_EVERY)

    async def _renew(self) -> None:
        name = self._settings.name
        spec = {
            "holderIdentity": name,
            "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": pods.format_micro_time(self._clock.time()),
        }
        try:
            await self._client.patch(LEASES, name, {"spec": spec}, LEASE_NAMESPACE, type=PatchType.MERGE)
        except NotFound:
            meta: dict[str, Any] = {"name": name, "namespace": LEASE_NAMESPACE}
            if self.node is not None:
                owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": self.node["metadata"]["uid"]}
                meta["ownerReferences"] = [owner]
            lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}
            try:
                await self._client.create(LEASES, lease, LEASE_NAMESPACE)
            except (AlreadyExists, Conflict):
                log.debug("lease of node %s was made by another", name)


def _essence(status: dict[str, Any]) -> dict[str, Any]:
    """The status without what changes by itself."""
    copied = copy.deepcopy(status)
    for entry in copied["conditions"]:
        entry.pop("lastHeartbeatTime", None)
    return copied
