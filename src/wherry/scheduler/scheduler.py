"""The scheduler: pending pods in, bindings out.

One task decides, one pod at a time, on the arrays of `Snapshot`; bindings are written by others, and until the watch
shows them their pods are *assumed* to be on their nodes.
https://kubernetes.io/docs/concepts/scheduling-eviction/kube-scheduler/
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from wherry.client.api import Client, PatchType
from wherry.client.clock import Clock, SystemClock, format_time
from wherry.client.events import EventRecorder
from wherry.client.informer import Informers
from wherry.scheduler import preemption
from wherry.scheduler.explain import Explanations
from wherry.scheduler.framework import Diagnosis
from wherry.scheduler.groups import Groups
from wherry.scheduler.plugins import default_plugins
from wherry.scheduler.plugins.volume_binding import VolumeBinding, VolumesNotReady
from wherry.scheduler.pod_info import PodInfo, compile_pod
from wherry.scheduler.profile import Profile
from wherry.scheduler.queue import (
    NODE_ADD,
    NODE_UPDATE,
    POD_ADD,
    POD_DELETE,
    POD_UPDATE,
    VOLUME,
    QueuedPod,
    SchedulingQueue,
)
from wherry.scheduler.snapshot import Snapshot
from wherry.schema.builtin import (
    CSI_NODES,
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    POD_DISRUPTION_BUDGETS,
    PODS,
    STORAGE_CLASSES,
)
from wherry.schema.errors import ApiError, Conflict, NotFound
from wherry.schema.resource import Object
from wherry.schema.selectors import Labels

log = logging.getLogger(__name__)

DEFAULT_NAME = "default-scheduler"
_BINDERS = 256
_MAX_MESSAGE = 1024
# So many pods are decided before other tasks get their turn.
_BURST = 4


class Scheduler:
    """`run()` schedules until cancelled. `profiles` maps scheduler names to profiles (default: one, with all
    default plugins). Pass `informers` to share them with the controllers."""

    def __init__(
        self,
        client: Client,
        clock: Clock | None = None,
        *,
        informers: Informers | None = None,
        profiles: Mapping[str, Callable[[Informers], Profile]] | None = None,
    ) -> None:
        self.clock = clock or SystemClock()
        self.informers = informers or Informers(client, self.clock)
        self.queue = SchedulingQueue(self.clock)
        self.explanations = Explanations()
        self.snapshot = Snapshot(namespace_labels=self._namespace_labels)
        self.recorder = EventRecorder(client, DEFAULT_NAME, clock=self.clock)
        self._client = client
        self._groups = Groups(self.informers)
        made = profiles or {DEFAULT_NAME: self._default_profile}
        self.profiles = {name: make(self.informers) for name, make in made.items()}
        self._binding: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(_BINDERS)
        self._assumed: dict[str, PodInfo] = {}
        self._nominated: dict[str, PodInfo] = {}
        self._follow()

    def _default_profile(self, informers: Informers) -> Profile:
        return Profile(DEFAULT_NAME, default_plugins(informers, self._groups.selector, self._namespace_names))

    async def run(self) -> None:
        self.informers.start()
        await self.informers.wait_synced()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.recorder.run())
            group.create_task(self.queue.run_timers())
            group.create_task(self._schedule_all())

    # Following the cluster.

    def _follow(self) -> None:
        self.informers[NODES].add_handler(self._node_changed)
        self.informers[PODS].add_handler(self._pod_changed)
        _ = self.informers[NAMESPACES], self.informers[POD_DISRUPTION_BUDGETS]
        for resource in (PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, STORAGE_CLASSES, CSI_NODES):
            self.informers[resource].add_handler(lambda old, new: self.queue.happened(VOLUME))

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            assert old is not None
            self.snapshot.remove_node(old["metadata"]["name"])
            return
        generation, allocatable = self.snapshot.generation, _allocatable(old)
        self.snapshot.set_node(new)
        if old is None:
            self.queue.happened(NODE_ADD)
        elif self.snapshot.generation != generation or allocatable != _allocatable(new):
            self.queue.happened(NODE_UPDATE)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        uid = ((new or old) or {})["metadata"]["uid"]
        if new is None or _is_finished(new):
            self._gone(uid)
            return
        if new["spec"].get("nodeName"):
            self._placed(old, new, uid)
            return
        if new["spec"].get("schedulerName", DEFAULT_NAME) not in self.profiles:
            return
        if new["metadata"].get("deletionTimestamp"):
            self._gone(uid)
            return
        if uid in self._assumed:
            return
        if old is not None and self.queue.find(uid) is not None and _same_needs(old, new):
            self._with_info(new, self.queue.replace)
            return
        self._with_info(new, self.queue.add)

    def _with_info(self, pod: Object, use: Callable[[PodInfo], None]) -> None:
        try:
            info = compile_pod(pod)
        except ValueError as error:
            log.error("pod %s/%s cannot be scheduled: %s", pod["metadata"]["namespace"], pod["metadata"]["name"], error)
            return
        use(info)

    def _placed(self, old: Object | None, new: Object, uid: str) -> None:
        self.queue.remove(uid)
        self._nominated.pop(uid, None)
        known = self.snapshot.pods.get(uid)
        if known is not None and old is not None and known.node == new["spec"]["nodeName"] and _same_place(known, new):
            known.object = new
            self._assumed.pop(uid, None)
            return
        self._assumed.pop(uid, None)
        self._with_info(new, self.snapshot.add_pod)
        self.queue.happened(POD_UPDATE if known is not None else POD_ADD)

    def _gone(self, uid: str) -> None:
        self.queue.remove(uid)
        self.explanations.forget(uid)
        nominated = self._nominated.pop(uid, None)
        if uid in self._assumed:
            del self._assumed[uid]
        if self.snapshot.remove_pod(uid) is not None or nominated is not None:
            self.queue.happened(POD_DELETE)

    def _namespace_labels(self, name: str) -> Labels | None:
        namespace = self.informers[NAMESPACES].get(None, name)
        return None if namespace is None else (namespace["metadata"].get("labels") or {})

    def _namespace_names(self) -> Iterable[str]:
        return [namespace["metadata"]["name"] for namespace in self.informers[NAMESPACES]]

    def _budgets(self, namespace: str) -> Sequence[Object]:
        return self.informers[POD_DISRUPTION_BUDGETS].items(namespace)

    # Deciding.

    async def _schedule_all(self) -> None:
        done = 0
        while True:
            entry = await self.queue.pop()
            try:
                await self._schedule(entry)
            except Exception:  # one pod's surprise must not stop the others; it is logged and retried
                log.exception("scheduling of %s/%s failed", *entry.pod.key)
                self.queue.retry(entry)
            done += 1
            if done % _BURST == 0:
                await asyncio.sleep(0)

    async def _schedule(self, entry: QueuedPod) -> None:
        pod = entry.pod
        profile = self.profiles[pod.spec.get("schedulerName", DEFAULT_NAME)]
        nominated = self._place_nominated(pod)
        try:
            passed, diagnosis = profile.feasible(pod, self.snapshot)
            slot = -1
            if pod.nominated_node in self.snapshot.slots and passed[self.snapshot.slots[pod.nominated_node]]:
                slot = self.snapshot.slots[pod.nominated_node]
            elif passed.any():
                slot = profile.best(pod, self.snapshot, passed)
        finally:
            for one in nominated:
                self.snapshot.remove_pod(one.uid)
        if slot >= 0:
            await self._slots.acquire()
            self._assume(entry, profile, self.snapshot.name(slot))
        else:
            await self._refuse(entry, profile, diagnosis)

    def _place_nominated(self, pod: PodInfo) -> list[PodInfo]:
        """Pods that wait for their victims to go keep their room from pods of no higher priority."""
        if not self._nominated:
            return []
        waiting = [one for one in self._nominated.values() if one.priority >= pod.priority and one.uid != pod.uid]
        for one in waiting:
            self.snapshot.add_pod(one)
        return waiting

    def _assume(self, entry: QueuedPod, profile: Profile, node: str) -> None:
        pod = entry.pod
        pod.node = node
        self._nominated.pop(pod.uid, None)
        self.snapshot.add_pod(pod)
        self._assumed[pod.uid] = pod
        task = asyncio.create_task(self._bind(entry, profile, node))
        self._binding[pod.uid] = task
        task.add_done_callback(lambda _: self._bound(pod.uid))

    def _bound(self, uid: str) -> None:
        self._binding.pop(uid, None)
        self._slots.release()

    async def _bind(self, entry: QueuedPod, profile: Profile, node: str) -> None:
        pod = entry.pod
        metadata = pod.object["metadata"]
        binding: Object = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        try:
            for plugin in profile.plugins:
                if isinstance(plugin, VolumeBinding):
                    await plugin.bind(pod, self._client, self.clock)
            await self._client.create(PODS, binding, pod.namespace, name=pod.name, subresource="binding")
        except (ApiError, OSError, VolumesNotReady) as error:
            self._unassume(entry)
            if isinstance(error, NotFound | Conflict):
                log.debug("pod %s/%s not bound: %s", *pod.key, error)
            else:
                log.warning("pod %s/%s not bound: %s", *pod.key, error)
                message = f"running Bind plugin: {error}"
                self.recorder.record(pod.object, "Warning", "FailedScheduling", message)
            return
        self.explanations.forget(pod.uid)
        message = f"Successfully assigned {pod.namespace}/{metadata['name']} to {node}"
        self.recorder.record(pod.object, "Normal", "Scheduled", message)

    def _unassume(self, entry: QueuedPod) -> None:
        pod = entry.pod
        if self._assumed.pop(pod.uid, None) is None:
            return  # the watch has shown it bound, or gone
        self.snapshot.remove_pod(pod.uid)
        self.queue.happened(POD_DELETE)
        live = self.informers[PODS].get(*pod.key)
        if live is None or live["metadata"]["uid"] != pod.uid:
            return
        if live["spec"].get("nodeName") or live["metadata"].get("deletionTimestamp"):
            return
        self._with_info(live, lambda info: setattr(entry, "pod", info))
        self.queue.retry(entry)

    # Refusing.

    async def _refuse(self, entry: QueuedPod, profile: Profile, diagnosis: Diagnosis) -> None:
        pod = entry.pod
        message = diagnosis.summary()
        candidate = None
        if diagnosis.total:
            candidate, why = preemption.find(pod, profile, self.snapshot, diagnosis, self._budgets)
            if candidate is None:
                message = f"{message} preemption: {why}"
        node = self.snapshot.name(candidate.slot) if candidate is not None else ""
        self.explanations.add(pod.uid, message, self.clock.time())
        plugins = diagnosis.plugins
        wakes = profile.wakes(plugins) if plugins else frozenset({NODE_ADD})
        if candidate is not None:
            wakes |= {POD_DELETE}
            pod.node = node
            self._nominated[pod.uid] = pod
        self.recorder.record(pod.object, "Warning", "FailedScheduling", message[:_MAX_MESSAGE])
        self.queue.refuse(entry, plugins, wakes)
        try:
            await self._note_refusal(pod, message, node)
            if candidate is not None:
                await asyncio.gather(*(self._evict(victim, pod, node) for victim in candidate.victims))
        except (ApiError, OSError) as error:
            if not isinstance(error, NotFound | Conflict):
                log.warning("pod %s/%s: refusal not written: %s", *pod.key, error)

    async def _note_refusal(self, pod: PodInfo, message: str, nominated: str) -> None:
        status = pod.object.get("status") or {}
        now = format_time(self.clock.time())
        wanted = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        old = next((one for one in status.get("conditions") or () if one["type"] == "PodScheduled"), None)
        same = old is not None and all(old.get(name) == value for name, value in wanted.items())
        if same and (not nominated or nominated == pod.nominated_node):
            return
        moved = now if old is None or old["status"] != "False" else old.get("lastTransitionTime", now)
        kept = [one for one in status.get("conditions") or () if one["type"] != "PodScheduled"]
        patch: Object = {
            "metadata": {"uid": pod.uid},
            "status": {"conditions": [*kept, {**wanted, "lastProbeTime": None, "lastTransitionTime": moved}]},
        }
        if nominated:
            patch["status"]["nominatedNodeName"] = nominated
        updated = await self._client.patch(
            PODS, pod.name, patch, pod.namespace, type=PatchType.MERGE, subresource="status"
        )
        self.informers[PODS].record_write(updated)

    async def _evict(self, victim: PodInfo, preemptor: PodInfo, node: str) -> None:
        message = f"Preempted by pod {preemptor.uid} on node {node}"
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "PreemptionByScheduler",
            "message": f"{DEFAULT_NAME}: preempting to accommodate a higher priority pod",
            "lastTransitionTime": format_time(self.clock.time()),
        }
        status = victim.object.get("status") or {}
        kept = [one for one in status.get("conditions") or () if one["type"] != "DisruptionTarget"]
        patch = {"metadata": {"uid": victim.uid}, "status": {"conditions": [*kept, condition]}}
        await self._client.patch(PODS, victim.name, patch, victim.namespace, subresource="status")
        await self._client.delete(PODS, victim.name, victim.namespace, uid=victim.uid)
        self.recorder.record(victim.object, "Normal", "Preempted", message)


def _is_finished(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _allocatable(node: Object | None) -> Object | None:
    return None if node is None else (node.get("status") or {}).get("allocatable")


def _same_needs(old: Object, new: Object) -> bool:
    """Whether an update of a pending pod leaves its chances as they were (a status write of our own, mostly)."""
    return bool(old["spec"] == new["spec"] and old["metadata"].get("labels") == new["metadata"].get("labels"))


def _same_place(known: PodInfo, new: Object) -> bool:
    metadata = new["metadata"]
    return (
        known.labels == (metadata.get("labels") or {})
        and known.terminating == bool(metadata.get("deletionTimestamp"))
        and _requests_of(known.object) == _requests_of(new)
    )


def _requests_of(pod: Object) -> list[object]:
    spec = pod["spec"]
    return [container.get("resources") for container in spec.get("containers", ())]
