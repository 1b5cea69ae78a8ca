"""Volumes without mounts: names, options, use, pruning, what survives a restart."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from wherry.engine.errors import Conflict, InvalidParameter, NotFound
from wherry.engine.events import Events
from wherry.engine.filters import Filters
from wherry.engine.volumes import ANONYMOUS_LABEL, Volumes
from wherry.host.database import Database
from wherry.host.instance import Instance, open_instance


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    (tmp_path / "root").mkdir()
    return open_instance(tmp_path / "root", tmp_path / "run")


@pytest.fixture
async def database(instance: Instance) -> AsyncIterator[Database]:
    database = Database(instance.database)
    yield database
    database.close()


@pytest.fixture
async def volumes(instance: Instance, database: Database) -> Volumes:
    return await Volumes.open(instance, database, Events())


async def test_create_inspect_list_remove(volumes: Volumes) -> None:
    created = await volumes.create({"Name": "data", "Labels": {"a": "b"}})
    assert created["Mountpoint"].endswith("/volumes/data/_data")
    assert Path(created["Mountpoint"]).is_dir()
    assert (created["Driver"], created["Scope"], created["Options"]) == ("local", "local", None)
    assert volumes.inspect("data") == created
    assert volumes.list(Filters(label=["a=b"])) == {"Volumes": [created], "Warnings": None}
    assert volumes.list(Filters(label=["a=c"]))["Volumes"] == []
    assert await volumes.create({"Name": "data"}) == created
    await volumes.remove("data")
    assert not Path(created["Mountpoint"]).exists()
    with pytest.raises(NotFound, match=r"^get data: no such volume$"):
        volumes.inspect("data")
    with pytest.raises(NotFound):
        await volumes.remove("data")
    await volumes.remove("data", force=True)


async def test_they_survive_a_restart_with_their_data(instance: Instance, database: Database, volumes: Volumes) -> None:
    created = await volumes.create({"Name": "data", "Labels": {"a": "b"}})
    (Path(created["Mountpoint"]) / "file").write_text("x")
    gone = await volumes.create({"Name": "gone"})
    # A removal that was cut short: renamed, but still in the database.
    half = Path(gone["Mountpoint"]).parent
    half.rename(half.with_name(".removing-1"))
    again = await Volumes.open(instance, database, Events())
    assert again.inspect("data") == created
    assert [volume["Name"] for volume in again.list()["Volumes"]] == ["data"]
    assert not half.with_name(".removing-1").exists()


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        ({"Name": "a/b"}, InvalidParameter, 'create a/b: "a/b" includes invalid characters'),
        ({"Name": "../x"}, InvalidParameter, "includes invalid characters"),
        ({"Name": "x"}, InvalidParameter, "volume name is too short"),
        ({"Name": "ab\n"}, InvalidParameter, "includes invalid characters"),
        ({"Name": "data", "Driver": "rexray"}, NotFound, 'plugin "rexray" not found'),
        ({"Name": "data", "DriverOpts": {"colour": "red"}}, InvalidParameter, 'invalid option: "colour"'),
        ({"Name": "data", "DriverOpts": {"type": "tmpfs"}}, InvalidParameter, 'missing required option: "device"'),
        ({"Name": "data", "DriverOpts": {"size": "1g"}}, InvalidParameter, "no quota support"),
    ],
)
async def test_bad_requests_leave_nothing(
    volumes: Volumes, body: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        await volumes.create(body)
    assert volumes.list()["Volumes"] == []
    assert list(volumes.root.iterdir()) == []


async def test_a_volume_in_use_cannot_be_removed(volumes: Volumes) -> None:
    await volumes.acquire("data", "c1")
    with pytest.raises(Conflict, match=r"^remove data: volume is in use - \[c1\]$"):
        await volumes.remove("data", force=True)
    assert volumes.list(Filters(dangling=["true"]))["Volumes"] == []
    volumes.release("data", "c1")
    await volumes.remove("data")


async def test_prune_takes_unused_anonymous_volumes(volumes: Volumes) -> None:
    named = await volumes.create({"Name": "data"})
    anonymous = await volumes.create({})
    used = await volumes.acquire(None, "c1")
    assert anonymous["Labels"] == {ANONYMOUS_LABEL: ""}
    (Path(anonymous["Mountpoint"]) / "file").write_bytes(b"12345")
    assert await volumes.prune() == {"VolumesDeleted": [anonymous["Name"]], "SpaceReclaimed": 5}
    assert await volumes.prune(Filters(all=["true"])) == {"VolumesDeleted": [named["Name"]], "SpaceReclaimed": 0}
    assert [volume["Name"] for volume in volumes.list()["Volumes"]] == [used["Name"]]


async def test_an_empty_volume_gets_the_images_content_once(volumes: Volumes, tmp_path: Path) -> None:
    source = tmp_path / "image"
    source.mkdir(mode=0o750)
    (source / "etc").mkdir()
    (source / "etc" / "conf").write_text("from the image")
    (source / "link").symlink_to("etc/conf")
    data = await volumes.mount((await volumes.acquire("data", "c1"))["Name"], "c1")
    assert await volumes.initialise("data", source)
    assert (data / "link").read_text() == "from the image"
    assert data.stat().st_mode & 0o777 == 0o750
    (data / "etc" / "conf").write_text("mine")
    assert not await volumes.initialise("data", source)
    assert (data / "etc" / "conf").read_text() == "mine"


async def test_usage_counts_bytes_and_users(volumes: Volumes) -> None:
    created = await volumes.acquire("data", "c1")
    (Path(created["Mountpoint"]) / "file").write_bytes(b"123")
    (Path(created["Mountpoint"]) / "same").hardlink_to(Path(created["Mountpoint"]) / "file")
    assert [volume["UsageData"] for volume in await volumes.usage()] == [{"Size": 3, "RefCount": 1}]
