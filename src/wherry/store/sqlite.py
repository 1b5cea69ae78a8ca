"""The store in one SQLite file: group commit in one writer thread, fsync before the answer.

Every write is one row `(revision, key, create_revision, value)`, so history is the table itself, and a value
of NULL is a deletion. Compare-and-swap is decided in the event loop against `_heads` (each key's newest
revision, writes under way included), so that a write's revision is known before it reaches the disk and many
writes share one commit. When a commit fails, it and everything decided after it is undone: nothing of it was
visible to anyone.

Compaction runs in the writer between commits, in small steps, so that the file never rots.
"""

import asyncio
import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from wherry.store.api import (
    Compacted,
    Corrupt,
    Deliver,
    Event,
    Failed,
    FutureRevision,
    KeyValue,
    Mismatch,
    NoSpace,
    RangeResult,
    StoreError,
    Unavailable,
    prefix_end,
)

log = logging.getLogger(__name__)

SCHEMA = """
CREATE TABLE IF NOT EXISTS kv (
    revision INTEGER PRIMARY KEY,
    key TEXT NOT NULL,
    create_revision INTEGER NOT NULL,
    value BLOB
);
CREATE INDEX IF NOT EXISTS kv_key ON kv (key, revision);
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
INSERT OR IGNORE INTO meta VALUES ('compacted', 0), ('revision', 1), ('clean', 1);
"""

MAX_BATCH = 512
"""Writes per commit; bounds how long one commit takes and how much a failed one undoes."""

COMPACT_STEP = 2000
"""Revisions that one step of compaction looks at."""

COMPACT_INTERVAL = 30.0
"""Seconds between looks at whether history has grown too old."""


class _Head(NamedTuple):
    """A key's newest state: `mod_revision` 0 when it does not exist."""

    mod_revision: int
    create_revision: int


_ABSENT = _Head(0, 0)


class _Write:
    """A write decided but not yet on disk."""

    __slots__ = ("create_revision", "future", "key", "previous", "revision", "value")

    def __init__(
        self,
        revision: int,
        key: str,
        create_revision: int,
        value: bytes | None,
        previous: _Head,
        future: "asyncio.Future[int]",
    ) -> None:
        self.revision = revision
        self.key = key
        self.create_revision = create_revision
        self.value = value
        self.previous = previous
        self.future = future


class _Task(NamedTuple):
    """Something for the writer thread to run on its connection between two commits."""

    run: Callable[[sqlite3.Connection], object]
    future: "asyncio.Future[object]"


class SqliteWatch:
    """See `store.api.Watch`."""

    def __init__(self, store: "SqliteStore", prefix: str, next_revision: int, deliver: Deliver, failed: Failed) -> None:
        self.prefix = prefix
        self.next_revision = next_revision
        self.live = False
        self._store = store
        self._deliver = deliver
        self._failed = failed
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        if self.next_revision > self._store.revision:
            self.live = True
        else:
            self._task = asyncio.get_running_loop().create_task(self._replay())

    async def _replay(self) -> None:
        """Deliver what is on disk, page by page, until the present is reached; from there commits do it."""
        store = self._store
        try:
            while True:
                through = store.revision
                events = await store.history(self.prefix, self.next_revision, through)
                self.next_revision = through + 1
                self._deliver(events, through)
                if store.revision == through:
                    self.live = True
                    return
        except StoreError as error:
            self.close()
            self._failed(error)

    def push(self, events: Sequence[Event], revision: int) -> None:
        if not self.live:
            return
        mine = [event for event in events if event.revision >= self.next_revision and event.key.startswith(self.prefix)]
        self.next_revision = max(self.next_revision, revision + 1)
        self._deliver(mine, revision)

    def fail(self, error: StoreError) -> None:
        self.close()
        self._failed(error)

    def close(self) -> None:
        self.live = False
        self._store.forget(self)
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()


