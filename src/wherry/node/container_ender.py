"""Ending one running container: preStop hook, stop signal, SIGKILL, all within its grace period.

Specified in https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination.
"""

import asyncio
from collections.abc import Callable

from wherry.client.clock import Clock
from wherry.node import pods
from wherry.node.decide import Kill
from wherry.node.hooks import HookFailed, run_hook
from wherry.node.images import Record
from wherry.node.probe_handlers import Exec
from wherry.node.runtime import NoSuchContainer, Runtime, RuntimeFailure
from wherry.schema.resource import Object

MIN_GRACE = 2.0
"""Seconds a container gets between its stop signal and SIGKILL at the least."""
KILL_WAIT = 10.0


class ContainerEnder:
    """For the containers of one pod. `exec_in(id)` runs commands in a container (for hooks)."""

    def __init__(self, runtime: Runtime, clock: Clock, record: Record, exec_in: Callable[[str], Exec]) -> None:
        self._runtime = runtime
        self._clock = clock
        self._record = record
        self._exec_in = exec_in
        self._exits: dict[str, asyncio.Event] = {}
        self._before: float | None = None
        self._changed = asyncio.Event()

    def hurry(self, grace: float) -> None:
        """The pod was deleted (again): whatever ends now has `grace` seconds from now at the most."""
        self._before = self._clock.time() + max(MIN_GRACE, grace)
        self._changed.set()

    def exit_of(self, id: str) -> asyncio.Event:
        """Set once the container has ended."""
        return self._exits.setdefault(id, asyncio.Event())

    def forget(self, id: str) -> None:
        self._exits.pop(id, None)

    async def end(self, pod: Object, action: Kill, host: str) -> bool:
        """Did it end? `host` is where HTTP hooks go. Raises NoSuchContainer, RuntimeFailure."""
        clock = self._clock
        self._record(pod, "Normal", "Killing", action.message, action.name)
        deadline = clock.time() + action.grace
        container = pods.find_container(pod, action.name) or {}
        hook = (container.get("lifecycle") or {}).get("preStop")
        if hook and action.grace > 0:
            try:
                await run_hook(hook, container, host, self._exec_in(action.id), self._remaining(deadline))
            except (HookFailed, TimeoutError, RuntimeFailure) as error:
                if not isinstance(error, NoSuchContainer):
                    why = f"PreStopHook failed: {error}" if str(error) else "PreStopHook failed"
                    self._record(pod, "Warning", "FailedPreStopHook", why, action.name)
        # Whoever comes last (a sidecar, a container with a long preStop hook) still gets a moment to end by itself.
        least = clock.time() + MIN_GRACE
        deadline = max(deadline, least)
        exited = self.exit_of(action.id)
        await self._runtime.terminate(action.id)
        while not exited.is_set() and (left := self._remaining(deadline, least)) > 0:
            await self._wait(exited, left)
        if not exited.is_set():
            await self._runtime.kill(action.id)
            await self._wait(exited, KILL_WAIT)
        return exited.is_set()

    def _remaining(self, deadline: float, least: float = 0.0) -> float:
        """Seconds until `deadline`, or until the pod's own end if that is earlier, but never before `least`."""
        if self._before is not None:
            deadline = max(least, min(deadline, self._before))
        return max(0.0, deadline - self._clock.time())

    async def _wait(self, exited: asyncio.Event, timeout: float) -> None:
        self._changed.clear()
        waits = [
            asyncio.ensure_future(exited.wait()),
            asyncio.ensure_future(self._changed.wait()),
            asyncio.ensure_future(self._clock.sleep(timeout)),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
