"""The start of the builder: its cache, and after a crash the end of what earlier builds have left
running, mounted and half-written."""

import asyncio
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from ..host import mounts, processes
from ..host.cgroups import Cgroup
from .cache import BuildCache
from .cache_mounts import CacheMounts

if TYPE_CHECKING:
    from ..engine.engine import Engine

SNAPSHOT_PREFIX = "build-"
"""Of the keys of builds' snapshots; containers' keys are hexadecimal."""


def scratch(engine: "Engine") -> Path:
    """Where builds keep what may be large while they run: on the disk; the runtime directory is often in memory."""
    return engine.instance.root / "build" / "work"


async def open_cache(engine: "Engine") -> BuildCache:
    """The engine's build cache. Whoever serves an engine opens it at the start: from then on the cache keeps its
    layers, and what a crash left is gone. It loads little; the builder itself comes with the first build."""
    opening = engine.images.companions.get("build cache")
    if opening is None:
        opening = engine.images.companions["build cache"] = asyncio.ensure_future(_open(engine))
    cache: BuildCache = await opening
    return cache


async def _open(engine: "Engine") -> BuildCache:
    await sweep(engine)
    place = engine.instance.root / "build" / "mounts"
    return await BuildCache.open(engine.database, engine.images, CacheMounts(place))


async def sweep(engine: "Engine") -> None:
    """Only when no build of this process runs: an engine's builder calls it once, when it is made."""
    place = engine.instance.run / "build"
    for marker in await asyncio.to_thread(lambda: sorted(place.glob("*/*/container"))):
        await _end(engine, marker)
    await asyncio.to_thread(_tidy, engine, place)


async def _end(engine: "Engine", marker: Path) -> None:
    """Kill one step's process and let the runtime forget it."""
    container_id = (await asyncio.to_thread(marker.read_text)).strip()
    runtime = engine.runtimes.get("")
    cgroup = Cgroup(engine.layout, f"{engine.instance.cgroup}/build-{container_id[:16]}")
    if container_id:
        await processes.run(runtime.command("delete", "--force", container_id))
    await asyncio.to_thread(cgroup.kill)
    await asyncio.to_thread(cgroup.remove)


def _tidy(engine: "Engine", place: Path) -> None:
    mounts.unmount_under(place)
    shutil.rmtree(place, ignore_errors=True)
    shutil.rmtree(scratch(engine), ignore_errors=True)
    snapshots = engine.images.snapshots
    keys = snapshots.keys()
    for key in keys:
        if key.startswith(SNAPSHOT_PREFIX):
            snapshots.remove(key)