class SqliteStore:
    """See `store.api.Store`. Open with `SqliteStore.open`."""

    exclusive = True

    def __init__(self, path: Path, loop: asyncio.AbstractEventLoop, retain_seconds: float) -> None:
        self._path = path
        self._loop = loop
        self._retain = retain_seconds
        self._heads: dict[str, _Head] = {}
        self._under_way: dict[str, _Write] = {}
        self._outstanding: deque[_Write] = deque()
        self._watches: list[SqliteWatch] = []
        self._decided = 1
        self._revision = 1
        self._compacted = 0
        self._queue: deque[_Write | _Task] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._failing = False
        self._reader_lock = threading.Lock()
        self._reader: sqlite3.Connection
        self._writer: sqlite3.Connection
        self._thread: threading.Thread
        self._marks: deque[tuple[float, int]] = deque()

    @classmethod
    async def open(cls, path: Path, *, retain_seconds: float = 300.0) -> "SqliteStore":
        """The store in file `path`, made when missing. History younger than `retain_seconds` is kept.

        Raises Corrupt when the file fails SQLite's integrity check; it is checked whenever the last process
        did not close it, Unavailable when another process has it open.
        """
        store = cls(path, asyncio.get_running_loop(), retain_seconds)
        await asyncio.to_thread(store._open)
        store._thread = threading.Thread(target=store._write_loop, name="store-writer", daemon=True)
        store._thread.start()
        return store

    # -- opening (in a thread)

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._writer = self._connect()
            self._lock_file()
            self._writer.executescript(SCHEMA)
            meta = dict(self._writer.execute("SELECT name, value FROM meta"))
            if not meta["clean"]:
                verdict = self._writer.execute("PRAGMA quick_check(1)").fetchone()[0]
                if verdict != "ok":
                    raise Corrupt(f"{self._path}: {verdict}; restore a snapshot of the store")
            self._writer.execute("UPDATE meta SET value = 0 WHERE name = 'clean'")
            newest = self._writer.execute("SELECT MAX(revision) FROM kv").fetchone()[0] or 0
            self._revision = self._decided = max(newest, meta["revision"])
            self._compacted = meta["compacted"]
            self._reader = self._connect()
            for key, revision, created in self._reader.execute(
                "SELECT key, MAX(revision), CASE WHEN value IS NULL THEN 0 ELSE create_revision END "
                "FROM kv GROUP BY key"
            ):
                if created:
                    self._heads[key] = _Head(revision, created)
        except sqlite3.OperationalError as error:
            raise Unavailable(f"{self._path}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise Corrupt(f"{self._path}: {error}; restore a snapshot of the store") from error

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=2.0)
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA cache_size=-4096")
        connection.execute("PRAGMA temp_store=MEMORY")
        return connection

    def _lock_file(self) -> None:
        """One process only: revisions are handed out in memory."""
        import fcntl

        self._lock = open(f"{self._path}.lock", "a")  # noqa: SIM115 (held until close)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Unavailable(f"{self._path} is in use by another process") from error

    # -- the contract

    @property
    def revision(self) -> int:
        return self._revision

    @property
    def compacted(self) -> int:
        return self._compacted

    async def newest(self) -> int:
        return self._revision

    async def get(self, key: str) -> KeyValue | None:
        row = (await self._read("SELECT key, value, create_revision, revision FROM kv WHERE key = ? "
                                "ORDER BY revision DESC LIMIT 1", (key,)))  # fmt: skip
        return KeyValue(*row[0]) if row and row[0][1] is not None else None

    async def range(self, prefix: str, *, start: str = "", limit: int = 0, revision: int = 0) -> RangeResult:
        at = revision or self._revision
        self._check_readable(at)
        low, high = max(prefix, start), prefix_end(prefix)
        newest = (
            "FROM kv JOIN (SELECT key AS k, MAX(revision) AS r FROM kv "
            "WHERE key >= ? AND key < ? AND revision <= ? GROUP BY key) ON kv.revision = r WHERE value IS NOT NULL"
        )
        sql = f"SELECT key, value, create_revision, revision {newest} ORDER BY key"
        rows = await self._read(sql + (f" LIMIT {limit + 1}" if limit else ""), (low, high, at))
        self._check_readable(at)
        more = bool(limit) and len(rows) > limit
        count = len(rows)
        if more:
            rows.pop()
            count = (await self._read(f"SELECT COUNT(*) {newest}", (low, high, at)))[0][0]
        return RangeResult([KeyValue(*row) for row in rows], at, more, count)

    async def history(self, prefix: str, first: int, last: int) -> list[Event]:
        """The writes below `prefix` with revisions `first`..`last`. Raises Compacted."""
        if first <= self._compacted:
            raise Compacted(self._compacted)
        rows = await self._read(
            "SELECT key, value, create_revision, revision FROM kv WHERE revision >= ? AND revision <= ? "
            "AND key >= ? AND key < ? ORDER BY revision",
            (first, last, prefix, prefix_end(prefix)),
        )
        if first <= self._compacted:
            raise Compacted(self._compacted)
        return [Event(*row) for row in rows]

    async def put(self, key: str, value: bytes, *, expected: int | None = None) -> int:
        head = self._heads.get(key, _ABSENT)
        if expected is not None and head.mod_revision != expected:
            raise Mismatch(key, await self._current(key))
        return await self._submit(key, head.create_revision, value, head)

    async def delete(self, key: str, *, expected: int | None = None) -> int:
        head = self._heads.get(key, _ABSENT)
        if not head.mod_revision or (expected is not None and head.mod_revision != expected):
            raise Mismatch(key, await self._current(key))
        return await self._submit(key, 0, None, head)

    def watch(self, prefix: str, start_revision: int, deliver: Deliver, failed: Failed) -> SqliteWatch:
        self._check_open()
        watch = SqliteWatch(self, prefix, start_revision, deliver, failed)
        self._watches.append(watch)
        watch.begin()
        return watch

    def forget(self, watch: SqliteWatch) -> None:
        """The watch has been closed."""
        if watch in self._watches:
            self._watches.remove(watch)

    async def compact(self, revision: int) -> None:
        if revision <= self._compacted:
            raise Compacted(self._compacted)
        if revision > self._revision:
            raise FutureRevision(f"revision {revision} is newer than {self._revision}")
        first, self._compacted = self._compacted, revision
        while first < revision:
            last = min(first + COMPACT_STEP, revision)
            await self._in_writer(lambda conn, a=first, b=last: _compact_step(conn, a, b, self._revision))  # type: ignore[misc]
            first = last

    async def backup(self, path: Path) -> int:
        def copy(conn: sqlite3.Connection) -> int:
            conn.execute("VACUUM INTO ?", (str(path),))
            with sqlite3.connect(path) as made:
                made.execute("UPDATE meta SET value = 1 WHERE name = 'clean'")
                made.execute("UPDATE meta SET value = ? WHERE name = 'revision'", (revision,))
            made.close()
            return revision

        revision = self._revision
        result = await self._in_writer(copy)
        assert isinstance(result, int)
        return result

    async def close(self) -> None:
        if self._closing:
            return
        with self._wake:
            self._closing = True
            self._wake.notify()
        await asyncio.to_thread(self._thread.join)
        for watch in list(self._watches):
            watch.fail(Unavailable("the store has been closed"))
        with self._reader_lock:
            self._reader.close()
        self._lock.close()

    # -- in the event loop

    def _check_open(self) -> None:
        if self._closing:
            raise Unavailable("the store has been closed")

    def _check_readable(self, revision: int) -> None:
        if revision < self._compacted:
            raise Compacted(self._compacted)
        if revision > self._revision:
            raise FutureRevision(f"revision {revision} is newer than {self._revision}")

    async def _read(self, sql: str, parameters: tuple[object, ...]) -> list[Any]:
        self._check_open()

        def run() -> list[Any]:
            with self._reader_lock:
                return self._reader.execute(sql, parameters).fetchall()

        try:
            return await asyncio.to_thread(run)
        except sqlite3.Error as error:
            raise Unavailable(f"{self._path}: {error}") from error

    async def _current(self, key: str) -> KeyValue | None:
        write = self._under_way.get(key)
        if write is None:
            return await self.get(key)
        if write.value is None:
            return None
        return KeyValue(key, write.value, write.create_revision, write.revision)

    def _submit(self, key: str, create_revision: int, value: bytes | None, head: _Head) -> "asyncio.Future[int]":
        self._check_open()
        self._decided += 1
        revision = self._decided
        future: asyncio.Future[int] = self._loop.create_future()
        if value is not None and not create_revision:
            create_revision = revision
        write = _Write(revision, key, create_revision, value, head, future)
        if value is None:
            del self._heads[key]
        else:
            self._heads[key] = _Head(revision, create_revision)
        self._under_way[key] = write
        self._outstanding.append(write)
        self._enqueue(write)
        return future

    def _enqueue(self, item: "_Write | _Task") -> None:
        with self._wake:
            self._queue.append(item)
            self._wake.notify()

    async def _in_writer(self, run: Callable[[sqlite3.Connection], object]) -> object:
        self._check_open()
        future: asyncio.Future[object] = self._loop.create_future()
        self._enqueue(_Task(run, future))
        try:
            return await future
        except sqlite3.Error as error:
            raise _translate(error) from error

    def _committed(self, batch: list[_Write]) -> None:
        """The batch is on disk: publish first, then answer."""
        for write in batch:
            self._outstanding.popleft()
            if self._under_way.get(write.key) is write:
                del self._under_way[write.key]
        self._revision = batch[-1].revision
        events = [Event(write.key, write.value, write.create_revision, write.revision) for write in batch]
        for watch in list(self._watches):
            watch.push(events, self._revision)
        for write in batch:
            if not write.future.done():
                write.future.set_result(write.revision)
        self._mark()

    def _failed(self, error: sqlite3.Error) -> None:
        """A commit failed: undo every write decided since, newest first."""
        undone = list(self._outstanding)
        self._outstanding.clear()
        self._under_way.clear()
        for write in reversed(undone):
            if write.previous.mod_revision:
                self._heads[write.key] = write.previous
            else:
                self._heads.pop(write.key, None)
        self._decided = self._revision
        with self._wake:
            self._queue = deque(item for item in self._queue if isinstance(item, _Task))
            self._failing = False
            self._wake.notify()
        refusal = _translate(error)
        for write in undone:
            if not write.future.done():
                write.future.set_exception(type(refusal)(str(refusal)))

    def _mark(self) -> None:
        """Remember which revision was current when, and compact what has become too old."""
        now = time.monotonic()
        if self._marks and now - self._marks[-1][0] < COMPACT_INTERVAL:
            return
        self._marks.append((now, self._revision))
        target = 0
        while self._marks and now - self._marks[0][0] > self._retain:
            target = self._marks.popleft()[1]
        if target > self._compacted:
            task = self._loop.create_task(self.compact(target))
            task.add_done_callback(_report)

    # -- in the writer thread

    def _write_loop(self) -> None:
        conn = self._writer
        while True:
            with self._wake:
                while self._failing or (not self._queue and not self._closing):
                    self._wake.wait()
                if not self._queue:
                    break
                batch: list[_Write] = []
                task: _Task | None = None
                while self._queue and len(batch) < MAX_BATCH:
                    if isinstance(self._queue[0], _Task) and batch:
                        break
                    item = self._queue.popleft()
                    if isinstance(item, _Task):
                        task = item
                        break
                    batch.append(item)
            if task is not None:
                self._run_task(conn, task)
                continue
            try:
                _commit(conn, batch)
            except sqlite3.Error as error:
                log.error("the store refused %d writes: %s", len(batch), error)
                with self._wake:
                    self._failing = True
                self._call(self._failed, error)
            else:
                self._call(self._committed, batch)
        try:
            conn.execute("UPDATE meta SET value = 1 WHERE name = 'clean'")
            conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            log.warning("the store could not be closed cleanly: %s", error)
        conn.close()

    def _run_task(self, conn: sqlite3.Connection, task: _Task) -> None:
        try:
            result = task.run(conn)
        except sqlite3.Error as error:
            self._call(_settle, task.future, None, error)
        else:
            self._call(_settle, task.future, result, None)

    def _call(self, callback: Callable[..., None], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            log.debug("the event loop ended before the store")


def _settle(future: "asyncio.Future[object]", result: object, error: Exception | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


def _report(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and task.exception() is not None:
        log.warning("compaction: %s", task.exception())


def _chunks(batch: list[_Write]) -> Iterator[list[_Write]]:
    """Cut into pieces of a power of two, so that few different statements need preparing."""
    position = 0
    size = 64
    while position < len(batch):
        while size > len(batch) - position:
            size //= 2
        yield batch[position : position + size]
        position += size


def _commit(conn: sqlite3.Connection, batch: list[_Write]) -> None:
    """One transaction. One statement inserts many rows, because each statement gives the interpreter lock away
    and has to win it back."""
    conn.execute("BEGIN IMMEDIATE")
    try:
        for chunk in _chunks(batch):
            values: list[object] = []
            for write in chunk:
                values += (write.revision, write.key, write.create_revision, write.value)
            conn.execute("INSERT INTO kv VALUES (?,?,?,?)" + ",(?,?,?,?)" * (len(chunk) - 1), values)
        conn.execute("COMMIT")
    except sqlite3.Error:
        if conn.in_transaction:
            conn.execute("ROLLBACK")
        raise


def _compact_step(conn: sqlite3.Connection, first: int, last: int, revision: int) -> None:
    """Drop what the writes in `first`+1..`last` replaced, and the deletions among them."""
    conn.execute("BEGIN IMMEDIATE")
    try:
        conn.execute(
            "DELETE FROM kv WHERE revision IN (SELECT old.revision FROM kv AS new JOIN kv AS old "
            "ON old.key = new.key AND old.revision < new.revision WHERE new.revision > ? AND new.revision <= ?)",
            (first, last),
        )
        conn.execute("DELETE FROM kv WHERE revision > ? AND revision <= ? AND value IS NULL", (first, last))
        conn.execute("UPDATE meta SET value = ? WHERE name = 'compacted'", (last,))
        conn.execute("UPDATE meta SET value = ? WHERE name = 'revision'", (revision,))
        conn.execute("COMMIT")
    except sqlite3.Error:
        if conn.in_transaction:
            conn.execute("ROLLBACK")
        raise
    conn.execute("PRAGMA incremental_vacuum(256)").fetchall()


def _translate(error: sqlite3.Error) -> StoreError:
    if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
        return NoSpace(f"the store cannot write: {error}")
    if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_IOERR:
        return NoSpace(f"the store cannot write: {error}")
    return Unavailable(f"the store cannot write: {error}")
