"""One pod's worker: watches what is, asks `decide` what to do, and does it.

The worker wakes when the pod changes in the API, a container starts or ends (told by the engine, never polled), a
probe's verdict changes, one of its own tasks ends, or at the time `decide` named. Slow work (pulls, starts, kills)
runs in one task per container, so that nothing waits for it but that container.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

from wherry.node import adoption, container_spec, pods
from wherry.node.container_maker import RETRY_START, ContainerMaker, NotMade, Place
from wherry.node.decide import Action, Decision, Finish, Kill, Prepare, Remove, Start, TearDown, decide
from wherry.node.hooks import HookFailed, run_hook
from wherry.node.images import ImageError
from wherry.node.probes import ContainerProbes, Report
from wherry.node.publisher import StatusPublisher
from wherry.node.runtime import NoSuchContainer, RuntimeFailure
from wherry.node.sandbox import Sandbox
from wherry.node.services import NodeServices
from wherry.node.state import ContainerView, Observed, StartError
from wherry.node.status import pod_status
from wherry.node.volumes.manager import MountFailed, Volume
from wherry.schema.builtin import PODS
from wherry.schema.errors import ApiError, Conflict, NotFound
from wherry.schema.resource import Object

log = logging.getLogger(__name__)

MIN_GRACE = 2.0
"""Seconds a container gets between its stop signal and SIGKILL at the least."""
PREPARE_FIRST, PREPARE_MAX = 0.5, 120.0


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
        self._prepare_task: asyncio.Task[None] | None = None
        self._refresh_task: asyncio.Task[None] | None = None
        self._end_task: asyncio.Task[None] | None = None
        self._probes: dict[str, asyncio.Task[None]] = {}
        self._exits: dict[str, asyncio.Event] = {}
        self._started: set[str] = set()
        self._ready: set[str] = set()
        self._failed: dict[str, str] = {}
        self._errors: dict[str, StartError] = {}
        self._sandbox: Sandbox | None = node.sandboxes.load(self.uid)
        self._volumes: dict[str, Volume] | None = None
        self._prepare_delay = PREPARE_FIRST
        self._prepare_at = 0.0
        self._stop_reason = ""
        self._stop_message = ""
        self._stop_grace: float | None = None
        self._torn_down = False
        self._kill_before: float | None = None
        self._kill_changed = asyncio.Event()
        self._finished = False
        self._waiting: dict[str, tuple[str, str]] = {}
        self._interruptible: set[str] = set()
        self._reloads: set[asyncio.Task[None]] = set()
        self._publisher = StatusPublisher(node.client, pod, node.clock, self._on_written)
        self._seed()

    # What others tell the worker.

    def update(self, pod: Object) -> None:
        """The pod as the API has it now."""
        shortened = pods.is_deleted(pod) and pods.grace_period(pod) != pods.grace_period(self.pod)
        first = pods.is_deleted(pod) and not pods.is_deleted(self.pod)
        self.pod = pod
        self._publisher.observe(pod)
        if first:
            self._interrupt()
        if first or shortened:
            self._kill_before = self._node.clock.time() + max(MIN_GRACE, pods.grace_period(pod))
            self._kill_changed.set()
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
        self._prepare_at = 0.0
        for name, error in list(self._errors.items()):
            if error.reason == "CreateContainerConfigError":
                self._errors[name] = replace(error, retry_at=0.0)
        self._refresh()
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

    def owns(self, id: str) -> bool:
        return any(view.id == id for views in self._containers.values() for view in views)

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
        return self._sandbox

    # The loop.

    async def run(self) -> None:
        """Until the pod is finished, or cancelled (its containers then go on without us)."""
        if self._sandbox is not None and not pods.is_deleted(self.pod) and not pods.is_terminal(self.pod):
            self._adopt_probes()
        self._node.logs.save_pod(self.pod, self._node.volumes.pod_dir(self.uid))
        try:
            while not self._finished:
                self._wake.clear()
                now = self._node.clock.time()
                self._check_deadline(now)
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
        if self._prepare_at > now and self._volumes is None:
            times.append(self._prepare_at)
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
            self._refresh()

    def _observe(self) -> Observed:
        containers = {name: tuple(views) for name, views in self._containers.items() if views}
        sandbox = self._sandbox
        return Observed(
            sandbox=sandbox.id if sandbox else "",
            prepared=sandbox is not None and self._volumes is not None,
            ips=sandbox.ips if sandbox else (),
            containers=containers,
            busy=frozenset(self._tasks),
            started=frozenset(self._started),
            ready=frozenset(self._ready),
            failed=dict(self._failed),
            errors=dict(self._errors),
            stop_reason=self._stop_reason,
            stop_message=self._stop_message,
            stop_grace=self._stop_grace,
            torn_down=self._torn_down,
        )

    def _perform(self, action: Action, now: float) -> None:
        match action:
            case Prepare():
                if self._prepare_task is None and now >= self._prepare_at:
                    self._prepare_task = asyncio.create_task(
                        self._prepare(), name=f"prepare {pods.full_name(self.pod)}"
                    )
            case Start():
                self._launch(action.name, self._start(action))
            case Kill():
                self._launch(action.name, self._kill(action))
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

    # Sandbox and volumes.

    async def _prepare(self) -> None:
        try:
            if self._sandbox is None:
                fresh = any(self._containers.values())
                if fresh:
                    message = "Pod sandbox changed, it will be killed and re-created."
                    self._node.record(self.pod, "Normal", "SandboxChanged", message)
                sandbox, volumes = await asyncio.gather(
                    self._make_sandbox(), self._mount_volumes(), return_exceptions=False
                )
                self._sandbox = sandbox or self._sandbox
                self._volumes = volumes
            else:
                self._volumes = await self._mount_volumes()
        finally:
            self._prepare_task = None
            if self._sandbox is None or self._volumes is None:
                self._prepare_at = self._node.clock.time() + self._prepare_delay
                self._prepare_delay = min(PREPARE_MAX, self._prepare_delay * 2)
            else:
                self._prepare_delay = PREPARE_FIRST
            self._wake.set()

    async def _make_sandbox(self) -> Sandbox | None:
        pod_dir = self._node.volumes.pod_dir(self.uid)
        try:
            self._sandbox = await self._node.sandboxes.create(self.pod, pod_dir, self._node.facts.ips)
        except (OSError, RuntimeError, ValueError) as error:
            message = f"Failed to create pod sandbox: {error}"
            self._node.record(self.pod, "Warning", "FailedCreatePodSandBox", message)
            return None
        return self._sandbox

    async def _mount_volumes(self) -> dict[str, Volume] | None:
        try:
            return await self._node.volumes.prepare(self.pod, self._maker.surroundings(self._sandbox))
        except MountFailed as error:
            for name, message in error.failures.items():
                text = f'MountVolume.SetUp failed for volume "{name}" : {message}'
                self._node.record(self.pod, "Warning", "FailedMount", text)
            return None

    def _refresh(self) -> None:
        """Write changed ConfigMaps, Secrets, tokens and downward API files into the volumes that show them."""
        if self._volumes is None or self._torn_down or (self._refresh_task and not self._refresh_task.done()):
            return

        async def body() -> None:
            try:
                await self._node.volumes.prepare(self.pod, self._maker.surroundings(self._sandbox))
            except MountFailed as error:
                log.info("pod %s: volumes not refreshed: %s", pods.full_name(self.pod), error)

        self._refresh_task = asyncio.create_task(body())

    # Containers.

    async def _start(self, action: Start) -> None:
        container = pods.find_container(self.pod, action.name)
        if container is None or self._sandbox is None or self._volumes is None:
            return
        before = self.container(action.name)
        if before is not None and before.backoff and before.exited:
            where = f"in pod {pods.described(self.pod)}"
            message = f"Back-off restarting failed container {action.name} {where}"
            self._node.record(self.pod, "Warning", "BackOff", message, action.name)
        id = await self._create(action, container)
        if id is None:
            return
        self._errors.pop(action.name, None)
        self._node.record(self.pod, "Normal", "Created", f"Created container: {action.name}", action.name)
        self._exits[id] = asyncio.Event()
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

    async def _create(self, action: Start, container: Object) -> str | None:
        """Everything up to the created container, and its id; a failure is kept as the reason why it waits."""
        name = action.name
        self._interruptible.add(name)
        try:
            image = await self._node.images.ensure(self.pod, container)
        except ImageError as error:
            self._errors[name] = StartError(error.reason, error.message, error.retry_at)
            return None
        finally:
            self._interruptible.discard(name)
        assert self._sandbox is not None and self._volumes is not None
        place = Place(self.pod, self._sandbox, self._volumes)
        target = self.container(container.get("targetContainerName") or "")
        try:
            return await self._maker.create(place, container, action, image, target)
        except NotMade as failure:
            self._node.record(self.pod, "Warning", "Failed", f"Error: {failure.error.message}", name)
            self._errors[name] = failure.error
            return None

    async def _post_start(self, view: ContainerView, container: Object, hook: Object) -> bool:
        run = self._exec_in(view.id)
        host = self._sandbox.ips[0] if self._sandbox and self._sandbox.ips else ""
        self._interruptible.add(view.name)
        try:
            await run_hook(hook, container, host, run, 3600.0)
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
        """preStop, stop signal, SIGKILL: all within the grace period, which a second deletion may shorten."""
        view = next((v for v in self._containers.get(action.name, []) if v.id == action.id), None)
        if view is None or not view.running:
            return
        clock = self._node.clock
        self._node.record(self.pod, "Normal", "Killing", action.message, action.name)
        for task in [self._probes.pop(action.id, None)] if action.id in self._failed else []:
            if task is not None:
                task.cancel()
        deadline = clock.time() + action.grace
        container = pods.find_container(self.pod, action.name) or {}
        hook = (container.get("lifecycle") or {}).get("preStop")
        if hook and action.grace > 0:
            host = self._sandbox.ips[0] if self._sandbox and self._sandbox.ips else ""
            try:
                await run_hook(hook, container, host, self._exec_in(view.id), self._remaining(deadline))
            except (HookFailed, TimeoutError, RuntimeFailure) as error:
                if not isinstance(error, NoSuchContainer):
                    why = f"PreStopHook failed: {error}" if str(error) else "PreStopHook failed"
                    self._node.record(self.pod, "Warning", "FailedPreStopHook", why, action.name)
        # Whoever comes last (a sidecar, a container with a long preStop hook) still gets a moment to end by itself.
        least = clock.time() + MIN_GRACE
        deadline = max(deadline, least)
        exited = self._exits.setdefault(view.id, asyncio.Event())
        try:
            await self._node.runtime.terminate(view.id)
            while not exited.is_set() and (left := self._remaining(deadline, least)) > 0:
                await self._wait_exit(exited, left)
            if not exited.is_set():
                await self._node.runtime.kill(view.id)
                await self._wait_exit(exited, 10.0)
        except NoSuchContainer:
            self._removed(view.id)
            return
        if not exited.is_set():
            # The engine did not tell of an end: look for ourselves before trying again.
            await self._reload(view.id)

    def _remaining(self, deadline: float, least: float = 0.0) -> float:
        """Seconds until `deadline`, or until the pod's own end if that is earlier, but never before `least`."""
        if self._kill_before is not None:
            deadline = max(least, min(deadline, self._kill_before))
        return max(0.0, deadline - self._node.clock.time())

    async def _wait_exit(self, exited: asyncio.Event, timeout: float) -> None:
        self._kill_changed.clear()
        waits = [
            asyncio.ensure_future(exited.wait()),
            asyncio.ensure_future(self._kill_changed.wait()),
            asyncio.ensure_future(self._node.clock.sleep(timeout)),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

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
        self._exits.setdefault(id, asyncio.Event()).set()
        self._started.discard(id)
        self._ready.discard(id)
        self._failed.pop(id, None)
        task = self._probes.pop(id, None)
        if task is not None:
            task.cancel()

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
        self._exits.pop(id, None)

    # Probes.

    def _seed(self) -> None:
        """After a restart: what the API last said of readiness holds until a probe says otherwise."""
        views = [view for attempts in self._containers.values() for view in attempts]
        self._started, self._ready = adoption.still_true(self.pod, views)
        sandbox = self._sandbox.id if self._sandbox else ""
        for view in adoption.lost(self.pod, views, sandbox, self._node.clock.time()):
            self._put(view)

    def _adopt_probes(self) -> None:
        for views in self._containers.values():
            for view in views:
                container = pods.find_container(self.pod, view.name)
                if view.running and container is not None:
                    self._begin_probes(view, container, started=view.id in self._started)

    def _begin_probes(self, view: ContainerView, container: Object, *, started: bool) -> None:
        init = any(c["name"] == view.name for c in pods.init_containers(self.pod))
        if init and not pods.is_sidecar(container):
            return
        kinds = [kind for kind in ("startup", "liveness", "readiness") if container.get(f"{kind}Probe")]
        if not kinds:
            self._started.add(view.id)
            self._ready.add(view.id)
            self._wake.set()
            return
        host = self._sandbox.ips[0] if self._sandbox and self._sandbox.ips else ""

        def set_result(kind: str, ok: bool) -> None:
            current = self.container(view.name)
            if current is None or current.id != view.id:
                return
            if kind == "startup" and ok:
                self._started.add(view.id)
            elif kind == "readiness":
                (self._ready.add if ok else self._ready.discard)(view.id)
            elif not ok:
                self._failed[view.id] = f"Container {view.name} failed {kind} probe, will be restarted"
            self._wake.set()

        def unhealthy(message: str) -> None:
            if not pods.is_deleted(self.pod):
                self._node.record(self.pod, "Warning", "Unhealthy", message, view.name)

        probes = ContainerProbes(
            container,
            view.started_at or view.created_at,
            host,
            self._exec_in(view.id),
            Report(set_result, unhealthy),
            self._node.clock,
        )
        self._probes[view.id] = asyncio.create_task(
            probes.run(started=started), name=f"probes {pods.full_name(self.pod)}/{view.name}"
        )

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
            await self._settle()
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
                self._sandbox = None
                self._torn_down = True
        except (RuntimeFailure, ApiError, OSError) as error:
            log.warning("pod %s: cannot be ended yet: %s", pods.full_name(self.pod), error)
            await self._node.clock.sleep(1.0)
        finally:
            self._end_task = None
            self._wake.set()

    def _cgroup(self) -> str:
        """The pod's cgroup, also when its sandbox is released already."""
        if self._sandbox is not None and self._sandbox.cgroup:
            return self._sandbox.cgroup
        return container_spec.cgroup_parent(self._node.instance.cgroup, self.pod)

    async def _settle(self) -> None:
        """No task of preparation may touch what is about to be released."""
        running = [task for task in (self._prepare_task, self._refresh_task) if task is not None and not task.done()]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        self._volumes = None

    async def _delete_from_api(self) -> None:
        with contextlib.suppress(NotFound, Conflict):
            await self._node.client.delete(
                PODS,
                pods.name(self.pod),
                pods.namespace(self.pod),
                uid=self.pod["metadata"]["uid"],
                grace_period_seconds=0,
            )

    def _on_written(self, pod: Object) -> None:
        self._node.written(pod)

    async def _cancel_all(self) -> None:
        self._publisher.close()
        tasks = [*self._tasks.values(), *self._probes.values(), *self._reloads]
        tasks += [t for t in (self._prepare_task, self._refresh_task, self._end_task) if t is not None]
        current = asyncio.current_task()
        pending = [task for task in tasks if task is not current and not task.done()]
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
