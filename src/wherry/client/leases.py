"""Leader election by Lease: of several processes that could do a job, one does it.

A holder renews the Lease; another takes it over when it has not seen a renewal for the lease's duration by its own
clock (no clocks are compared). https://kubernetes.io/docs/concepts/architecture/leases/
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from wherry.client.api import Client
from wherry.client.clock import Clock, SystemClock, format_micro_time
from wherry.schema.builtin import LEASES
from wherry.schema.errors import AlreadyExists, ApiError, Conflict, NotFound
from wherry.schema.resource import Object

log = logging.getLogger(__name__)


class LeaderElector:
    """`run(work)` waits until `identity` holds the Lease, runs `work()` while it does, and starts over when lost."""

    def __init__(
        self,
        client: Client,
        name: str,
        identity: str,
        *,
        namespace: str = "kube-system",
        duration: float = 15.0,
        renew_deadline: float = 10.0,
        retry_period: float = 2.0,
        clock: Clock | None = None,
    ) -> None:
        self.identity = identity
        self._client = client
        self._name = name
        self._namespace = namespace
        self._duration = duration
        self._deadline = renew_deadline
        self._period = retry_period
        self._clock = clock or SystemClock()
        self._seen: tuple[str, float] | None = None

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Until cancelled, or until `work` returns or raises. The Lease is given back at the end."""
        while True:
            await self._acquire()
            log.info("%s: %s leads", self._name, self.identity)
            task = asyncio.ensure_future(work())
            renewal = asyncio.create_task(self._renew())
            try:
                done, _ = await asyncio.wait({task, renewal}, return_when=asyncio.FIRST_COMPLETED)
                if task in done:
                    return task.result()
                log.warning("%s: %s has lost the lease", self._name, self.identity)
            finally:
                for one in (task, renewal):
                    one.cancel()
                await asyncio.gather(task, renewal, return_exceptions=True)
                await self._release()

    async def _acquire(self) -> None:
        while not await self._try():
            await self._clock.sleep(self._period)

    async def _renew(self) -> None:
        """Returns when the Lease is lost."""
        renewed = self._clock.monotonic()
        while self._clock.monotonic() - renewed < self._deadline:
            await self._clock.sleep(self._period)
            if await self._try():
                renewed = self._clock.monotonic()
            elif self._seen is not None and not self._seen[0].startswith(f"{self.identity}/"):
                return

    async def _try(self) -> bool:
        """Take or renew the Lease; False when another holds it or the server did not answer."""
        try:
            return await self._try_once()
        except (ApiError, OSError) as error:
            log.debug("%s: lease not written: %s", self._name, error)
            return False

    async def _try_once(self) -> bool:
        now = format_micro_time(self._clock.time())
        spec: Object = {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": int(self._duration),
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": 0,
        }
        try:
            lease = await self._client.get(LEASES, self._name, self._namespace)
        except NotFound:
            metadata = {"name": self._name, "namespace": self._namespace}
            new = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
            try:
                await self._client.create(LEASES, new, self._namespace)
            except AlreadyExists:
                return False
            return True
        old = lease.get("spec") or {}
        holder = old.get("holderIdentity") or ""
        mark = f"{holder}/{old.get('renewTime')}"
        if self._seen is None or self._seen[0] != mark:
            self._seen = (mark, self._clock.monotonic())
        expired = self._clock.monotonic() - self._seen[1] >= old.get("leaseDurationSeconds", self._duration)
        if holder and holder != self.identity and not expired:
            return False
        spec["leaseTransitions"] = old.get("leaseTransitions", 0)
        if holder == self.identity:
            spec["acquireTime"] = old.get("acquireTime", now)
        else:
            spec["leaseTransitions"] += 1
        try:
            await self._client.update(LEASES, lease | {"spec": spec})
        except Conflict:
            return False
        return True

    async def _release(self) -> None:
        """Let the next one in at once, where we still hold it."""
        try:
            lease = await self._client.get(LEASES, self._name, self._namespace)
            if (lease.get("spec") or {}).get("holderIdentity") == self.identity:
                spec = lease["spec"] | {"holderIdentity": "", "leaseDurationSeconds": 1}
                await self._client.update(LEASES, lease | {"spec": spec})
        except (ApiError, OSError) as error:
            log.debug("%s: lease not released: %s", self._name, error)
