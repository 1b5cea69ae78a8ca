"""An API server's heart on a store in a temporary directory, with a clock that stands still."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from wherry.kube_api.admission.plugins import default_plugins
from wherry.kube_api.api import Api
from wherry.kube_api.cache import WatchCache
from wherry.kube_api.call import MASTER
from wherry.kube_api.local import LocalClient
from wherry.kube_api.strategies.services import ServiceAddresses
from wherry.schema import builtin
from wherry.store.sqlite import SqliteStore


@dataclass
class World:
    """`now` is the time in seconds; change it to make time pass."""

    api: Api
    client: LocalClient
    now: float = 1_700_000_000.0


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    store = await SqliteStore.open(tmp_path / "store.db")
    cache = WatchCache(store)
    await cache.start()
    holder: list[World] = []
    api = Api(store, cache, now=lambda: holder[0].now)
    world = World(api, LocalClient(api, MASTER))
    holder.append(world)
    api.services["addresses"] = ServiceAddresses(api, "10.96.0.0/24", (30000, 30100))
    api.admission.plugins.extend(default_plugins(api))
    await world.client.create(builtin.NAMESPACES, {"metadata": {"name": "default"}})
    await world.client.create(builtin.SERVICE_ACCOUNTS, {"metadata": {"name": "default"}}, "default")
    yield world
    cache.stop()
    await api.admission.close()
    await store.close()
