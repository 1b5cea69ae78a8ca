"""A whole control plane in memory: all controllers, the scheduler where asked for, a fake kubelet, a mock clock."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from wherry.client.informer import Informers
from wherry.controllers.manager import ControllerManager, ControllerOptions
from wherry.schema import builtin as b
from wherry.testing.clock import MockClock
from wherry.testing.fake_client import FakeClient
from wherry.testing.fake_kubelet import FakeKubelet


class World:
    def __init__(self) -> None:
        self.clock = MockClock()
        self.client = FakeClient(self.clock)
        self.informers = Informers(self.client, self.clock)
        self.manager = ControllerManager(
            self.client,
            self.clock,
            ControllerOptions(root_ca="PEM", volumes=Path("/nonexistent/volumes")),
            informers=self.informers,
        )
        self.kubelet = FakeKubelet(self.client, self.informers, self.clock)

    def add_node(self, name: str) -> None:
        """A node that stays ready: its lease was renewed in the far future."""
        ready = [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z"}]
        allocatable = {"cpu": "8", "memory": "16Gi", "pods": "110"}
        metadata = {"name": name, "labels": {"kubernetes.io/hostname": name}}
        status = {"conditions": ready, "allocatable": allocatable}
        self.client.seed(b.NODES, {"metadata": metadata, "spec": {}, "status": status})
        lease = {
            "metadata": {"name": name, "namespace": "kube-node-lease"},
            "spec": {"renewTime": "2036-01-01T00:00:00Z"},
        }
        self.client.seed(b.LEASES, lease)

    async def settle(self) -> None:
        for _ in range(200):
            await self.clock.settle(200)
            moved = await self.kubelet.step()
            if not moved and self.manager.idle and self.manager.collector._queue.idle:
                return
        raise AssertionError("does not settle")

    def pods(self, **labels: str) -> list[dict[str, Any]]:
        return [p for p in self.client.all(b.PODS) if labels.items() <= p["metadata"].get("labels", {}).items()]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    world.client.seed(b.NAMESPACES, {"metadata": {"name": "default"}, "spec": {"finalizers": ["kubernetes"]}})
    world.add_node("node-1")
    task = asyncio.create_task(world.manager.run())
    yield world
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await world.informers.stop()
