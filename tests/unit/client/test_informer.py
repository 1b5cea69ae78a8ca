"""Informers: following, resuming, relisting, and this process's own writes."""

import asyncio
from typing import Any

from wherry.client.informer import Informer
from wherry.schema import builtin as b
from wherry.testing.clock import MockClock
from wherry.testing.fake_client import FakeClient


def thing(name: str, value: str = "1") -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "default"}, "data": {"v": value}}


class Seen:
    def __init__(self) -> None:
        self.events: list[str] = []

    def __call__(self, old: Any, new: Any) -> None:
        kind = "add" if old is None else "delete" if new is None else "update"
        self.events.append(f"{kind} {(new or old)['metadata']['name']}")


async def start(client: FakeClient, clock: MockClock) -> tuple[Informer, Seen, asyncio.Task[None]]:
    informer, seen = Informer(client, b.CONFIG_MAPS, clock=clock), Seen()
    informer.add_handler(seen)
    task = asyncio.create_task(informer.run())
    await informer.synced.wait()
    return informer, seen, task


async def test_it_lists_then_follows() -> None:
    clock = MockClock()
    client = FakeClient(clock)
    await client.create(b.CONFIG_MAPS, thing("a"))
    informer, seen, task = await start(client, clock)
    await client.create(b.CONFIG_MAPS, thing("b"))
    await client.patch(b.CONFIG_MAPS, "a", {"data": {"v": "2"}}, "default")
    await client.delete(b.CONFIG_MAPS, "b", "default")
    await clock.settle()
    assert seen.events == ["add a", "add b", "update a", "delete b"]
    assert [one["data"]["v"] for one in informer.items("default")] == ["2"]
    task.cancel()


async def test_after_gone_it_lists_again_and_tells_what_changed() -> None:
    clock = MockClock()
    client = FakeClient(clock)
    await client.create(b.CONFIG_MAPS, thing("a"))
    await client.create(b.CONFIG_MAPS, thing("b"))
    informer, seen, task = await start(client, clock)
    await clock.settle()
    client.watch_open.clear()
    await client.create(b.CONFIG_MAPS, thing("wake"))
    await clock.settle()
    await client.delete(b.CONFIG_MAPS, "a", "default")
    client.compact()
    client.watch_open.set()
    await client.create(b.CONFIG_MAPS, thing("c"))
    await clock.advance(1)
    assert sorted(one["metadata"]["name"] for one in informer) == ["b", "c", "wake"]
    assert "delete a" in seen.events and "add c" in seen.events
    task.cancel()


async def test_an_own_write_is_seen_at_once_and_told_once() -> None:
    clock = MockClock()
    client = FakeClient(clock)
    informer, seen, task = await start(client, clock)
    client.watch_open.clear()
    await clock.settle()
    created = await client.create(b.CONFIG_MAPS, thing("a"))
    informer.record_write(created)
    assert informer.get("default", "a") is not None and seen.events == []
    client.watch_open.set()
    await clock.settle()
    assert seen.events == ["add a"]
    task.cancel()


async def test_a_write_that_the_watch_has_overtaken_makes_no_ghost() -> None:
    clock = MockClock()
    client = FakeClient(clock)
    informer, seen, task = await start(client, clock)
    created = await client.create(b.CONFIG_MAPS, thing("a"))
    await client.delete(b.CONFIG_MAPS, "a", "default")
    await clock.settle()
    informer.record_write(created)
    assert informer.get("default", "a") is None and seen.events == ["add a", "delete a"]
    task.cancel()


async def test_an_own_delete_is_seen_at_once() -> None:
    clock = MockClock()
    client = FakeClient(clock)
    created = await client.create(b.CONFIG_MAPS, thing("a"))
    informer, seen, task = await start(client, clock)
    await client.delete(b.CONFIG_MAPS, "a", "default")
    informer.record_delete(created)
    assert informer.get("default", "a") is None
    await clock.settle()
    assert seen.events == ["add a", "delete a"]
    task.cancel()
