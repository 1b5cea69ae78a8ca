"""The engine's metadata: one SQLite database, one writer thread, one transaction per state change.

Vocabulary: a *house* (containers, images, networks, volumes) owns its tables and makes them with `ensure`.
A *write* is a function of the connection; all that it does is one transaction, and when `run` returns the
change is visible to every later process, whatever happens to this one.

Durability: WAL with `synchronous=NORMAL`. A killed process loses nothing that `run` acknowledged, because the
log is in the kernel. A power cut may lose the last moments but never corrupts: the engine then finds less in
the database than on disk, and reconciling removes the rest. So the hot path pays no fsync; who needs one
(content that must not be re-fetched) asks for it with `durable=True`.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]


class DatabaseClosed(RuntimeError):
    """The database was closed: the engine is shutting down."""


class Database:
    """Connections to one SQLite file: one to write with and one to read with, each in a thread of its own."""

    def __init__(self, path: Path) -> None:
        """Open (and create) the database at `path`; its folder must exist. Blocks for about a millisecond."""
        self.path = path
        self._writer = _Worker(path, "wherry-db-write", writable=True)
        self._reader: _Worker | None = None

    async def run(self, fn: Work[T], *, durable: bool = False) -> T:
        """Run `fn(connection)` in the writer thread as one transaction and return its result.

        Whatever `fn` raises rolls the transaction back and is raised here. With `durable` the change is on
        the disk (fsync) before this returns.
        """
        return await self._writer.call(fn, durable=durable)

    async def read(self, fn: Work[T]) -> T:
        """Run `fn(connection)` on a read-only connection, beside the writer. Sees all that `run` acknowledged."""
        if self._reader is None:
            self._reader = _Worker(self.path, "wherry-db-read", writable=False)
        return await self._reader.call(fn)

    async def ensure(self, schema: str) -> None:
        """Run the statements of `schema` (`CREATE TABLE IF NOT EXISTS …`), each house its own."""

        def create(connection: sqlite3.Connection) -> None:
            for statement in schema.split(";"):
                if statement.strip():
                    connection.execute(statement)

        await self.run(create)

    def close(self) -> None:
        """Finish what is queued, close the connections and end the threads. Further calls raise DatabaseClosed."""
        self._writer.close()
        if self._reader is not None:
            self._reader.close()


class _Worker:
    """A thread with one connection that runs work items in order."""

    def __init__(self, path: Path, name: str, *, writable: bool) -> None:
        self._writable = writable
        self._queue: queue.SimpleQueue[tuple[Work[Any], bool, _Answer] | None] = queue.SimpleQueue()
        self._closed = False
        self._connection = _connect(path, writable=writable)
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)
        self._thread.start()

    async def call(self, fn: Work[T], *, durable: bool = False) -> T:
        if self._closed:
            raise DatabaseClosed("the engine's database is closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._queue.put((fn, durable, _Answer(loop, future)))
        return await future

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._queue.put(None)
            self._thread.join()
            self._connection.close()

    def _loop(self) -> None:
        while (item := self._queue.get()) is not None:
            fn, durable, answer = item
            try:
                result = self._execute(fn, durable)
            except BaseException as error:  # noqa: BLE001 - whatever the work raised belongs to its caller
                answer.give(None, error)
            else:
                answer.give(result, None)

    def _execute(self, fn: Work[Any], durable: bool) -> Any:
        connection = self._connection
        if not self._writable:
            return fn(connection)
        if durable:
            connection.execute("PRAGMA synchronous=FULL")
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = fn(connection)
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        else:
            connection.execute("COMMIT")
        finally:
            if durable:
                connection.execute("PRAGMA synchronous=NORMAL")
        return result


class _Answer:
    """Carries one result from the worker thread back to the event loop that asked."""

    __slots__ = ("_future", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any]) -> None:
        self._loop = loop
        self._future = future

    def give(self, result: Any, error: BaseException | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._set, result, error)
        except RuntimeError:
            # The loop is gone: its owner gave up waiting. The transaction itself is done.
            return

    def _set(self, result: Any, error: BaseException | None) -> None:
        if self._future.done():
            return
        if error is not None:
            self._future.set_exception(error)
        else:
            self._future.set_result(result)


def _connect(path: Path, *, writable: bool) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA foreign_keys=ON")
    if not writable:
        connection.execute("PRAGMA query_only=ON")
    return connection
