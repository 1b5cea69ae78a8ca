"""Kill -9 during pull, load, build, push and prune: the next start is clean, and doing it again works."""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from holder import Holder
from registries import PROGRAM, Fault, Registry, proxy, registry
from stand_ins import base
from test_registries import image_of, largest_blob

from wherry.build.recovery import SNAPSHOT_PREFIX, open_cache
from wherry.engine.engine import Engine
from wherry.host import leftovers, mounts
from wherry.host.instance import Instance
from wherry.testing.instances import TestInstances

pytestmark = [
    pytest.mark.root,
    pytest.mark.timeout(300),
    pytest.mark.skipif(PROGRAM is None, reason="needs Debian's docker-registry"),
]
ROUNDS = 6


@pytest.fixture
def instance(wherry_instances: TestInstances) -> Iterator[Instance]:
    made = wherry_instances.make()
    yield made
    leftovers.purge(made)
    wherry_instances.made.remove(made)
    wherry_instances.discard(made)


async def kill_within(instance: Instance, script: str, seconds: float, *, until: str = "ready") -> None:
    """Run `script` in an engine of its own process and kill that at a random moment (or after `done`)."""
    archive = await asyncio.to_thread(base, "busybox")
    holder = Holder(instance, archive, script)
    await asyncio.to_thread(holder.wait_for, until)
    await asyncio.sleep(random.uniform(0, seconds))
    await asyncio.to_thread(holder.kill)


@asynccontextmanager
async def opened(instance: Instance) -> AsyncIterator[Engine]:
    """The next engine, having looked that nothing half-made is there."""
    engine = await Engine.open(instance)
    try:
        await open_cache(engine)
        images = engine.images
        directories = {path.name for path in images.layers.directory.iterdir()} - {"empty"}
        rows = await engine.database.run(
            lambda connection: connection.execute("SELECT name FROM image_layers").fetchall()
        )
        assert directories == {row[0] for row in rows}
        for image in images.catalog.all():
            for chain in images.layers.stack(image.chain_id):
                await asyncio.to_thread(lambda layer=chain.layer: sum(map(len, images.layers.tar_stream(layer))))
        keys = images.snapshots.keys()
        assert not [key for key in keys if key.startswith((SNAPSHOT_PREFIX, "tmp-"))]
        assert not mounts.mounts_under(instance.run / "build")
        assert not [pid for pid in _processes_of(instance) if pid != os.getpid()]
        yield engine
    finally:
        await engine.close()


def _processes_of(instance: Instance) -> list[int]:
    """Whose root file system or working directory lies in the instance."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                places = [os.readlink(entry / "root"), os.readlink(entry / "cwd")]
            except OSError:
                continue
            if any(place.startswith(str(instance.run)) for place in places):
                found.append(int(entry.name))
    return found


async def pushed(instance: Instance, to: Registry, sizes: list[int]) -> str:
    """Push an image as big:1; its id. The instance has nothing of it afterwards."""
    engine = await Engine.open(instance)
    try:
        name = f"{to.address}/big:1"
        image_id = await image_of(engine.images, name, sizes)
        await engine.images.push(name)
        await engine.images.remove(image_id, force=True)
        await engine.images.collect()
    finally:
        await engine.close()
    return image_id


async def test_a_killed_pull_resumes(instance: Instance, tmp_path: Path) -> None:
    async with registry(tmp_path / "registry") as plain, proxy(plain) as front:
        wanted = await pushed(instance, plain, [1 << 16, 8 << 20])
        big = largest_blob(plain)
        front.faults = [Fault(big, cut=4 << 20, times=1), Fault(big, status=503)]
        holder = Holder(instance, await asyncio.to_thread(base, "busybox"),
                        f"await engine.images.pull('{front.address}/big:1')")  # fmt: skip
        async with front.changed:
            await front.changed.wait_for(lambda: sum(big in path for _, path, _ in front.requests) == 2)
        await asyncio.to_thread(holder.kill)
        front.faults, front.requests = [], []
        async with opened(instance) as engine:
            assert engine.images.find(f"{front.address}/big:1") is None
            image = await engine.images.pull(f"{front.address}/big:1")
            assert image.id == wanted
            (part,) = [part for _, path, part in front.requests if big in path]
            # What was under way to the disk when the process died is asked for again.
            assert 1 << 20 < int(part.removeprefix("bytes=").rstrip("-")) <= 4 << 20
            assert not any(path.endswith(f"{digest}") for _, path, _ in front.requests for digest in _small(plain, big))


def _small(plain: Registry, big: str) -> list[str]:
    """Layers that the first attempt had already: blobs of more than a manifest's size, but the big one."""
    return [
        path.parent.name
        for path in plain.storage.rglob("data")
        if path.stat().st_size > 1 << 14 and path.parent.name != big
    ]


