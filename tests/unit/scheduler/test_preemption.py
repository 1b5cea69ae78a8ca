"""Preemption, nominated pods and several schedulers, seen from outside: what is bound, evicted and written."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from wherry.client.informer import Informers
from wherry.scheduler import preemption
from wherry.scheduler.plugins.node_resources_fit import NodeResourcesFit
from wherry.scheduler.pod_info import compile_pod
from wherry.scheduler.profile import Profile
from wherry.scheduler.scheduler import Scheduler
from wherry.scheduler.snapshot import Snapshot
from wherry.schema import builtin as b
from wherry.testing.clock import MockClock
from wherry.testing.fake_client import FakeClient


class World:
    def __init__(self) -> None:
        self.clock = MockClock()
        self.client = FakeClient(self.clock)

    def node(self, name: str, cpu: str = "2") -> None:
        allocatable = {"cpu": cpu, "memory": "8Gi", "pods": "110"}
        labels = {"kubernetes.io/hostname": name}
        self.client.seed(
            b.NODES, {"metadata": {"name": name, "labels": labels}, "status": {"allocatable": allocatable}}
        )

    def pod(self, name: str, cpu: str, priority: int, on: str = "", **more: Any) -> dict[str, Any]:
        spec = {
            "containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}],
            "priority": priority,
            "terminationGracePeriodSeconds": 0,
            **more,
        }
        if on:
            spec["nodeName"] = on
        return {"metadata": {"name": name, "namespace": "default", "labels": {"app": name}}, "spec": spec}

    def running(self, name: str, cpu: str, priority: int, on: str, finalizer: bool = False) -> None:
        pod = self.pod(name, cpu, priority, on)
        if finalizer:  # stays, terminating, until somebody takes it away
            pod["metadata"]["finalizers"] = ["example.com/slow"]
        self.client.seed(b.PODS, pod | {"status": {"phase": "Running"}})

    def budget(self, app: str, allowed: int) -> None:
        body = {
            "metadata": {"name": f"keep-{app}", "namespace": "default"},
            "spec": {"selector": {"matchLabels": {"app": app}}},
            "status": {"disruptionsAllowed": allowed},
        }
        self.client.seed(b.POD_DISRUPTION_BUDGETS, body)

    async def create(self, name: str, cpu: str, priority: int, **more: Any) -> None:
        await self.client.create(b.PODS, self.pod(name, cpu, priority, **more))
        await self.clock.settle(400)

    def node_of(self, name: str) -> str:
        return str(self._pod(name)["spec"].get("nodeName", ""))

    def nominated(self, name: str) -> str:
        return str((self._pod(name).get("status") or {}).get("nominatedNodeName", ""))

    def names(self) -> set[str]:
        return {one["metadata"]["name"] for one in self.client.all(b.PODS)}

    def terminating(self) -> set[str]:
        pods = self.client.all(b.PODS)
        return {one["metadata"]["name"] for one in pods if one["metadata"].get("deletionTimestamp")}

    async def finish(self, name: str) -> None:
        """What a kubelet does in the end of a deletion."""
        await self.client.patch(b.PODS, name, {"metadata": {"finalizers": None}}, "default")
        await self.clock.settle(400)

    def _pod(self, name: str) -> dict[str, Any]:
        return next(one for one in self.client.all(b.PODS) if one["metadata"]["name"] == name)


@asynccontextmanager
async def scheduling(
    world: World, profiles: dict[str, Callable[[Informers], Profile]] | None = None
) -> AsyncIterator[Scheduler]:
    scheduler = Scheduler(world.client, world.clock, profiles=profiles)
    task = asyncio.create_task(scheduler.run())
    await world.clock.settle(400)
    try:
        yield scheduler
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await scheduler.informers.stop()


async def test_a_more_important_pod_takes_the_place_of_a_lesser_one() -> None:
    world = World()
    world.node("a")
    world.running("lowly", "1500m", 1, "a")
    world.running("other", "400m", 50, "a")
    async with scheduling(world):
        await world.create("high", "1500m", 100)
        assert world.names() == {"other", "high"}
        await world.clock.advance(2)
        assert world.node_of("high") == "a"
    events = {one["reason"]: one["message"] for one in world.client.all(b.EVENTS)}
    assert events["Preempted"].startswith("Preempted by pod ") and events["Preempted"].endswith(" on node a")


async def test_who_must_never_preempt_waits() -> None:
    world = World()
    world.node("a")
    world.running("lowly", "2", 1, "a")
    async with scheduling(world):
        await world.create("polite", "1", 100, preemptionPolicy="Never")
        await world.clock.advance(5)
        assert world.names() == {"lowly", "polite"} and not world.node_of("polite")
        [condition] = world._pod("polite")["status"]["conditions"]
        assert condition["message"].endswith("preemption: not eligible due to preemptionPolicy=Never.")


async def test_the_node_whose_pods_no_budget_protects_is_chosen() -> None:
    world = World()
    for name in ("a", "b", "c"):
        world.node(name)
    world.running("kept-a", "2", 1, "a")
    world.running("free", "2", 5, "b")
    world.running("kept-c", "2", 1, "c")
    for app in ("kept-a", "kept-c"):
        world.budget(app, 0)
    async with scheduling(world):
        await world.create("high", "1", 100)
        # Though its priority is higher: a violated budget weighs more.
        assert world.names() == {"kept-a", "kept-c", "high"} and world.nominated("high") == "b"


async def test_a_budget_is_violated_only_when_nothing_else_is_left_and_as_little_as_can_be() -> None:
    world = World()
    world.node("a")
    world.node("b")
    world.running("a1", "1", 1, "a")
    world.running("a2", "1", 1, "a")
    world.running("b1", "2", 1, "b")
    for app in ("a1", "a2", "b1"):
        world.budget(app, 0)
    async with scheduling(world):
        await world.create("high", "2", 100)
        assert world.names() == {"a1", "a2", "high"} and world.nominated("high") == "b"


async def test_a_budget_that_allows_one_does_not_protect_the_first() -> None:
    world = World()
    world.node("a")
    world.running("one", "1", 1, "a")
    world.running("two", "1", 1, "a")
    world.budget("one", 1)
    world.budget("two", 0)
    async with scheduling(world):
        await world.create("high", "1", 100)
        assert world.names() == {"two", "high"}


async def test_the_room_of_a_nominated_pod_is_not_given_to_others() -> None:
    world = World()
    world.node("a")
    world.running("slow", "2", 1, "a", finalizer=True)
    async with scheduling(world) as scheduler:
        await world.create("high", "1500m", 100)
        assert world.terminating() == {"slow"} and world.nominated("high") == "a"
        await world.create("same", "1", 100)
        await world.create("small", "400m", 0)
        assert not world.nominated("same")  # what it could preempt is going already, and the room is promised
        await world.finish("slow")
        await world.clock.advance(3)
        assert world.node_of("high") == "a" and world.node_of("small") == "a" and not world.node_of("same")
        assert not scheduler._nominated


async def test_two_important_pods_do_not_take_the_same_victims() -> None:
    world = World()
    for name in ("a", "b"):
        world.node(name)
        world.running(f"slow-{name}", "2", 1, name, finalizer=True)
    async with scheduling(world):
        await world.create("first", "2", 100)
        await world.create("second", "2", 100)
        assert {world.nominated("first"), world.nominated("second")} == {"a", "b"}
        assert world.terminating() == {"slow-a", "slow-b"}


async def test_a_promise_is_taken_back_for_a_more_important_pod() -> None:
    world = World()
    world.node("a")
    world.running("slow", "2", 1, "a", finalizer=True)
    async with scheduling(world):
        await world.create("high", "2", 100)
        assert world.nominated("high") == "a"
        await world.create("highest", "2", 1000)
        await world.finish("slow")
        await world.clock.advance(12)
        assert world.node_of("highest") == "a" and not world.node_of("high")


async def test_a_promise_of_an_earlier_scheduler_is_kept() -> None:
    world = World()
    world.node("a")
    world.running("slow", "2", 1, "a", finalizer=True)
    async with scheduling(world):
        await world.create("high", "2", 100)
    async with scheduling(world):
        await world.create("same", "2", 100)
        await world.finish("slow")
        await world.clock.advance(12)
        assert world.node_of("high") == "a" and not world.node_of("same")


async def test_a_nominated_pod_that_is_deleted_frees_its_promise() -> None:
    world = World()
    world.node("a")
    world.running("slow", "2", 1, "a", finalizer=True)
    async with scheduling(world) as scheduler:
        await world.create("high", "2", 100)
        await world.create("small", "1", 0)
        await world.client.delete(b.PODS, "high", "default", grace_period_seconds=0)
        await world.finish("slow")
        await world.clock.advance(3)
        assert world.node_of("small") == "a" and not scheduler._nominated


async def test_each_scheduler_name_has_its_own_profile() -> None:
    world = World()
    for name in ("a", "b"):
        world.node(name, "4")
    world.running("old", "1", 0, "a")
    profiles = {
        "spreading": lambda informers: Profile("spreading", [NodeResourcesFit()]),
        "packing": lambda informers: Profile("packing", [NodeResourcesFit(most_allocated=True)]),
    }
    async with scheduling(world, profiles):
        await world.create("wide", "500m", 0, schedulerName="spreading")
        await world.create("tight", "500m", 0, schedulerName="packing")
        await world.create("foreign", "500m", 0, schedulerName="somebody-else")
        await world.create("nobody", "500m", 0)
        assert world.node_of("wide") == "b" and world.node_of("tight") == "a"
        assert not world.node_of("foreign") and not world.node_of("nobody")
        assert not (world._pod("foreign").get("status") or {}).get("conditions")
        # What other schedulers placed counts for all.
        await world.create("big", "3600m", 0, schedulerName="packing")
        assert not world.node_of("big")


@pytest.mark.parametrize("seed", range(4))
def test_what_is_remembered_of_a_node_is_what_would_be_found_again(seed: int) -> None:
    draw = random.Random(seed)
    found, memory = Snapshot(), preemption.Memory()
    judge = Profile("p", [NodeResourcesFit()])
    for number in range(12):
        allocatable = {"cpu": str(draw.randint(2, 4)), "pods": "10"}
        found.set_node({"metadata": {"name": f"n{number}"}, "status": {"allocatable": allocatable}})
    for step in range(200):
        cpu, priority = f"{draw.choice([500, 900, 2000])}m", draw.choice([-5, 0, 5, 10])
        body = World().pod(f"p{step}", cpu, priority)
        body["metadata"]["uid"] = f"p{step}"
        one = compile_pod(body)
        passed, diagnosis = judge.feasible(one, found)
        if passed.any():
            one.node = found.name(judge.best(one, found, passed))
            found.add_pod(one)
            continue
        expected = preemption.find(one, judge, found, diagnosis, lambda namespace: [])
        assert preemption.find(one, judge, found, diagnosis, lambda namespace: [], memory) == expected
        candidate, _ = expected
        if candidate is None:
            found.remove_pod(draw.choice(sorted(found.pods)))
            continue
        for victim in candidate.victims:
            found.remove_pod(victim.uid)
