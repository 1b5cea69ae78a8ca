"""What a container holds besides its record: its root's snapshot, its volumes, its folders and files.

Taken when it is created, given back when it is removed.
"""

import asyncio
import contextlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.engine import logs, mountpoints
from wherry.engine.errors import EngineError
from wherry.engine.model import Container
from wherry.host import mounts

if TYPE_CHECKING:
    from wherry.engine.containers import Containers


async def take(containers: "Containers", container: Container) -> None:
    """Make all that a new container needs. On failure the caller gives back."""
    engine, record = containers.engine, container.record

    def files() -> None:
        containers.lifecycle.home(record.id).mkdir(parents=True, exist_ok=True)
        if record.log_path:
            Path(record.log_path).parent.mkdir(parents=True, exist_ok=True)
        engine.images.snapshots.prepare(record.id, record.chain_id or None)
        for point in mountpoints.images(record.mounts):
            engine.images.snapshots.prepare(point["key"], point["chain"], init=False)

    async with contextlib.AsyncExitStack() as held:
        for chain in (record.chain_id or None, *(point["chain"] for point in mountpoints.images(record.mounts))):
            await held.enter_async_context(engine.images.holding(chain))
        await asyncio.to_thread(files)
    await mountpoints.acquire(record.mounts, engine.volumes, record.id)


async def give_back(containers: "Containers", container: Container) -> None:
    """Undo `take`, as far as it came; anonymous volumes go too."""
    await release_volumes(containers, container, remove=True)
    await asyncio.to_thread(remove_files, containers, container)


async def release_volumes(containers: "Containers", container: Container, *, remove: bool) -> None:
    """The volumes are no longer in use by it; with `remove` those that were made for it alone are removed."""
    volumes = containers.engine.volumes
    for point in container.record.mounts:
        if point["Type"] == "volume" and point.get("Name"):
            volumes.release(point["Name"], container.id)
            if remove and point.get("owned"):
                with contextlib.suppress(EngineError):
                    await volumes.remove(point["Name"])


def remove_files(containers: "Containers", container: Container) -> None:
    """Its snapshots, folders and logs. Blocks; idempotent."""
    lifecycle, snapshots = containers.lifecycle, containers.engine.images.snapshots
    snapshots.remove(container.id)
    for point in mountpoints.images(container.record.mounts):
        snapshots.remove(point["key"])
    shutil.rmtree(lifecycle.home(container.id), ignore_errors=True)
    bundle = lifecycle.bundle(container.id)
    if bundle.exists():
        mounts.unmount_under(bundle)
        shutil.rmtree(bundle, ignore_errors=True)
    if container.record.log_path:
        logs.remove_files(Path(container.record.log_path))
    with contextlib.suppress(FileNotFoundError):
        (lifecycle.exits / container.id).unlink()
