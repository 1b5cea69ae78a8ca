"""Writing pods' statuses to the API: the newest per pod, one write at a time, tried again until it is there."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from wherry.client.api import Client, PatchType
from wherry.client.clock import Clock
from wherry.node import pods
from wherry.node.status import status_patch
from wherry.schema.builtin import PODS
from wherry.schema.errors import ApiError, Conflict, Invalid, NotFound
from wherry.schema.resource import Object

log = logging.getLogger(__name__)

RETRY = 1.0


class StatusPublisher:
    """The status of one pod. `set` returns at once; `flush` waits until the last one set is written.

    `pod` is what the API has, None while it has nothing (a static pod before its mirror)."""

    def __init__(self, client: Client, pod: Object | None, clock: Clock, written: Callable[[Object], None]) -> None:
        self._client = client
        self.target = pod
        self._clock = clock
        self._written = written
        self._base: dict[str, Any] = (pod or {}).get("status") or {}
        self._wanted: dict[str, Any] | None = None
        self._task: asyncio.Task[None] | None = None
        self.gone = False
        """The API has this pod no more: nothing is written again."""

    def observe(self, pod: Object | None) -> None:
        """The API shows this now. What was written by us and not seen yet is newer and stays."""
        other = self.target is None or pod is None or self.target["metadata"]["uid"] != pod["metadata"]["uid"]
        self.target = pod
        if other or self._task is None or self._task.done():
            self._base = (pod or {}).get("status") or {}
        if other and pod is not None:
            self.gone = False
            if self._wanted is not None:
                self.set(self._wanted)

    def set(self, status: dict[str, Any]) -> None:
        if self.gone:
            return
        self._wanted = status
        if self.target is None:
            return
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write(), name=f"status {pods.full_name(self.target)}")

    async def flush(self) -> None:
        if self._task is not None:
            await asyncio.wait([self._task])

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _write(self) -> None:
        while self._wanted is not None and self.target is not None and not self.gone:
            pod = self.target
            wanted, self._wanted = self._wanted, None
            patch = status_patch(self._base, wanted)
            if not patch:
                continue
            body = {"metadata": {"uid": pod["metadata"]["uid"]}, "status": patch}
            try:
                answer = await self._client.patch(
                    PODS,
                    pods.name(pod),
                    body,
                    pods.namespace(pod),
                    type=PatchType.STRATEGIC,
                    subresource="status",
                    field_manager="kubelet",
                )
            except (NotFound, Conflict):
                # Deleted, or another pod of that name stands there now.
                self.gone = True
            except Invalid as error:
                log.error("status of pod %s refused: %s", pods.full_name(pod), error)
            except (ApiError, OSError) as error:
                log.warning("status of pod %s not written: %s", pods.full_name(pod), error)
                if self._wanted is None:
                    self._wanted = wanted
                await self._clock.sleep(RETRY)
            else:
                self._base = answer.get("status") or {}
                self._written(answer)
