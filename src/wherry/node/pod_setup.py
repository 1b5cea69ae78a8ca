"""One pod's sandbox and volumes: made (and tried again with growing delays), refreshed, and released in peace."""

import asyncio
import logging
from collections.abc import Callable

from wherry.node import pods
from wherry.node.sandbox import Sandbox
from wherry.node.services import NodeServices
from wherry.node.volumes.manager import MountFailed, Volume
from wherry.schema.resource import Object

log = logging.getLogger(__name__)

PREPARE_FIRST, PREPARE_MAX = 0.5, 120.0


class PodSetup:
    """`changed()` is called whenever something was made or has failed."""

    def __init__(self, node: NodeServices, uid: str, changed: Callable[[], None]) -> None:
        self._node = node
        self._uid = uid
        self._changed = changed
        self.sandbox: Sandbox | None = node.sandboxes.load(uid)
        self.volumes: dict[str, Volume] | None = None
        self.retry_at = 0.0
        """When to try again what has failed (epoch seconds)."""
        self._delay = PREPARE_FIRST
        self._task: asyncio.Task[None] | None = None
        self._refresh_task: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """Sandbox and volumes both stand: containers may start."""
        return self.sandbox is not None and self.volumes is not None

    @property
    def address(self) -> str:
        """The pod's primary address, "" when it has none."""
        return self.sandbox.ips[0] if self.sandbox and self.sandbox.ips else ""

    def begin(self, pod: Object, now: float, *, again: bool) -> None:
        """Make what is missing, unless that is under way or it is too early. `again`: the pod had a sandbox before."""
        if self._task is None and now >= self.retry_at:
            self._task = asyncio.create_task(self._make(pod, again), name=f"prepare {pods.full_name(pod)}")

    def retry_now(self) -> None:
        """What was missing may be there now."""
        self.retry_at = 0.0

    def refresh(self, pod: Object) -> None:
        """Write changed ConfigMaps, Secrets, tokens and downward API files into the volumes that show them."""
        if self.volumes is None or (self._refresh_task and not self._refresh_task.done()):
            return

        async def body() -> None:
            try:
                await self._node.volumes.prepare(pod, self._node.surroundings(self.sandbox))
            except MountFailed as error:
                log.info("pod %s: volumes not refreshed: %s", pods.full_name(pod), error)

        self._refresh_task = asyncio.create_task(body())

    async def settle(self) -> None:
        """No task of preparation may touch what is about to be released."""
        running = self.tasks()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        self.volumes = None

    def tasks(self) -> list["asyncio.Task[None]"]:
        return [task for task in (self._task, self._refresh_task) if task is not None and not task.done()]

    async def _make(self, pod: Object, again: bool) -> None:
        try:
            if self.sandbox is None:
                if again:
                    message = "Pod sandbox changed, it will be killed and re-created."
                    self._node.record(pod, "Normal", "SandboxChanged", message)
                _, self.volumes = await asyncio.gather(self._make_sandbox(pod), self._mount(pod))
            else:
                self.volumes = await self._mount(pod)
        finally:
            self._task = None
            if self.ready:
                self._delay = PREPARE_FIRST
            else:
                self.retry_at = self._node.clock.time() + self._delay
                self._delay = min(PREPARE_MAX, self._delay * 2)
            self._changed()

    async def _make_sandbox(self, pod: Object) -> None:
        pod_dir = self._node.volumes.pod_dir(self._uid)
        try:
            self.sandbox = await self._node.sandboxes.create(pod, pod_dir, self._node.facts.ips)
        except (OSError, RuntimeError, ValueError) as error:
            message = f"Failed to create pod sandbox: {error}"
            self._node.record(pod, "Warning", "FailedCreatePodSandBox", message)

    async def _mount(self, pod: Object) -> dict[str, Volume] | None:
        try:
            return await self._node.volumes.prepare(pod, self._node.surroundings(self.sandbox))
        except MountFailed as error:
            for name, message in error.failures.items():
                text = f'MountVolume.SetUp failed for volume "{name}" : {message}'
                self._node.record(pod, "Warning", "FailedMount", text)
            return None
