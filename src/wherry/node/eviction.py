"""Ending pods when the node runs out of memory or disk, and pods that outgrow the disk they were granted.

`choose` and `outgrown` are pure; `EvictionManager` measures, frees what nobody needs, and only then ends one pod at a
time. Specified in https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wherry.client.clock import Clock
from wherry.node import node_status, pods, resources
from wherry.node.node_status import KIB, MEMORY_PRESSURE_BYTES, Machine, disk_threshold
from wherry.node.pod_worker import PodWorker
from wherry.schema.resource import Object

log = logging.getLogger(__name__)

CHECK_EVERY = 10.0
CRITICAL_PRIORITY = 2_000_000_000
REASON = "Evicted"


@dataclass(frozen=True)
class Candidate:
    """A pod and what its containers use of the scarce resource: container name → bytes."""

    pod: Object
    usage: Mapping[str, int]

    @property
    def total(self) -> int:
        return sum(self.usage.values())


def choose(candidates: Sequence[Candidate], resource: str) -> Candidate | None:
    """Whom to end first when `resource` (memory, ephemeral-storage) is short: those above their request before the
    others, then by lower priority, then by how far above they are. Critical and static pods are never ended."""
    evictable = [one for one in candidates if not _is_critical(one.pod)]

    def rank(one: Candidate) -> tuple[bool, int, int]:
        above = one.total - _request(one.pod, resource)
        return above > 0, -int(one.pod["spec"].get("priority") or 0), above

    return max(evictable, key=rank, default=None)


def message(one: Candidate, resource: str, threshold: int, available: int) -> str:
    """The pod's status message: what was short, and who used how much of it."""
    text = (
        f"The node was low on resource: {resource}. "
        f"Threshold quantity: {_binary(threshold)}, available: {available // KIB}Ki. "
    )
    for container in pods.main_containers(one.pod):
        used = one.usage.get(container["name"], 0)
        request = resources.requests(container).get(resource, "0")
        if used > resources.value(request):
            text += (
                f"Container {container['name']} was using {used // KIB}Ki, request is {request}, "
                f"has larger consumption of {resource}. "
            )
    return text


def outgrown(pod: Object, empty_dirs: Mapping[str, int]) -> str:
    """The message for a pod one of whose emptyDirs (name → bytes) holds more than its sizeLimit; "" when none does."""
    for volume in pod["spec"].get("volumes") or ():
        limit = (volume.get("emptyDir") or {}).get("sizeLimit")
        if limit is not None and empty_dirs.get(volume["name"], 0) > resources.value(limit):
            return f'Usage of EmptyDir volume "{volume["name"]}" exceeds the limit "{limit}". '
    return ""


def limited_empty_dirs(pod: Object) -> list[str]:
    """Names of the emptyDirs on disk whose size is bounded; those in memory are bounded by the kernel."""
    return [
        volume["name"]
        for volume in pod["spec"].get("volumes") or ()
        if (volume.get("emptyDir") or {}).get("sizeLimit") and (volume["emptyDir"].get("medium") or "") == ""
    ]


class EvictionManager:
    """`workers()` lists the node's pods, `memory_of(worker)` gives bytes per container, `pod_dir(uid)` their folders;
    `free_disk(bytes)` removes images that nobody uses and returns how much that freed."""

    def __init__(
        self,
        root: Path,
        clock: Clock,
        *,
        workers: Callable[[], list[PodWorker]],
        memory_of: Callable[[PodWorker], Awaitable[Mapping[str, int]]],
        pod_dir: Callable[[str], Path],
        free_disk: Callable[[int], Awaitable[int]],
        event: Callable[[Object, str, str, str], None],
        measure: Callable[[Path], Machine] = node_status.machine,
    ) -> None:
        self._root = root
        self._clock = clock
        self._workers = workers
        self._memory_of = memory_of
        self._pod_dir = pod_dir
        self._free_disk = free_disk
        self._event = event
        self._measure = measure

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._clock.sleep(CHECK_EVERY)
            try:
                await self.check()
            except OSError as error:
                log.warning("pressure on this node cannot be measured: %s", error)

    async def check(self) -> None:
        """One look: end what outgrew its limit, and at most one pod for each scarce resource."""
        for worker in self._living():
            await self._check_limits(worker)
        found = await asyncio.to_thread(self._measure, self._root)
        if found.memory_available < MEMORY_PRESSURE_BYTES:
            candidates = [Candidate(one.pod, await self._memory_of(one)) for one in self._living()]
            self._evict(choose(candidates, "memory"), "memory", MEMORY_PRESSURE_BYTES, found.memory_available)
        threshold = disk_threshold(found)
        if found.disk_available < threshold:
            freed = await self._free_disk(threshold - found.disk_available)
            if found.disk_available + freed < threshold:
                candidates = [Candidate(one.pod, await self._disk_of(one)) for one in self._living()]
                worst = choose([one for one in candidates if one.total], "ephemeral-storage")
                self._evict(worst, "ephemeral-storage", threshold, found.disk_available + freed)

    def _living(self) -> list[PodWorker]:
        return [
            worker
            for worker in self._workers()
            if not worker.stopping and not pods.is_terminal(worker.pod) and not pods.is_deleted(worker.pod)
        ]

    async def _check_limits(self, worker: PodWorker) -> None:
        names = limited_empty_dirs(worker.pod)
        if not names:
            return
        sizes = await asyncio.to_thread(self._empty_dirs, worker.uid)
        text = outgrown(worker.pod, sizes)
        if text:
            self._end(worker.pod, text)

    async def _disk_of(self, worker: PodWorker) -> Mapping[str, int]:
        sizes = await asyncio.to_thread(self._empty_dirs, worker.uid)
        first = next((container["name"] for container in pods.main_containers(worker.pod)), "")
        return {first: sum(sizes.values())}

    def _empty_dirs(self, uid: str) -> dict[str, int]:
        base = self._pod_dir(uid) / "volumes" / "kubernetes.io~empty-dir"
        return {path.name: tree_size(path) for path in base.iterdir()} if base.is_dir() else {}

    def _evict(self, chosen: Candidate | None, resource: str, threshold: int, available: int) -> None:
        if chosen is None:
            log.warning("this node is low on %s, and no pod can be ended for it", resource)
        else:
            self._end(chosen.pod, message(chosen, resource, threshold, available))

    def _end(self, pod: Object, text: str) -> None:
        worker = next((one for one in self._workers() if one.uid == pods.uid(pod)), None)
        if worker is not None:
            self._event(pod, "Warning", REASON, text)
            worker.stop(REASON, text, grace=0.0)


def tree_size(path: Path) -> int:
    """Bytes on disk below a folder (blocking); what vanishes meanwhile does not count."""
    total = 0
    for folder, _, files in os.walk(path):
        for name in files:
            try:
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512
            except FileNotFoundError:
                continue
    return total


def _is_critical(pod: Object) -> bool:
    return pods.is_static(pod) or int(pod["spec"].get("priority") or 0) >= CRITICAL_PRIORITY


def _request(pod: Object, resource: str) -> int:
    return int(resources.pod_requests(pod).get(resource, 0))


def _binary(size: int) -> str:
    return f"{size // KIB // KIB}Mi" if size % (KIB * KIB) == 0 else f"{size // KIB}Ki"
