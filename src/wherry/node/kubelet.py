"""The kubelet: follows the pods bound to this node and runs each by a worker of its own.

`run()` registers the node, adopts what runs from before, and then only reacts: to the API's watch, to the engine's
events, to probes. Nothing is polled but the machine's own measures.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from wherry.client.api import Client
from wherry.client.clock import Clock, SystemClock
from wherry.client.events import EventRecorder
from wherry.client.informer import Informer
from wherry.host.instance import Instance
from wherry.node import node_status, pods
from wherry.node.admission import admit, fits
from wherry.node.container_logs import LogLinks
from wherry.node.eviction import EvictionManager
from wherry.node.heartbeat import Heartbeat
from wherry.node.image_gc import ImageCollector
from wherry.node.images import Images
from wherry.node.node_status import NodeSettings
from wherry.node.objects import ObjectCache
from wherry.node.pod_worker import PodWorker
from wherry.node.resize import Obstacle
from wherry.node.runtime import ContainerEvent, Runtime, RuntimeFailure
from wherry.node.sandbox import ClusterSettings, PodNet, Sandboxes
from wherry.node.services import NodeFacts, NodeServices
from wherry.node.state import ContainerView
from wherry.node.static_pods import StaticPods
from wherry.node.stats import Stats
from wherry.node.volumes.manager import VolumeManager
from wherry.schema.builtin import PODS, SERVICES
from wherry.schema.resource import Object

log = logging.getLogger(__name__)


class Kubelet:
    """One node. `runtime` is the engine (see `engine_runtime.EngineRuntime`), `network` gives pods their addresses.

    `services` is an informer of all Services that somebody else runs; without it the kubelet runs its own. `port` is
    that of the node API, when it is known already (`NodeServer.start` sets it too).
    """

    def __init__(
        self,
        runtime: Runtime,
        client: Client,
        instance: Instance,
        network: PodNet | None,
        settings: NodeSettings,
        *,
        cluster: ClusterSettings | None = None,
        clock: Clock | None = None,
        port: int = 0,
        services: Informer | None = None,
    ) -> None:
        self._runtime = runtime
        self._client = client
        self._instance = instance
        if not settings.addresses:
            settings = NodeSettings(**{**settings.__dict__, "addresses": (node_status.primary_address(),)})
        self.settings = settings
        self._clock = clock or SystemClock()
        self._workers: dict[str, PodWorker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._recorder = EventRecorder(client, "kubelet", host=settings.name, clock=self._clock)
        self.pods = Informer(client, PODS, clock=self._clock, field_selector=f"spec.nodeName={settings.name}")
        self._own_services = services is None
        self._service_informer = services if services is not None else Informer(client, SERVICES, clock=self._clock)
        self._objects = ObjectCache(client, self._objects_changed)
        self.volumes = VolumeManager(instance.root, client, self._objects, self._clock)
        self.images = Images(runtime, self._objects, self._record, self._clock)
        found = node_status.machine(instance.root)
        _, allocatable = node_status.resources_of(found, settings)
        self.facts = NodeFacts(name=settings.name, ips=settings.addresses, memory=found.memory, allocatable=allocatable)
        self.heartbeat = Heartbeat(
            client,
            settings,
            instance.root,
            self._clock,
            images=self._image_list,
            problems=self._problems,
            event=self._node_event,
        )
        self.heartbeat.port = port
        self.logs = LogLinks(instance.root / "log")
        self._node = NodeServices(
            instance=instance,
            client=client,
            runtime=runtime,
            images=self.images,
            objects=self._objects,
            volumes=self.volumes,
            sandboxes=Sandboxes(instance, network, cluster or ClusterSettings()),
            logs=self.logs,
            record=self._record,
            clock=self._clock,
            facts=self.facts,
            services=self._services,
            written=self._written,
            fits=self._fits,
        )
        self.static = StaticPods(
            instance.root / "manifests",
            client,
            settings.name,
            self._clock,
            add=self._add_static,
            worker=self.worker,
            seen=self.pods.items,
            node=lambda: self.heartbeat.node,
        )
        self._begun = False
        self._adopted = False
        self._missed: list[ContainerEvent] = []
        self.collector = ImageCollector(runtime, self._clock)
        self.evictions = EvictionManager(
            instance.root,
            self._clock,
            workers=self.workers,
            memory_of=Stats(runtime, instance.root).memory_of,
            pod_dir=self.volumes.pod_dir,
            free_disk=self.collector.free,
            event=self._record,
        )
        self.ready = asyncio.Event()

    @property
    def runtime(self) -> Runtime:
        return self._runtime

    def worker(self, uid: str) -> PodWorker | None:
        """The worker of a pod, by the pod's UID."""
        return self._workers.get(uid)

    def find_pod(self, namespace: str, name: str, uid: str = "") -> PodWorker | None:
        """The worker of a pod by name; of two with one name (one still ending), the one that is not ending."""
        found = [
            worker
            for worker in self._workers.values()
            if pods.name(worker.pod) == name
            and pods.namespace(worker.pod) == namespace
            and (not uid or worker.uid == uid)
        ]
        found.sort(key=lambda worker: pods.is_deleted(worker.pod))
        return found[0] if found else None

    def now(self) -> float:
        """Epoch seconds by the kubelet's clock."""
        return self._clock.time()

    def workers(self) -> list[PodWorker]:
        return list(self._workers.values())

    async def run(self) -> None:
        """Until cancelled. Containers keep running afterwards."""
        unsubscribe = self._runtime.subscribe(self._on_event)
        background = [
            asyncio.create_task(self.evictions.run(), name="kubelet evictions"),
            asyncio.create_task(self._recorder.run(), name="kubelet events"),
            asyncio.create_task(self.pods.run(), name="kubelet pods"),
            asyncio.create_task(self.heartbeat.run(), name="kubelet heartbeat"),
        ]
        if self._own_services:
            background.append(asyncio.create_task(self._service_informer.run(), name="kubelet services"))
        try:
            views = await self._own_containers()
            await self.static.load()
            for pod in self.static.pods():
                self._add(pod, views.get(pods.uid(pod), ([], {}))[0])
            self._begun = True
            self._catch_up()
            await asyncio.gather(self.pods.synced.wait(), self._service_informer.synced.wait())
            self._adopt(await self._own_containers())
            self.pods.add_handler(self._on_pod)
            background.append(asyncio.create_task(self.static.run(), name="kubelet static pods"))
            self.ready.set()
            done, _ = await asyncio.wait(background, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            unsubscribe()
            tasks = [*background, *self._tasks.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._objects.close()

    # Pods come and go.

    async def _own_containers(self) -> dict[str, tuple[list[ContainerView], dict[str, str]]]:
        """Of each pod that has any: its containers, and the labels of one."""
        found: dict[str, tuple[list[ContainerView], dict[str, str]]] = {}
        for labels, view in await self._runtime.containers():
            found.setdefault(labels.get(pods.LABEL_UID, ""), ([], dict(labels)))[0].append(view)
        return found

    def _adopt(self, found: dict[str, tuple[list[ContainerView], dict[str, str]]]) -> None:
        """Take over the containers that run from before; end those whose pod nobody declares any more."""
        declared = [pod for pod in self.pods.items() if not pods.is_mirror(pod)]
        known = {pods.uid(pod) for pod in declared} | set(self._workers)
        leftovers = (set(found) | self._node.sandboxes.known() | self._folders()) - known
        for uid in leftovers:
            views, labels = found.get(uid, ([], {}))
            pod = LogLinks.saved_pod(self.volumes.pod_dir(uid)) or _bare_pod(uid, labels)
            log.info("pod %s (%s) is not declared any more: ending it", pods.full_name(pod), uid)
            worker = self._add(pod, views)
            worker.forget_api()
        # After the leftovers: a pod waits for the one that had its name before.
        for pod in declared:
            self._add(pod, found.get(pods.uid(pod), ([], {}))[0])
        self._adopted = True
        self._catch_up()

    def _add_static(self, pod: Object) -> None:
        # At the start `run` adds them itself, with the containers that they have from before.
        if self._begun:
            self._add(pod, [])

    def _folders(self) -> set[str]:
        base = self.volumes.pod_dir("x").parent
        return {path.name for path in base.iterdir()} if base.is_dir() else set()

    def _on_pod(self, old: Object | None, new: Object | None) -> None:
        if pods.is_mirror(new or old or {"metadata": {}}):
            self.static.api_changed()
            return
        self._room_changed()
        if new is None:
            worker = self._workers.get(pods.uid(old)) if old is not None else None
            if worker is not None and not worker.finished:
                worker.forget_api()
            return
        if old is not None and pods.uid(old) != pods.uid(new):
            self._on_pod(old, None)
        worker = self._workers.get(pods.uid(new))
        if worker is None:
            self._add(new, [])
        else:
            worker.update(new)

    def _add(self, pod: Object, adopted: Sequence[ContainerView]) -> PodWorker:
        uid = pods.uid(pod)
        worker = PodWorker(pod, self._node, adopted)
        self._check_admission(worker, adopted)
        before = [
            self._tasks[other.uid]
            for other in self._workers.values()
            if pods.full_name(other.pod) == pods.full_name(pod) and other.uid in self._tasks
        ]
        self._workers[uid] = worker

        async def run() -> None:
            # A pod that was deleted by force is gone from the API while its containers still end. Two of one name at
            # a time would break what StatefulSets promise, so the next one waits until nothing of it is left.
            if before:
                await asyncio.wait(before)
            await worker.run()

        task = asyncio.create_task(run(), name=f"pod {pods.full_name(pod)}")
        self._tasks[uid] = task
        task.add_done_callback(lambda ended: self._ended(uid, ended))
        return worker

    def _check_admission(self, worker: PodWorker, adopted: Sequence[ContainerView]) -> None:
        """A pod that has not begun here must fit here; one that has stays."""
        pod = worker.pod
        begun = adopted or worker.sandbox is not None or (pod.get("status") or {}).get("startTime")
        if begun or pods.is_deleted(pod) or pods.is_terminal(pod):
            return
        refusal = admit(pod, self._others(worker.uid), self.heartbeat.node, self.facts.allocatable)
        if refusal is not None:
            self._record(pod, "Warning", refusal.reason, refusal.message)
            worker.stop(refusal.reason, refusal.status_message)

    def _others(self, uid: str) -> list[Object]:
        """The pods besides `uid` that use this node's resources now, with what they were granted."""
        return [
            other.granted
            for other in self._workers.values()
            if other.uid != uid
            and not other.stopping
            and not pods.is_terminal(other.pod)
            and "containers" in other.pod["spec"]
        ]

    def _fits(self, pod: Object) -> Obstacle | None:
        return fits(pod, self._others(pods.uid(pod)), self.facts.allocatable)

    def _room_changed(self) -> None:
        for worker in self._workers.values():
            if worker.resize_waits:
                worker.look_again()

    def _ended(self, uid: str, task: "asyncio.Task[None]") -> None:
        worker = self._workers.get(uid)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None and worker is not None:
            log.error("worker of pod %s failed", pods.full_name(worker.pod), exc_info=error)
        self._workers.pop(uid, None)
        self._tasks.pop(uid, None)
        self.static.api_changed()
        self._room_changed()
        self._objects.release(uid)

    def _written(self, pod: Object) -> None:
        self.pods.record_write(pod)

    # What reaches workers from elsewhere.

    def _on_event(self, event: ContainerEvent) -> None:
        uid = event.labels.get(pods.LABEL_UID, "")
        worker = self._workers.get(uid)
        if worker is not None:
            worker.container_event(event.id, event.action)
        elif not self._adopted:
            # Its pod has no worker yet, and what is about to be adopted may have been read before this happened.
            self._missed.append(event)

    def _catch_up(self) -> None:
        missed, self._missed = self._missed, []
        for event in missed:
            self._on_event(event)

    def _objects_changed(self, uid: str) -> None:
        worker = self._workers.get(uid)
        if worker is not None:
            worker.objects_changed()

    def _services(self) -> Sequence[Object]:
        return list(self._service_informer)

    def _record(self, pod: Object, type: str, reason: str, message: str, container: str = "") -> None:
        field = pods.field_path(pod, container) if container else ""
        if "apiVersion" not in pod:
            pod = {"apiVersion": "v1", "kind": "Pod", **pod}
        self._recorder.record(pod, type, reason, message, field_path=field)

    def _node_event(self, node: Object, type: str, reason: str, message: str) -> None:
        # Events of a node name the node as their uid: that is how `kubectl describe node` finds them.
        reference = {"kind": "Node", "name": node["metadata"]["name"], "uid": node["metadata"]["name"]}
        self._recorder.record(reference, type, reason, message)

    async def _image_list(self) -> list[dict[str, Any]]:
        try:
            await self.collector.look()
            return await self._runtime.image_list()
        except RuntimeFailure as error:
            log.warning("images cannot be listed: %s", error)
            return []

    def _problems(self) -> list[str]:
        return []


def _bare_pod(uid: str, labels: dict[str, str]) -> Object:
    """Enough of a pod to end its containers when nothing else is known of it."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": labels.get(pods.LABEL_POD, "unknown"),
            "namespace": labels.get(pods.LABEL_NAMESPACE, "default"),
            "uid": uid,
        },
        "spec": {"containers": [], "restartPolicy": "Never"},
    }
