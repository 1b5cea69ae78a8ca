"""Kill -9 of the process that holds the engine, at any moment: containers run on, and the next engine takes over."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from holder import Holder
from waiting import wait_until

from wherry.engine.engine import Engine
from wherry.engine.errors import EngineError
from wherry.host import leftovers, mounts, processes
from wherry.host.instance import Instance
from wherry.testing.instances import TestInstances

pytestmark = pytest.mark.root


@pytest_asyncio.fixture
async def instance(wherry_instances: TestInstances) -> AsyncIterator[Instance]:
    made = wherry_instances.make()
    yield made
    engine = await Engine.open(made)
    for container in await engine.containers.list(all=True):
        await engine.containers.remove(container["Id"], force=True, volumes=True)
    await engine.close()
    leftovers.purge(made)
    wherry_instances.made.remove(made)
    wherry_instances.discard(made)


def body(*command: str, **host: Any) -> str:
    given = {"Image": "busybox", "Cmd": list(command), "HostConfig": {"NetworkMode": "none", **host}}
    return repr(given)


async def test_what_ran_goes_on_and_what_ended_meanwhile_has_its_exit_code(
    instance: Instance, busybox_archive: Path, tmp_path: Path
) -> None:
    fifo = tmp_path / "go"
    os.mkfifo(fifo)
    script = f"""
for name, command in (
    ("runs", ["sh", "-c", "echo before; while [ ! -e /go/on ]; do sleep 0.05; done; echo after; exit 6"]),
    ("ends", ["sh", "-c", "cat /go/go; exit 5"]),
):
    await containers.create(name, {{"Image": "busybox", "Cmd": command,
        "HostConfig": {{"NetworkMode": "none", "Binds": ["{tmp_path}:/go"]}}}})
    await containers.start(name)
await containers.create("restarts", {
        body("sh", "-c", "cat /go/again; exit 1", RestartPolicy={"Name": "always"}, Binds=[f"{tmp_path}:/go"])
    })
await containers.create("passing", {body("sh", "-c", "exit 0", AutoRemove=True)})
await containers.create("never", {body("true")})
"""
    holder = Holder(instance, busybox_archive, script)
    holder.wait_for("done")
    holder.kill()
    # One container ends while nobody looks.
    fifo.write_text("go\n")
    wait_until(lambda: any((instance.run / "exits").iterdir()), "the container ends")
    engine = await Engine.open(instance)
    try:
        ended = (await engine.containers.inspect("ends"))["State"]
        assert (ended["Status"], ended["ExitCode"]) == ("exited", 5)
        runs = (await engine.containers.inspect("runs"))["State"]
        assert runs["Status"] == "running"
        assert processes.is_alive(runs["Pid"])
        assert (await engine.containers.inspect("never"))["State"]["Status"] == "created"
        exec_id = await engine.execs.create("runs", {"Cmd": ["echo", "hi"], "AttachStdout": True})
        attachment = await engine.execs.start(exec_id)
        assert attachment is not None
        assert [data async for _, data in attachment] == [b"hi\n"]
        waiting = await engine.containers.wait_started("runs")
        following = engine.containers.logs("runs", follow=True)
        assert await anext(following) == (1, b"before\n")
        (tmp_path / "on").touch()
        assert [data async for _, data in following] == [b"after\n"]
        assert (await waiting)[0] == 6
        assert mounts.mounts_under(instance.run / "containers") == []
    finally:
        await engine.close()


async def test_a_restart_policy_holds_across_the_kill(instance: Instance, busybox_archive: Path) -> None:
    script = f"""
await containers.create("always", {body("sleep", "60", RestartPolicy={"Name": "always"})})
await containers.start("always")
await containers.create("stopped", {body("sleep", "60", RestartPolicy={"Name": "unless-stopped"})})
await containers.start("stopped")
await containers.stop("stopped", timeout=0)
"""
    holder = Holder(instance, busybox_archive, script)
    holder.wait_for("done")
    holder.kill()
    engine = await Engine.open(instance)
    try:
        pid = (await engine.containers.inspect("always"))["State"]["Pid"]
    finally:
        await engine.close()
    os.kill(pid, signal.SIGKILL)
    await processes.wait_pid(pid)
    engine = await Engine.open(instance)
    try:
        with engine.events.subscribe() as events:
            async with asyncio.timeout(20):
                while not (state := (await engine.containers.inspect("always"))["State"])["Pid"]:
                    await anext(events)
        assert (state["Status"], state["Pid"] != pid) == ("running", True)
        assert (await engine.containers.inspect("stopped"))["State"]["Status"] == "exited"
    finally:
        await engine.close()


async def test_killed_at_random_moments_it_loses_and_leaks_nothing(instance: Instance, busybox_archive: Path) -> None:
    chance = random.Random(7)
    script = f"""
for number in range(1000):
    created = await containers.create(None, {body("sh", "-c", "exit 3")})
    await containers.start(created["Id"])
    if number % 4:
        await containers.wait(created["Id"])
        await containers.remove(created["Id"])
"""
    for _ in range(8):
        holder = Holder(instance, busybox_archive, script)
        holder.wait_for("ready")
        await asyncio.sleep(chance.uniform(0.05, 0.6))
        holder.kill()
        engine = await Engine.open(instance)
        try:
            known = set()
            for shown in await engine.containers.list(all=True):
                known.add(shown["Id"])
                async with asyncio.timeout(20):
                    await engine.containers.wait(shown["Id"])
                state = (await engine.containers.inspect(shown["Id"]))["State"]
                assert state["Status"] in ("exited", "created"), state
                assert state["ExitCode"] == (3 if state["Status"] == "exited" else 0), state
            assert mounts.mounts_under(instance.run / "containers") == []
            assert {path.name for path in (instance.root / "containers").iterdir()} == known
            assert set(engine.images.snapshots.keys()) == known
            assert list((instance.run / "containers").iterdir()) == []
            for root in engine.layout.roots():
                base = root / instance.cgroup
                assert not base.exists() or [path for path in base.iterdir() if path.is_dir()] == []
            for container in known:
                try:
                    await engine.containers.remove(container, force=True)
                except EngineError as error:
                    raise AssertionError(f"{container}: {error}") from error
        finally:
            await engine.close()
