"""What only the SQLite store has: crashes, a full disk, one process at a time."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from wherry.store.api import Corrupt, NoSpace, Unavailable
from wherry.store.sqlite import SqliteStore

WRITER = """
import asyncio, sys
from pathlib import Path
from wherry.store.sqlite import SqliteStore
async def main():
    store = await SqliteStore.open(Path(sys.argv[1]))
    async def write(worker):
        count = 0
        while True:
            count += 1
            revision = await store.put(f"/registry/w{worker}/{count}", b"%d" % count)
            sys.stdout.write(f"{worker} {count} {revision}\\n")
            sys.stdout.flush()
    await asyncio.gather(*(write(worker) for worker in range(8)))
asyncio.run(main())
"""


async def test_every_answered_write_survives_kill(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    highest = 0
    for lines in (50, 400):
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", WRITER, str(path), stdout=subprocess.PIPE)
        assert process.stdout is not None
        answered = []
        for _ in range(lines):
            answered.append((await process.stdout.readline()).split())
        process.kill()
        await process.wait()
        store = await SqliteStore.open(path)
        for worker, count, revision in answered:
            found = await store.get(f"/registry/w{int(worker)}/{int(count)}")
            assert found is not None and found.value == count
            highest = max(highest, int(revision))
        assert store.revision >= highest
        await store.close()


async def test_a_full_disk_refuses_writes_and_heals(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "store.db")
    first = await store.put("/a", b"1")
    pages = store._writer.execute("PRAGMA page_count").fetchone()[0]
    store._writer.execute(f"PRAGMA max_page_count = {pages}")
    results = await asyncio.gather(
        *(store.put(f"/big/{index}", b"x" * 100_000) for index in range(5)), return_exceptions=True
    )
    assert all(isinstance(one, NoSpace) for one in results)
    assert store.revision == first
    found = await store.get("/a")
    assert found is not None and found.value == b"1"
    store._writer.execute("PRAGMA max_page_count = 1000000")
    assert await store.put("/big/0", b"x" * 100_000, expected=0) == first + 1
    assert await store.put("/a", b"2", expected=first) == first + 2
    await store.close()


async def test_two_processes_may_not_share_a_file(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "store.db")
    with pytest.raises(Unavailable, match="in use by another process"):
        await SqliteStore.open(tmp_path / "store.db")
    await store.close()
    await (await SqliteStore.open(tmp_path / "store.db")).close()


async def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = await SqliteStore.open(path)
    await asyncio.gather(*(store.put(f"/k{index}", b"x" * 1000) for index in range(200)))
    await store.close()
    data = bytearray(path.read_bytes())
    data[8192:40960] = b"\xff" * (40960 - 8192)
    path.write_bytes(data)
    with pytest.raises(Corrupt, match="restore a snapshot"):
        store = await SqliteStore.open(path)


async def test_old_history_is_compacted_by_itself(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "store.db", retain_seconds=0)
    for _ in range(3):
        await store.put("/a", b"x")
    store._marks[0] = (store._marks[0][0] - 1000, store._marks[0][1])
    await store.put("/a", b"y")
    await store.put("/a", b"z")
    async with asyncio.timeout(5):
        while store.compacted == 0:
            await store.put("/b", b"")
    await store.close()
