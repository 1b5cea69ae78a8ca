"""Snapshots: all objects at one revision in one file, the same from every store, and back into any.

The file is an SQLite database with the tables `object` and `info`. A digest over all objects guards it. Restoring
gives every object a new revision above all that were ever given out, and forgets the history before: clients that
still know older ones are told to list again (410 Gone) and never see time go backwards.

What is encrypted at rest stays so: restoring elsewhere needs the key in `<root>/pki` too.
"""

import hashlib
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from wherry.store.api import Store
from wherry.store.sqlite import SCHEMA

PREFIX = "/registry/"
PAGE = 500

_TABLES = """
CREATE TABLE object (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE info (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


class BadSnapshot(Exception):
    """The file is no snapshot, or has been damaged."""


@dataclass(frozen=True)
class Snapshot:
    """What is known of a snapshot. `made` is epoch seconds; `counts` are objects by resource (`core/pods`)."""

    revision: int
    made: float
    source: str
    objects: int
    size: int
    digest: str
    counts: dict[str, int]


async def save(store: Store, path: Path) -> Snapshot:
    """Write the store's objects at its newest revision to the new file `path`; writes may go on meanwhile."""
    revision = await store.newest()
    found: list[tuple[str, bytes]] = []
    start = ""
    while True:
        page = await store.range(PREFIX, start=start, limit=PAGE, revision=revision)
        found += [(item.key, item.value) for item in page.items]
        if not page.more:
            break
        start = page.items[-1].key + "\0"
    return _write(path, found, revision, "etcd")


def save_sqlite(database: Path, path: Path) -> Snapshot:
    """As `save`, from the file of an embedded store that a server may have open (blocking)."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, isolation_level=None)) as conn:
        conn.execute("BEGIN")
        meta = dict(conn.execute("SELECT name, value FROM meta"))
        newest = conn.execute("SELECT MAX(revision) FROM kv").fetchone()[0] or 0
        rows = conn.execute(
            "SELECT key, value FROM kv JOIN (SELECT MAX(revision) AS newest FROM kv GROUP BY key) "
            "ON revision = newest WHERE value IS NOT NULL ORDER BY key"
        )
        return _write(path, rows, max(newest, meta["revision"]), "sqlite")


def _write(path: Path, objects: Iterable[tuple[str, bytes]], revision: int, source: str) -> Snapshot:
    if path.exists():
        raise FileExistsError(f"{path} exists already")
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    digest = hashlib.sha256()
    with closing(sqlite3.connect(temporary, isolation_level=None)) as conn:
        os.chmod(temporary, 0o600)
        conn.executescript(_TABLES)
        conn.execute("BEGIN")
        for key, value in sorted(objects):
            conn.execute("INSERT INTO object VALUES (?, ?)", (key, value))
            _add(digest, key, value)
        info = {
            "format": "1",
            "revision": revision,
            "made": time.time(),
            "source": source,
            "sha256": digest.hexdigest(),
        }
        conn.executemany("INSERT INTO info VALUES (?, ?)", [(name, str(value)) for name, value in info.items()])
        conn.execute("COMMIT")
    with open(temporary, "rb") as written:
        os.fsync(written.fileno())
    os.rename(temporary, path)
    return inspect(path)


def _add(digest: "hashlib._Hash", key: str, value: bytes) -> None:
    encoded = key.encode()
    digest.update(b"%d %d " % (len(encoded), len(value)))
    digest.update(encoded)
    digest.update(value)


def inspect(path: Path) -> Snapshot:
    """Read and check a whole snapshot. Raises BadSnapshot, FileNotFoundError."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    digest = hashlib.sha256()
    counts: dict[str, int] = {}
    total = 0
    try:
        with closing(_open(path)) as conn:
            info = dict(conn.execute("SELECT name, value FROM info"))
            for key, value in conn.execute("SELECT key, value FROM object ORDER BY key"):
                _add(digest, key, value)
                where = "/".join(key.split("/")[2:4])
                counts[where] = counts.get(where, 0) + 1
                total += 1
        if info["format"] != "1":
            raise BadSnapshot(f"{path}: snapshots of format {info['format']} are not known here")
        if digest.hexdigest() != info["sha256"]:
            raise BadSnapshot(f"{path} is damaged: its digest is not the one that was noted when it was made")
        return Snapshot(
            int(info["revision"]), float(info["made"]), info["source"], total, path.stat().st_size,
            info["sha256"], dict(sorted(counts.items())),
        )  # fmt: skip
    except (sqlite3.DatabaseError, KeyError, ValueError) as error:
        raise BadSnapshot(f"{path} is no snapshot: {error}") from error


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True, isolation_level=None)


def _objects(path: Path) -> Iterator[tuple[str, bytes]]:
    with closing(_open(path)) as conn:
        yield from conn.execute("SELECT key, value FROM object ORDER BY key")


def restore_sqlite(path: Path, database: Path) -> Path | None:
    """Make `database` an embedded store with the snapshot's objects; nobody may have it open (blocking).

    What was there is kept beside it; returns where. Raises BadSnapshot.
    """
    snapshot = inspect(path)
    highest = max(snapshot.revision, _revision_of(database))
    temporary = database.with_name(f"{database.name}.restoring")
    for suffix in ("", "-wal", "-shm"):
        Path(f"{temporary}{suffix}").unlink(missing_ok=True)
    with closing(sqlite3.connect(temporary, isolation_level=None)) as conn:
        conn.execute("PRAGMA auto_vacuum=INCREMENTAL")
        conn.executescript(SCHEMA)
        conn.execute("BEGIN")
        revision = highest
        for key, value in _objects(path):
            revision += 1
            conn.execute("INSERT INTO kv VALUES (?, ?, ?, ?)", (revision, key, revision, value))
        conn.execute("UPDATE meta SET value = ? WHERE name IN ('revision', 'compacted')", (revision,))
        conn.execute("COMMIT")
    with open(temporary, "rb") as written:
        os.fsync(written.fileno())
    kept = None
    if database.exists():
        kept = database.with_name(f"{database.name}.before-{time.strftime('%Y%m%d-%H%M%S')}")
        with closing(sqlite3.connect(database)) as old:
            old.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        os.rename(database, kept)
        for suffix in ("-wal", "-shm"):
            Path(f"{database}{suffix}").unlink(missing_ok=True)
    os.rename(temporary, database)
    return kept


def _revision_of(database: Path) -> int:
    if not database.exists():
        return 0
    try:
        with closing(sqlite3.connect(database)) as conn:
            meta = dict(conn.execute("SELECT name, value FROM meta"))
            newest = conn.execute("SELECT MAX(revision) FROM kv").fetchone()[0] or 0
            return int(max(newest, meta["revision"]))
    except sqlite3.DatabaseError:
        # A damaged store is why snapshots are restored; the snapshot's own revision must do.
        return 0


async def restore_into(path: Path, store: Store) -> None:
    """Replace everything in an open store (an etcd's revisions go up by themselves). Raises BadSnapshot.

    Not atomic: when it is interrupted, run it again. No API server may be running on the store.
    """
    inspect(path)
    wanted = dict(_objects(path))
    start = ""
    while True:
        page = await store.range(PREFIX, start=start, limit=PAGE)
        for item in page.items:
            if item.key not in wanted:
                await store.delete(item.key)
        if not page.more:
            break
        start = page.items[-1].key + "\0"
    for key, value in wanted.items():
        await store.put(key, value)
    await store.compact(await store.newest())
