"""One pod's worker: watches what is, asks `decide` what to do, and does it.

The worker wakes when the pod changes in the API, a container starts or ends (told by the engine, never polled), a
probe's verdict changes, one of its own tasks ends, or at the time `decide` named. Slow work (pulls, starts, kills)
runs in one task per container, so that nothing waits for it but that container.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from wherry.node import adoption, container_spec, pods, resize
from wherry.node.container_ender import ContainerEnder
from wherry.node.container_maker import RETRY_START, ContainerMaker, NotMade, Place
from wherry.node.decide import Action, Decision, Finish, Kill, Prepare, Remove, Resize, Start, TearDown, decide
from wherry.node.health import Health
from wherry.node.hooks import HookFailed, run_hook
from wherry.node.images import ImageError
from wherry.node.pod_setup import PodSetup
from wherry.node.publisher import StatusPublisher
from wherry.node.runtime import NoSuchContainer, RuntimeFailure
from wherry.node.sandbox import Sandbox
from wherry.node.services import NodeServices
from wherry.node.state import ContainerView, Observed, StartError
from wherry.node.status import pod_status
from wherry.schema.builtin import PODS
from wherry.schema.errors import ApiError, Conflict, NotFound
from wherry.schema.resource import Object

log = logging.getLogger(__name__)


class PodWorker:
    """Runs until the pod is gone; `adopted` are containers that exist from before."""

    def __init__(self, pod: Object, node: NodeServices, adopted: Sequence[ContainerView] = ()) -> None:
        self.pod = pod
        self.uid = pods.uid(pod)
        self._node = node
        self._maker = ContainerMaker(node)
        self._wake = asyncio.Event()
        self._containers: dict[str, list[ContainerView]] = {}
        for view in sorted(adopted, key=lambda v: v.attempt, reverse=True):
            self._containers.setdefault(view.name, []).append(view)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._end_task: asyncio.Task[None] | None = None
        self._errors: dict[str, StartError] = {}
        self._setup = PodSetup(node, self.uid, self._wake.set)
        self._ender = ContainerEnder(node.runtime, node.clock, node.record, self._exec_in)
        self.health = Health(
            node.clock, node.record, pod=lambda: self.pod, current=self.container, changed=self._wake.set
        )
        self._resizes = resize.Resizes(pod)
        self._resizing = False
        self._stop_reason = ""
        self._stop_message = ""
        self._stop_grace: float | None = None
        self._torn_down = False
        self._finished = False
        self._waiting: dict[str, tuple[str, str]] = {}
        self._interruptible: set[str] = set()
        self._reloads: set[asyncio.Task[None]] = set()
        mirrored = None if pods.is_static(pod) else pod
        self._publisher = StatusPublisher(node.client, mirrored, node.clock, self._on_written)
        self._seed()

    # What others tell the worker.

    def update(self, pod: Object) -> None:
        """The pod as the API has it now."""
        shortened = pods.is_deleted(pod) and pods.grace_period(pod) != pods.grace_period(self.pod)
        first = pods.is_deleted(pod) and not pods.is_deleted(self.pod)
        self.pod = pod
        if not pods.is_static(pod):
            self._publisher.observe(pod)
        if first:
            self._interrupt()
        if first or shortened:
            self._ender.hurry(pods.grace_period(pod))
        self._wake.set()

    def forget_api(self) -> None:
        """The API has no such pod any more (deleted with force, or while this node was away): end it at once."""
        meta = {
            **self.pod["metadata"],
            "deletionTimestamp": self.pod["metadata"].get("deletionTimestamp")
            or pods.format_time(self._node.clock.time()),
            "deletionGracePeriodSeconds": 0,
        }
        self._publisher.gone = True
        self.update({**self.pod, "metadata": meta})

    def mirrored(self, mirror: Object | None) -> None:
        """Of a static pod: its mirror in the API as it is now; None while there is none."""
        self.pod = {**self.pod, "status": (mirror or {}).get("status") or {}}
        self._publisher.observe(mirror)
        self._wake.set()

    def end_static(self) -> None:
        """The file of a static pod is gone: end it as a deletion would."""
        grace = self.pod["spec"].get("terminationGracePeriodSeconds")
        meta = {
            **self.pod["metadata"],
            "deletionTimestamp": pods.format_time(self._node.clock.time()),
            "deletionGracePeriodSeconds": 30 if grace is None else grace,
        }
        self.update({**self.pod, "metadata": meta})

    def stop(self, reason: str, message: str, *, grace: float | None = None) -> None:
        """End the pod from this side (evicted, rejected): it will be Failed with this reason. `grace` (seconds)
        stands in for the pod's own."""
        if not self._stop_reason:
            self._stop_grace = grace
            self._stop_reason, self._stop_message = reason, message
            self._interrupt()
            self._wake.set()

    def _interrupt(self) -> None:
        """A pod that ends does not wait for a pull or a postStart hook."""
        for name in self._interruptible:
            task = self._tasks.get(name)
            if task is not None:
                task.cancel()

    def objects_changed(self) -> None:
        """A ConfigMap, Secret or claim that the pod names has changed."""
        self._setup.retry_now()
        for name, error in list(self._errors.items()):
            if error.reason == "CreateContainerConfigError":
                self._errors[name] = replace(error, retry_at=0.0)
        self._setup.refresh(self.pod)
        self._wake.set()

    def look_again(self) -> None:
        """Something else on the node changed that this pod may wait for (room for a resize)."""
        self._wake.set()

    def container_event(self, id: str, action: str) -> None:
        """The engine saw a container start, die or go."""
        if action == "destroy":
            self._removed(id)
        elif action == "die":
            self._spawn_reload(id)
        self._wake.set()

    @property
    def finished(self) -> bool:
        return self._finished

    @property
    def stopping(self) -> bool:
        """Was it ended from this side (refused, evicted, past its deadline)?"""
        return bool(self._stop_reason)

    def container(self, name: str, *, previous: bool = False) -> ContainerView | None:
        """The newest attempt of a container, or the one before it."""
        views = self._containers.get(name) or []
        index = 1 if previous else 0
        return views[index] if len(views) > index else None

    def waiting_reason(self, name: str) -> str:
        """The reason with which a container waits, "" when it does not."""
        return self._waiting.get(name, ("", ""))[0]

    def is_waiting(self, name: str) -> bool:
        return name in self._waiting

    @property
    def sandbox(self) -> Sandbox | None:
        return self._setup.sandbox

    @property
    def granted(self) -> Object:
        """The pod with the resources that it was granted."""
        return resize.with_resources(self.pod, self._resizes.allocated)

    def claims(self) -> Iterator[tuple[str, Path]]:
        """Of each claim that the pod has mounted: its name, and where it lies."""
        for volume in self.pod["spec"].get("volumes") or ():
            mounted = (self._setup.volumes or {}).get(volume["name"])
            claim = (volume.get("persistentVolumeClaim") or {}).get("claimName")
            if "ephemeral" in volume:
                claim = f"{pods.name(self.pod)}-{volume['name']}"
            if mounted is not None and claim:
                yield claim, mounted.path

    @property
    def resize_waits(self) -> bool:
        return self._resizes.waiting

    # The loop.

    async def run(self) -> None:
        """Until the pod is finished, or cancelled (its containers then go on without us)."""
        if self._setup.sandbox is not None and not pods.is_deleted(self.pod) and not pods.is_terminal(self.pod):
            self._adopt_probes()
        self._node.logs.save_pod(self.pod, self._node.volumes.pod_dir(self.uid))
        try:
            while not self._finished:
                self._wake.clear()
                now = self._node.clock.time()
                self._check_deadline(now)
                self._check_resize()
                observed = self._observe()
                decision = decide(self.pod, observed, now)
                self._waiting = decision.waiting
                for action in decision.actions:
                    self._perform(action, now)
                if not self._finished:
                    status = pod_status(self.pod, self._observe(), decision, now, self._node.facts.ips)
                    self._publisher.set(status)
                    await self._sleep(decision, now)
        finally:
            await self._cancel_all()

    async def _sleep(self, decision: Decision, now: float) -> None:
        times = [decision.wake_at, self._deadline(), self._node.volumes.renew_at(self.uid)]
        if self._setup.retry_at > now and not self._setup.ready:
            times.append(self._setup.retry_at)
        until = min((time for time in times if time is not None), default=None)
        if until is None:
            await self._wake.wait()
            return
        timer = asyncio.ensure_future(self._node.clock.sleep(max(0.0, until - now) + 0.001))
        waker = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait([timer, waker], return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            waker.cancel()
        renew = self._node.volumes.renew_at(self.uid)
        if renew is not None and renew <= self._node.clock.time():
            self._setup.refresh(self.pod)

    def _observe(self) -> Observed:
        containers = {name: tuple(views) for name, views in self._containers.items() if views}
        sandbox = self._setup.sandbox
        running = {name: views[0].id for name, views in containers.items() if views[0].running}
        return Observed(
            sandbox=sandbox.id if sandbox else "",
            prepared=self._setup.ready,
            ips=sandbox.ips if sandbox else (),
            containers=containers,
            busy=frozenset(self._tasks),
            started=frozenset(self.health.started),
            ready=frozenset(self.health.ready),
            failed=dict(self.health.failed),
            errors=dict(self._errors),
            stop_reason=self._stop_reason,
            stop_message=self._stop_message,
            stop_grace=self._stop_grace,
            torn_down=self._torn_down,
            allocated=dict(self._resizes.allocated),
            actuated=dict(self._resizes.actuated),
            restarting=frozenset(self._resizes.restarting),
            resize=self._resizes.state(running),
        )

    def _perform(self, action: Action, now: float) -> None:
        match action:
            case Prepare():
                self._setup.begin(self.pod, now, again=any(self._containers.values()))
            case Start():
                self._launch(action.name, self._start(action))
            case Kill():
                self._launch(action.name, self._kill(action))
            case Resize():
                self._launch(action.name, self._resize(action))
            case Remove():
                self._launch(action.name, self._remove(action.id, action.name))
            case TearDown() | Finish():
                if self._end_task is None:
                    self._end_task = asyncio.create_task(self._end(isinstance(action, Finish)))

    def _launch(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        if name in self._tasks:
            work.close()
            return

        async def body() -> None:
            try:
                await work
            except (RuntimeFailure, OSError) as error:
                log.warning("pod %s, container %s: %s", pods.full_name(self.pod), name, error)
                self._hold(name, str(error))
            except Exception as error:
                log.exception("pod %s, container %s", pods.full_name(self.pod), name)
                self._hold(name, str(error))
            finally:
                self._interruptible.discard(name)
                self._tasks.pop(name, None)
                self._wake.set()

        self._tasks[name] = asyncio.create_task(body(), name=f"{pods.full_name(self.pod)}/{name}")

    def _hold(self, name: str, message: str) -> None:
        """Do not try again at once what has just failed for a reason nobody foresaw."""
        self._errors[name] = StartError("CreateContainerError", message, self._node.clock.time() + RETRY_START)

    # Containers.

    async def _start(self, action: Start) -> None:
        pod = self.granted
        container = pods.find_container(pod, action.name)
        if container is None or not self._setup.ready:
            return
        before = self.container(action.name)
        if before is not None and before.backoff and before.exited:
            where = f"in pod {pods.described(self.pod)}"
            message = f"Back-off restarting failed container {action.name} {where}"
            self._node.record(self.pod, "Warning", "BackOff", message, action.name)
        id = await self._create(action, pod, container)
        if id is None:
            return
        self._resizes.began(id, action.name)
        self._errors.pop(action.name, None)
        self._node.record(self.pod, "Normal", "Created", f"Created container: {action.name}", action.name)
        try:
            await self._node.runtime.start(id)
        except RuntimeFailure as error:
            self._node.record(self.pod, "Warning", "Failed", f"Error: {error}", action.name)
            view = await self._reload(id)
            if view is not None and view.exited and not view.error:
                self._put(replace(view, error=str(error)))
            elif view is not None and not view.running and not view.exited:
                now = self._node.clock.time()
                self._put(replace(view, state="exited", error=str(error), exit_code=128, finished_at=now))
            return
        self._node.record(self.pod, "Normal", "Started", f"Started container {action.name}", action.name)
        view = await self._reload(id)
        if view is None:
            return
        await self._node.logs.link(self.pod, view, self._node.runtime)
        hook = (container.get("lifecycle") or {}).get("postStart")
        if hook and not await self._post_start(view, container, hook):
            return
        if view.running:
            self._begin_probes(view, container, started=False)

    async def _create(self, action: Start, pod: Object, container: Object) -> str | None:
        """Everything up to the created container, and its id; a failure is kept as the reason why it waits."""
        name = action.name
        self._interruptible.add(name)
        try:
            image = await self._node.images.ensure(pod, container)
            volumes = await self._node.images.volumes(pod, container)
        except ImageError as error:
            self._errors[name] = StartError(error.reason, error.message, error.retry_at)
            return None
        finally:
            self._interruptible.discard(name)
        assert self._setup.sandbox is not None and self._setup.volumes is not None
        place = Place(pod, self._setup.sandbox, self._setup.volumes, volumes)
        target = self.container(container.get("targetContainerName") or "")
        try:
            return await self._maker.create(place, container, action, image, target)
        except NotMade as failure:
            self._node.record(self.pod, "Warning", "Failed", f"Error: {failure.error.message}", name)
            self._errors[name] = failure.error
            return None

    async def _post_start(self, view: ContainerView, container: Object, hook: Object) -> bool:
        run = self._exec_in(view.id)
        self._interruptible.add(view.name)
        try:
            await run_hook(hook, container, self._setup.address, run, 3600.0)
        except (HookFailed, TimeoutError, RuntimeFailure) as error:
            self._node.record(self.pod, "Warning", "FailedPostStartHook", f"PostStartHook failed: {error}", view.name)
            current = self.container(view.name)
            if current is not None and current.running:
                message = "FailedPostStartHook"
                await self._kill(Kill(view.id, view.name, message, pods.grace_period(self.pod)))
            return False
        return True

    def _exec_in(self, id: str) -> "Callable[[list[str], float], asyncio.Future[tuple[int, bytes]]]":
        def run(command: list[str], timeout: float) -> "asyncio.Future[tuple[int, bytes]]":
            return asyncio.ensure_future(self._node.runtime.exec(id, command, timeout))

        return run

    async def _kill(self, action: Kill) -> None:
        view = next((v for v in self._containers.get(action.name, []) if v.id == action.id), None)
        if view is None or not view.running:
            return
        if action.id in self.health.failed:
            self.health.stop(action.id)
        elif self._resizes.differs(view.id, view.name):
            self._resizes.restarting.add(view.id)
        try:
            ended = await self._ender.end(self.pod, action, self._setup.address)
        except NoSuchContainer:
            self._removed(view.id)
            return
        if not ended:
            # The engine did not tell of an end: look for ourselves before trying again.
            await self._reload(view.id)

    async def _resize(self, action: Resize) -> None:
        """The pod's cgroup may have to grow before the container's does, and can shrink only after it."""
        pod = self.granted
        container = pods.find_container(pod, action.name) or {}
        sandboxes = self._node.sandboxes
        try:
            await sandboxes.resize(pod)
            await self._node.runtime.update(action.id, container_spec.limits_of(container))
            await sandboxes.resize(pod)
        except RuntimeFailure as error:
            self._resizes.failed(action.name, str(error))
            self._node.record(pod, "Warning", "ResizeError", f"Pod resize error: {resize.summary(pod, str(error))}")
            raise
        self._errors.pop(action.name, None)
        self._resizes.done(action.id, action.resources, action.name)

    def _check_resize(self) -> None:
        """Grant what the spec asks for, and tell when all that was granted is in force."""
        if self.stopping or pods.is_deleted(self.pod) or pods.is_terminal(self.pod):
            return

        def record(type: str, reason: str, message: str) -> None:
            self._node.record(self.pod, type, reason, message)

        self._resizes.consider(self.pod, lambda pod: self._node.fits(pod), record)
        busy = self._resizes.state({name: v[0].id for name, v in self._containers.items() if v and v[0].running})
        if self._resizing and not busy.in_progress and busy.obstacle is None:
            record("Normal", "ResizeCompleted", f"Pod resize completed: {resize.summary(self.pod)}")
        self._resizing = busy.in_progress

    async def _remove(self, id: str, name: str) -> None:
        with contextlib.suppress(NoSuchContainer):
            await self._node.runtime.remove(id)
        self._drop(id, name)

    # What the engine tells.

    def _spawn_reload(self, id: str) -> None:
        async def body() -> None:
            try:
                await self._reload(id)
            except RuntimeFailure as error:
                log.warning("container %s: %s", id[:12], error)
            self._wake.set()

        task = asyncio.create_task(body())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    async def _reload(self, id: str) -> ContainerView | None:
        """Read one container again; at its end, also its termination message."""
        try:
            view = await self._node.runtime.view(id)
        except NoSuchContainer:
            self._removed(id)
            return None
        if view.exited:
            view = replace(view, message=await self._maker.termination_message(self.pod, view))
            self._ended(id)
        self._put(view)
        return view

    def _ended(self, id: str) -> None:
        self._ender.exit_of(id).set()
        self.health.ended(id)
        self._resizes.ended(id)

    def _removed(self, id: str) -> None:
        """A container is gone from the engine. One that ran is remembered as lost, so that its end is counted."""
        for name, views in self._containers.items():
            for index, view in enumerate(views):
                if view.id != id:
                    continue
                if view.exited:
                    if index > 0:
                        self._drop(id, name)
                elif index == 0:
                    now = self._node.clock.time()
                    views[index] = replace(view, state="exited", lost=True, exit_code=137, finished_at=now)
                self._ended(id)
                return

    def _put(self, view: ContainerView) -> None:
        views = self._containers.setdefault(view.name, [])
        for index, known in enumerate(views):
            if known.id == view.id:
                if known.exited and not view.exited:
                    return
                views[index] = replace(view, error=view.error or known.error)
                return
        views.insert(0, view)
        views.sort(key=lambda v: v.attempt, reverse=True)

    def _drop(self, id: str, name: str) -> None:
        self._containers[name] = [view for view in self._containers.get(name, []) if view.id != id]
        self._ender.forget(id)
        self._resizes.restarting.discard(id)

    # Probes.

    def _seed(self) -> None:
        """After a restart: what the API last said of readiness holds until a probe says otherwise."""
        views = [view for attempts in self._containers.values() for view in attempts]
        self.health.started, self.health.ready = adoption.still_true(self.pod, views)
        for view in views:
            if view.running:
                self._resizes.began(view.id, view.name)
        sandbox = self._setup.sandbox.id if self._setup.sandbox else ""
        for view in adoption.lost(self.pod, views, sandbox, self._node.clock.time()):
            self._put(view)

    def _adopt_probes(self) -> None:
        for views in self._containers.values():
            for view in views:
                container = pods.find_container(self.pod, view.name)
                if view.running and container is not None:
                    self._begin_probes(view, container, started=view.id in self.health.started)

    def _begin_probes(self, view: ContainerView, container: Object, *, started: bool) -> None:
        init = any(c["name"] == view.name for c in pods.init_containers(self.pod))
        if init and not pods.is_sidecar(container):
            return
        self.health.begin(container, view, self._setup.address, self._exec_in(view.id), started=started)

    # The end.

    def _deadline(self) -> float | None:
        seconds = self.pod["spec"].get("activeDeadlineSeconds")
        started = pods.parse_time((self.pod.get("status") or {}).get("startTime"))
        if seconds is None or started is None or pods.is_terminal(self.pod) or self._stop_reason:
            return None
        return started + float(seconds)

    def _check_deadline(self, now: float) -> None:
        deadline = self._deadline()
        if deadline is not None and now >= deadline and not pods.is_deleted(self.pod):
            message = "Pod was active on the node longer than the specified deadline"
            self._node.record(self.pod, "Normal", "DeadlineExceeded", message)
            self.stop("DeadlineExceeded", message)

    async def _end(self, delete: bool) -> None:
        """Release what the pod holds; with `delete`, also its containers and its place in the API."""
        try:
            await self._setup.settle()
            if delete:
                await self._publisher.flush()
                for name, views in list(self._containers.items()):
                    for view in list(views):
                        if not view.lost:
                            await self._remove(view.id, name)
                await self._node.sandboxes.remove(self.uid, cgroup=self._cgroup())
                await self._node.volumes.release(self.uid)
                self._node.images.forget(self.uid)
                await self._node.logs.remove(self.pod)
                await self._delete_from_api()
                self._finished = True
            else:
                await self._node.sandboxes.remove(self.uid)
                self._setup.sandbox = None
                self._torn_down = True
        except (RuntimeFailure, ApiError, OSError) as error:
            log.warning("pod %s: cannot be ended yet: %s", pods.full_name(self.pod), error)
            await self._node.clock.sleep(1.0)
        finally:
            self._end_task = None
            self._wake.set()

    def _cgroup(self) -> str:
        """The pod's cgroup, also when its sandbox is released already."""
        sandbox = self._setup.sandbox
        if sandbox is not None and sandbox.cgroup:
            return sandbox.cgroup
        return container_spec.cgroup_parent(self._node.instance.cgroup, self.pod)

    async def _delete_from_api(self) -> None:
        target = self._publisher.target
        if target is None:
            return
        with contextlib.suppress(NotFound, Conflict):
            await self._node.client.delete(
                PODS,
                pods.name(target),
                pods.namespace(target),
                uid=target["metadata"]["uid"],
                grace_period_seconds=0,
            )

    def _on_written(self, pod: Object) -> None:
        self._node.written(pod)

    async def _cancel_all(self) -> None:
        self._publisher.close()
        tasks = [*self._tasks.values(), *self.health.tasks(), *self._reloads, *self._setup.tasks()]
        tasks += [self._end_task] if self._end_task is not None else []
        current = asyncio.current_task()
        pending = [task for task in tasks if task is not current and not task.done()]
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
