"""The register of containers: who exists, under which name and id, stored where, and who is told what.

What is done with containers is in containers.py, which builds on this.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wherry.engine.errors import InvalidParameter, NotFound
from wherry.engine.model import Container, Record

if TYPE_CHECKING:
    from wherry.engine.engine import Engine

_log = logging.getLogger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS containers (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, record BLOB NOT NULL)
WITHOUT ROWID
"""

ExitListener = Callable[[str, int], None]


class Register:
    """All containers of one engine. All methods belong to the event loop's thread."""

    def __init__(self, engine: "Engine") -> None:
        self.engine = engine
        self._by_id: dict[str, Container] = {}
        self._ids: dict[str, str] = {}
        self._reserved: set[str] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._listeners: list[ExitListener] = []

    async def load(self) -> None:
        """Read what is stored. `reconcile.reconcile` then compares it with the machine."""

        def read(connection: sqlite3.Connection) -> Sequence[tuple[bytes]]:
            connection.execute(_SCHEMA)
            return connection.execute("SELECT record FROM containers").fetchall()

        for (raw,) in await self.engine.database.run(read):
            self.register(Container(Record.from_json(raw)))

    def register(self, container: Container) -> None:
        self._by_id[container.id] = container
        self._ids[container.name] = container.id

    def all(self) -> list[Container]:
        return list(self._by_id.values())

    def find(self, ref: str) -> Container | None:
        """`get`, with None for what is not here."""
        try:
            return self.get(ref)
        except NotFound:
            return None

    def get(self, ref: str) -> Container:
        """Raises NotFound ("No such container: …"), InvalidParameter for an ambiguous beginning of an id."""
        found = self._by_id.get(ref) or self._by_id.get(self._ids.get(ref.removeprefix("/"), ""))
        if found is not None:
            return found
        if ref:
            matches = [container for identity, container in self._by_id.items() if identity.startswith(ref)]
            if len(matches) == 1:
                return matches[0]
            if matches:
                raise InvalidParameter(f"multiple IDs found with provided prefix: {ref}")
        raise NotFound(f"No such container: {ref}")

    def id_of_name(self, name: str) -> str | None:
        return self._ids.get(name) or ("" if name in self._reserved else None)

    async def save(self, container: Container) -> None:
        """Store the record: one transaction."""
        record = container.record
        row = (record.id, record.name, record.to_json())
        await self.engine.database.run(
            lambda connection: connection.execute("INSERT OR REPLACE INTO containers VALUES (?, ?, ?)", row)
        )

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """A task that is kept alive until it ends; what it raises is logged."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("background work failed", exc_info=error)

    async def close(self) -> None:
        """Stop watching. Containers keep running."""
        for container in self._by_id.values():
            if container.rotation is not None:
                container.rotation.stop()
            if container.health is not None:
                container.health.stop()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for container in self._by_id.values():
            if container.hub is not None:
                container.hub.finish()

    def emit(self, container: Container, action: str, attributes: Mapping[str, str] | None = None) -> None:
        self.engine.events.container_event(action, container.id, container.name, container.config, attributes)

    def subscribe_exits(self, listener: ExitListener) -> Callable[[], None]:
        """Call `listener(container id, exit code)` at each end of a container, at once. Returns how to stop."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    def tell_exit(self, container: Container, code: int) -> None:
        for listener in tuple(self._listeners):
            listener(container.id, code)
