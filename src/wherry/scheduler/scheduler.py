"""The scheduler: pending pods in, bindings out.

One task decides, one pod at a time, on the arrays of `Snapshot`; bindings, refusals and evictions are written by
others, and until the watch shows a binding its pod is *assumed* to be on its node.
https://kubernetes.io/docs/concepts/scheduling-eviction/kube-scheduler/
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any

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
from wherry.scheduler.snapshot import Mask, Snapshot
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
# Bindings and refusals that are being written at once.
_IN_FLIGHT = 256
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
        self._writing: dict[str, asyncio.Task[None]] = {}
        """By pod UID: the write about it that is under way. The next one waits for it."""
        self._slots = asyncio.Semaphore(_IN_FLIGHT)
        self._assumed: dict[str, PodInfo] = {}
        self._nominated: dict[str, PodInfo] = {}
        self._victims = preemption.Memory()
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
        self._with_info(new, self._add)

    def _add(self, pod: PodInfo) -> None:
        if pod.nominated_node and pod.uid not in self._nominated and self.queue.find(pod.uid) is None:
            # Promised by a scheduler before this one.
            self._nominate(pod, pod.nominated_node)
        self.queue.add(pod)

    def _with_info(self, pod: Object, use: Callable[[PodInfo], None]) -> None:
        try:
            info = compile_pod(pod)
        except ValueError as error:
            log.error("pod %s/%s cannot be scheduled: %s", pod["metadata"]["namespace"], pod["metadata"]["name"], error)
            return
        use(info)

    def _placed(self, old: Object | None, new: Object, uid: str) -> None:
        self.queue.remove(uid)
        self._drop_nomination(uid)
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
        nominated = self._drop_nomination(uid)
        if uid in self._assumed:
            del self._assumed[uid]
        left = self.snapshot.remove_pod(uid) or nominated
        if left is not None:
            self.queue.happened(POD_DELETE, left.node)

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
        candidate, why = None, ""
        hidden = self._hide_nominated(pod)
        try:
            passed, diagnosis = self._feasible(pod, profile)
            slot = -1
            if pod.nominated_node in self.snapshot.slots and passed[self.snapshot.slots[pod.nominated_node]]:
                slot = self.snapshot.slots[pod.nominated_node]
            elif passed.any():
                slot = profile.best(pod, self.snapshot, passed)
            elif diagnosis.total:
                memory = None if len(self.informers[POD_DISRUPTION_BUDGETS]) else self._victims
                candidate, why = preemption.find(pod, profile, self.snapshot, diagnosis, self._budgets, memory)
        finally:
            for one in hidden:
                self.snapshot.add_pod(one)
        if slot >= 0:
            await self._slots.acquire()
            self._assume(entry, profile, self.snapshot.name(slot))
        else:
            await self._refuse(entry, profile, diagnosis, candidate, why)

    # Nominated pods wait for their victims to go. They stand in the snapshot as if they ran already, so that pods of no
    # higher priority leave them their room.

    def _nominate(self, pod: PodInfo, node: str) -> None:
        self._drop_nomination(pod.uid)
        pod.node = node
        self._nominated[pod.uid] = pod
        self.snapshot.add_pod(pod)

    def _drop_nomination(self, uid: str) -> PodInfo | None:
        pod = self._nominated.pop(uid, None)
        if pod is not None and self.snapshot.pods.get(uid) is pod:
            self.snapshot.remove_pod(uid)
        return pod

    def _hide_nominated(self, pod: PodInfo) -> list[PodInfo]:
        """Take `pod` itself and the nominated ones that it may displace out of the snapshot; returns them."""
        hidden = [one for one in self._nominated.values() if one.uid == pod.uid or one.priority < pod.priority]
        for one in hidden:
            self.snapshot.remove_pod(one.uid)
        return hidden

    def _feasible(self, pod: PodInfo, profile: Profile) -> tuple[Mask, Diagnosis]:
        """The nodes where `pod` can run whether or not the nominated pods come to run where they are expected."""
        passed, diagnosis = profile.feasible(pod, self.snapshot)
        if not (pod.required_affinity or pod.spread) or not passed.any():
            return passed, diagnosis
        expected = [one for one in self._nominated.values() if one.uid in self.snapshot.pods]
        if not expected:
            return passed, diagnosis
        for one in expected:
            self.snapshot.remove_pod(one.uid)
        try:
            without, diagnosis = profile.feasible(pod, self.snapshot)
        finally:
            for one in expected:
                self.snapshot.add_pod(one)
        return passed & without, diagnosis

    def _assume(self, entry: QueuedPod, profile: Profile, node: str) -> None:
        pod = entry.pod
        self._drop_nomination(pod.uid)
        pod.node = node
        self.snapshot.add_pod(pod)
        self._assumed[pod.uid] = pod
        self._write(pod.uid, self._bind(entry, profile, node))

    def _write(self, uid: str, work: Coroutine[Any, Any, None]) -> None:
        """Do it beside the deciding, after what is being written about the same pod. Takes over a slot."""
        before = self._writing.get(uid)

        async def write() -> None:
            if before is not None:
                await asyncio.wait({before})
            await work

        def done(task: asyncio.Task[None]) -> None:
            work.close()  # where it was cancelled before it began
            self._slots.release()
            if self._writing.get(uid) is task:
                del self._writing[uid]
            if not task.cancelled() and task.exception() is not None:
                log.error("a write of the scheduler failed", exc_info=task.exception())

        task = self._writing[uid] = asyncio.create_task(write())
        task.add_done_callback(done)

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

    async def _refuse(
        self, entry: QueuedPod, profile: Profile, diagnosis: Diagnosis, candidate: preemption.Candidate | None, why: str
    ) -> None:
        pod = entry.pod
        message = diagnosis.summary()
        if why:
            message = f"{message} preemption: {why}"
        node = self.snapshot.name(candidate.slot) if candidate is not None else ""
        self.explanations.add(pod.uid, message, self.clock.time())
        plugins = diagnosis.plugins
        wakes = profile.wakes(plugins) if plugins else frozenset({NODE_ADD})
        displaced: list[PodInfo] = []
        if candidate is not None:
            wakes |= {POD_DELETE}
            displaced = [one for one in self._nominated.values() if one.node == node and one.priority < pod.priority]
            for one in displaced:
                self._drop_nomination(one.uid)
            self._nominate(pod, node)
        self.recorder.record(pod.object, "Warning", "FailedScheduling", message[:_MAX_MESSAGE])
        self.queue.refuse(entry, plugins, wakes, node)
        await self._slots.acquire()
        self._write(pod.uid, self._write_refusal(pod, message, node, candidate, displaced))

    async def _write_refusal(
        self,
        pod: PodInfo,
        message: str,
        node: str,
        candidate: preemption.Candidate | None,
        displaced: Sequence[PodInfo],
    ) -> None:
        try:
            await self._note_refusal(pod, message, node)
            if candidate is not None:
                await asyncio.gather(
                    *(self._evict(victim, pod, node) for victim in candidate.victims),
                    *(self._forget_nomination(one) for one in displaced),
                )
        except (ApiError, OSError) as error:
            if not isinstance(error, NotFound | Conflict):
                log.warning("pod %s/%s: refusal not written: %s", *pod.key, error)

    async def _forget_nomination(self, pod: PodInfo) -> None:
        """A more important pod has been promised the room."""
        patch: Object = {"metadata": {"uid": pod.uid}, "status": {"nominatedNodeName": None}}
        await self._client.patch(PODS, pod.name, patch, pod.namespace, subresource="status")

    async def _note_refusal(self, pod: PodInfo, message: str, nominated: str) -> None:
        live = self.informers[PODS].get(*pod.key)
        if live is None or live["metadata"]["uid"] != pod.uid:
            return
        status = live.get("status") or {}
        now = format_time(self.clock.time())
        wanted = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        old = next((one for one in status.get("conditions") or () if one["type"] == "PodScheduled"), None)
        same = old is not None and all(old.get(name) == value for name, value in wanted.items())
        if same and (not nominated or nominated == status.get("nominatedNodeName")):
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
