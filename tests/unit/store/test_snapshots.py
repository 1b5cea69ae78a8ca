from pathlib import Path

import pytest

from wherry.store import choice, snapshots
from wherry.store.api import Compacted
from wherry.store.choice import StoreChoice
from wherry.store.sqlite import SqliteStore


async def filled(path: Path) -> SqliteStore:
    store = await SqliteStore.open(path)
    for number in range(5):
        await store.put(f"/registry/core/configmaps/default/c{number}", b"%d" % number)
    await store.put("/registry/core/configmaps/default/c0", b"changed")
    await store.delete("/registry/core/configmaps/default/c4")
    return store


async def test_a_snapshot_of_a_running_store_comes_back_with_higher_revisions(tmp_path: Path) -> None:
    store = await filled(tmp_path / "a.db")
    made = snapshots.save_sqlite(tmp_path / "a.db", tmp_path / "snap")
    assert (made.objects, made.revision) == (4, store.revision)
    assert made.counts == {"core/configmaps": 4}
    await store.put("/registry/core/configmaps/default/later", b"x")
    later = store.revision
    await store.close()
    kept = snapshots.restore_sqlite(tmp_path / "snap", tmp_path / "a.db")
    assert kept is not None
    assert kept.exists()
    again = await SqliteStore.open(tmp_path / "a.db")
    found = await again.range("/registry/")
    assert {item.key[-2:]: item.value for item in found.items} == {"c0": b"changed", "c1": b"1", "c2": b"2", "c3": b"3"}
    assert min(item.mod_revision for item in found.items) > later
    with pytest.raises(Compacted):
        await again.range("/registry/", revision=later)
    assert await again.put("/registry/x", b"") > max(item.mod_revision for item in found.items)
    await again.close()


async def test_a_snapshot_moves_between_stores(tmp_path: Path) -> None:
    store = await filled(tmp_path / "a.db")
    await snapshots.save(store, tmp_path / "snap")
    await store.close()
    other = await SqliteStore.open(tmp_path / "b.db")
    await other.put("/registry/core/configmaps/default/foreign", b"x")
    await snapshots.restore_into(tmp_path / "snap", other)
    assert [item.key[-2:] for item in (await other.range("/registry/")).items] == ["c0", "c1", "c2", "c3"]
    await other.close()


async def test_damage_is_noticed(tmp_path: Path) -> None:
    store = await filled(tmp_path / "a.db")
    await store.close()
    snapshots.save_sqlite(tmp_path / "a.db", tmp_path / "snap")
    with pytest.raises(FileExistsError):
        snapshots.save_sqlite(tmp_path / "a.db", tmp_path / "snap")
    data = bytearray((tmp_path / "snap").read_bytes())
    data[data.index(b"changed")] ^= 1
    (tmp_path / "snap").write_bytes(data)
    with pytest.raises(snapshots.BadSnapshot):
        snapshots.restore_sqlite(tmp_path / "snap", tmp_path / "b.db")
    assert not (tmp_path / "b.db").exists()
    (tmp_path / "text").write_text("hello")
    with pytest.raises(snapshots.BadSnapshot):
        snapshots.inspect(tmp_path / "text")


def test_the_store_is_chosen_once(tmp_path: Path) -> None:
    assert choice.load(tmp_path) == StoreChoice()
    etcd = StoreChoice(("https://127.0.0.1:2379",), "ca")
    choice.choose(tmp_path, etcd)
    assert choice.load(tmp_path) == etcd
    other = tmp_path / "other"
    other.mkdir()
    (other / choice.SQLITE_FILE).touch()
    with pytest.raises(choice.WrongChoice):
        choice.choose(other, etcd)
