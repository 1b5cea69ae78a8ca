import sqlite3
from pathlib import Path

import pytest

from wherry.host.database import Database, DatabaseClosed


async def test_a_write_is_seen_by_reads_and_by_the_next_process(tmp_path: Path) -> None:
    database = Database(tmp_path / "x.db")
    await database.ensure(
        "CREATE TABLE IF NOT EXISTS t (k TEXT PRIMARY KEY, v TEXT); CREATE INDEX IF NOT EXISTS i ON t (v)"
    )
    await database.run(lambda connection: connection.execute("INSERT INTO t VALUES ('a', 'b')"), durable=True)
    rows = await database.read(lambda connection: connection.execute("SELECT * FROM t").fetchall())
    assert rows == [("a", "b")]
    database.close()
    again = Database(tmp_path / "x.db")
    assert await again.run(lambda connection: connection.execute("SELECT count(*) FROM t").fetchone()) == (1,)
    again.close()


async def test_an_error_rolls_the_whole_transaction_back(tmp_path: Path) -> None:
    database = Database(tmp_path / "x.db")
    await database.ensure("CREATE TABLE t (k TEXT PRIMARY KEY)")

    def twice(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO t VALUES ('a')")
        connection.execute("INSERT INTO t VALUES ('a')")

    with pytest.raises(sqlite3.IntegrityError):
        await database.run(twice)
    assert await database.run(lambda connection: connection.execute("SELECT * FROM t").fetchall()) == []
    with pytest.raises(sqlite3.OperationalError):
        await database.read(lambda connection: connection.execute("INSERT INTO t VALUES ('a')"))
    database.close()
    with pytest.raises(DatabaseClosed):
        await database.run(lambda connection: None)
