"""The engine: Docker's daemon as a Python object. Open one per instance, call its parts, close it.

    engine = await Engine.open(open_instance())
    created = await engine.containers.create("web", {"Image": "nginx"})
    await engine.containers.start(created["Id"])

Bodies and answers have the shapes of the Docker Engine API 1.50. Containers run on when the engine is closed or
killed, and are taken over by the next one.
"""

import asyncio
import fcntl
import os
from typing import Any

from wherry.engine import info
from wherry.engine.containers import Containers
from wherry.engine.errors import EngineError
from wherry.engine.events import Events
from wherry.engine.execs import Execs
from wherry.engine.networks import Networks
from wherry.engine.reconcile import reconcile
from wherry.engine.register import ExitListener
from wherry.engine.runtime import Runtimes
from wherry.engine.volumes import Volumes
from wherry.host import cgroups, memory
from wherry.host.cgroup_moves import CgroupMoves
from wherry.host.database import Database
from wherry.host.instance import Instance
from wherry.images.store import ImageStore


class Engine:
    """Attributes: `containers`, `execs`, `images`, `networks`, `volumes`, `events`, and below them `instance`,
    `database`, `layout` (cgroups), `cgroup_moves` and `runtimes`."""

    def __init__(
        self,
        instance: Instance,
        *,
        database: Database,
        layout: cgroups.Layout,
        images: ImageStore,
        networks: Networks,
        volumes: Volumes,
        events: Events,
        lock: int,
    ) -> None:
        self.instance = instance
        self.database = database
        self.layout = layout
        self.cgroup_moves = CgroupMoves(layout)
        self.images = images
        self.networks = networks
        self.volumes = volumes
        self.events = events
        self.runtimes = Runtimes(instance.run)
        self.containers = Containers(self)
        self.execs = Execs(self)
        self.closing = False
        self._lock = lock

    @classmethod
    async def open(cls, instance: Instance) -> "Engine":
        """Take over what is there: running containers, volumes, images, networks. One engine per instance.

        Raises EngineError when another process has this instance open.
        """
        memory.few_arenas()
        lock = await asyncio.to_thread(_make_places, instance)
        database = Database(instance.database)
        layout = await asyncio.to_thread(cgroups.prepare)
        events = Events()
        volumes, images = await asyncio.gather(
            Volumes.open(instance, database, events), ImageStore.open(instance, database)
        )
        networks = await Networks.open(instance, database, events)
        engine = cls(
            instance,
            database=database,
            layout=layout,
            images=images,
            networks=networks,
            volumes=volumes,
            events=events,
            lock=lock,
        )
        networks.containers = engine.containers
        images.users = engine.containers.image_users
        images.on_event = lambda action, image_id, attributes: _emit_image(events, action, image_id, attributes)
        await engine.containers.load()
        await reconcile(engine)
        return engine

    def subscribe_exits(self, listener: ExitListener) -> Any:
        """Call `listener(container id, exit code)` at once at each end of a container. Returns how to stop."""
        return self.containers.subscribe_exits(listener)

    async def info(self) -> dict[str, Any]:
        """`GET /info`."""
        return await info.info(self)

    async def version(self) -> dict[str, Any]:
        """`GET /version`."""
        return info.version(self)

    async def close(self) -> None:
        """Let go of everything; containers keep running."""
        self.closing = True
        await self.execs.close()
        await self.containers.close()
        await self.networks.close()
        self.runtimes.close()
        self.cgroup_moves.close()
        await asyncio.to_thread(self.database.close)
        os.close(self._lock)


def _make_places(instance: Instance) -> int:
    instance.root.mkdir(parents=True, exist_ok=True, mode=0o711)
    instance.run.mkdir(parents=True, exist_ok=True, mode=0o711)
    for name in ("containers", "exits", "execs"):
        (instance.run / name).mkdir(exist_ok=True, mode=0o700)
    (instance.root / "containers").mkdir(exist_ok=True, mode=0o710)
    lock = os.open(instance.root / "engine.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise EngineError(f"another process already serves {instance.root}") from None
    return lock


def _emit_image(events: Events, action: str, image_id: str, attributes: dict[str, str]) -> None:
    events.emit("image", action, image_id, attributes)