async def test_pull_at_any_moment(instance: Instance, tmp_path: Path) -> None:
    async with registry(tmp_path / "registry") as plain:
        wanted = await pushed(instance, plain, [1 << 20, 6 << 20, 1 << 18, 2 << 20])
        name = f"{plain.address}/big:1"
        for _ in range(ROUNDS):
            await kill_within(instance, f"await engine.images.pull('{name}')", 0.3)
            async with opened(instance) as engine:
                found = engine.images.find(name)
                assert found is None or found.id == wanted
        async with opened(instance) as engine:
            assert (await engine.images.pull(name)).id == wanted


async def test_load_at_any_moment(instance: Instance, tmp_path: Path) -> None:
    archive = tmp_path / "big.tar"
    engine = await Engine.open(instance)
    wanted = await image_of(engine.images, "big:1", [4 << 20] * 4)
    with open(archive, "wb") as file:  # noqa: ASYNC230 - nothing else waits
        async for chunk in engine.images.save(["big:1"]):
            file.write(chunk)
    await engine.images.remove(wanted, force=True)
    await engine.images.collect()
    await engine.close()
    script = f"await engine.images.load(__import__('pathlib').Path('{archive}'))"
    for _ in range(ROUNDS):
        await kill_within(instance, script, 0.3)
        async with opened(instance) as engine:
            found = engine.images.find("big:1")
            assert found is None or found.id == wanted
    async with opened(instance) as engine:
        assert [image.id for image in await engine.images.load(archive)] == [wanted]
        assert engine.images.resolve("big:1").id == wanted


async def test_build_at_any_moment(instance: Instance, tmp_path: Path) -> None:
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(
        "FROM busybox\nCOPY data /data\nRUN --mount=type=cache,target=/c dd if=/dev/urandom of=/r bs=1M count=8; "
        "sleep 0.2\nCOPY data /again\nRUN cp /data /copy && sleep 0.2\nENV A=1\n"
    )
    (context / "data").write_bytes(os.urandom(4 << 20))
    script = f"""
from pathlib import Path
from wherry.build.builder import build
from wherry.build.options import BuildOptions
await build(engine, BuildOptions(tags=["made"]), Path('{context}'), lambda message: None)
"""
    for _ in range(ROUNDS):
        await kill_within(instance, script, 1.5)
        async with opened(instance) as engine:
            assert len(engine.images.list()) in (1, 2)
    await kill_within(instance, script, 0, until="done")
    async with opened(instance) as engine:
        assert engine.images.resolve("made").container_config["Env"][-1] == "A=1"


async def test_push_at_any_moment(instance: Instance, tmp_path: Path) -> None:
    async with registry(tmp_path / "registry") as plain:
        name = f"{plain.address}/big:1"
        engine = await Engine.open(instance)
        wanted = await image_of(engine.images, name, [3 << 20] * 4)
        await engine.close()
        for _ in range(ROUNDS):
            await kill_within(instance, f"await engine.images.push('{name}')", 0.4)
            async with opened(instance) as engine:
                assert engine.images.resolve(name).id == wanted
        async with opened(instance) as engine:
            await engine.images.push(name)
            await engine.images.remove(wanted, force=True)
            await engine.images.collect()
            assert (await engine.images.pull(name)).id == wanted


async def test_prune_at_any_moment(instance: Instance) -> None:
    for _ in range(ROUNDS):
        engine = await Engine.open(instance)
        await image_of(engine.images, "kept:1", [1 << 16])
        for number in range(12):
            await image_of(engine.images, f"gone:{number}", [1 << 16, 1000 + number])
        await engine.close()
        await kill_within(instance, "await engine.images.prune({'dangling': ['false']})", 0.1)
        async with opened(instance):
            pass
    async with opened(instance) as engine:
        await engine.images.prune({"dangling": ["false"]})
        assert not engine.images.list()
        assert engine.images.disk_usage() == 0
