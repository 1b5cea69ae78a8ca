"""Kill -9 in the middle of everything that changes state: afterwards the engine's word and the kernel's agree.

A holder does random work on containers, networks and volumes and tells what it begins and what it has done. It is
killed at random moments. What it said was done must be so; what was under way may be done or not, but nothing between.
"""

import asyncio
import contextlib
import json
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from holder import Holder
from nothing_left import assert_nothing_left
from waiting import wait_until

from wherry.engine.engine import Engine
from wherry.host import leftovers, processes
from wherry.host.instance import Instance
from wherry.testing.instances import TestInstances

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

OPERATIONS = int(os.environ.get("WHERRY_CRASH_OPERATIONS", "200"))

_WORK = """
import json, random
chance = random.Random(SEED)
networks, volumes = engine.networks, engine.volumes

def say(**what):
    print(json.dumps(what), flush=True)

def container_names():
    return [container.name for container in containers.all()]

async def create(name):
    host = {"NetworkMode": chance.choice(["none", "bridge", *nets()]), "Binds": [f"{volume}:/v" for volume in vols()]}
    if host["NetworkMode"] != "none" and chance.random() < 0.5:
        host["PortBindings"] = {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}
    await containers.create(name, {"Image": "busybox", "Cmd": ["sleep", "100000"], "HostConfig": host,
                                   "StopSignal": "KILL", "Volumes": {"/anonymous": {}}})

def nets():
    return [network["Name"] for network in networks.list() if network["Name"] not in ("none", "host", "bridge")]

def vols():
    return [volume["Name"] for volume in volumes.list()["Volumes"] if volume["Name"].startswith("vol")]

async def one():
    names = container_names()
    made = f"{chance.randrange(10 ** 9):09d}"
    ops = [("create", f"con{made}", lambda name: create(name))] * 3
    if len(names) > 6:
        ops = []
    for name in names:
        running = containers.get(name).state.running
        if running:
            ops += [("stop", name, lambda name: containers.stop(name)), ("restart", name, containers.restart)]
            ops += [("connect", name + "/" + net, connect) for net in nets()]
        else:
            ops += [("start", name, containers.start)] * 3
        ops.append(("remove", name, lambda name: containers.remove(name, force=True, volumes=True)))
    if len(nets()) < 3:
        ops.append(("network", f"net{made}", lambda name: networks.create({"Name": name})))
    if len(vols()) < 3:
        ops.append(("volume", f"vol{made}", lambda name: volumes.create({"Name": name})))
    ops += [("unnetwork", name, networks.remove) for name in nets()]
    ops += [("unvolume", name, volumes.remove) for name in vols()]
    verb, subject, act = chance.choice(ops)
    say(begin=verb, subject=subject)
    try:
        await act(subject)
    except Exception as error:
        # Removing what is in use, connecting twice: refused, nothing done.
        assert getattr(error, "status", 500) < 500, error
        say(refused=verb, subject=subject)
    else:
        say(done=verb, subject=subject)

async def connect(pair):
    name, _, net = pair.partition("/")
    await networks.connect(net, name, {})

while True:
    await one()
"""


class Model:
    """What must be so: container → running, and the names of networks and volumes. None: one cannot know."""

    def __init__(self) -> None:
        self.containers: dict[str, bool | None] = {}
        self.networks: set[str] = set()
        self.volumes: set[str] = set()
        self.under_way: tuple[str, str] | None = None
        self.done = 0

    def hear(self, line: str) -> None:
        said = json.loads(line)
        if "begin" in said:
            self.under_way = (said["begin"], said["subject"])
            return
        self.under_way = None
        if "done" not in said:
            return
        self.done += 1
        verb, subject = said["done"], said["subject"]
        if verb in ("create", "stop", "start", "restart"):
            self.containers[subject] = verb in ("start", "restart")
        elif verb == "remove":
            del self.containers[subject]
        elif verb == "network":
            self.networks.add(subject)
        elif verb == "volume":
            self.volumes.add(subject)
        elif verb == "unnetwork":
            self.networks.discard(subject)
        elif verb == "unvolume":
            self.volumes.discard(subject)

    def check(self, engine: Engine) -> None:
        """Compare with an engine that has just opened; what was under way is taken as it is found."""
        verb, subject = self.under_way or ("", "")
        found = {container.name: container.state.running for container in engine.containers.all()}
        networks = {network["Name"] for network in engine.networks.list()} - {"none", "host", "bridge"}
        volumes = {volume["Name"] for volume in engine.volumes.list()["Volumes"]}
        named = {name for name in volumes if name.startswith("vol")}
        for name in found.keys() | self.containers.keys():
            if name != subject:
                assert found.get(name) == self.containers.get(name), (name, self.under_way, found, self.containers)
        if verb in ("stop", "start", "restart"):
            assert subject in found, f"{subject} was lost while it was told to {verb}"
        assert networks ^ self.networks <= {subject}, (networks, self.networks, self.under_way)
        assert named ^ self.volumes <= {subject}, (named, self.volumes, self.under_way)
        self.containers, self.networks, self.volumes = dict(found), networks, named
        self.under_way = None


@pytest_asyncio.fixture
async def instance(wherry_instances: TestInstances) -> AsyncIterator[Instance]:
    made = wherry_instances.make()
    yield made
    leftovers.purge(made)
    wherry_instances.made.remove(made)
    wherry_instances.discard(made)


async def compare_with_the_kernel(engine: Engine) -> None:
    records = [container.record for container in engine.containers.all()]
    running = [record for record in records if record.state.running]
    for record in running:
        assert processes.is_alive(record.state.pid), record.name
    ids = {record.id for record in records}
    run, root = engine.instance.run, engine.instance.root
    assert {path.name for path in (root / "containers").iterdir()} == ids
    assert {key for key in engine.images.snapshots.keys() if len(key) >= 64} == ids  # noqa: SIM118  no mapping
    assert {path.name for path in (run / "containers").iterdir()} == {record.id for record in running}
    for base in (base / engine.instance.cgroup for base in engine.layout.roots()):
        groups = {path.name for path in base.iterdir() if len(path.name) == 64} if base.exists() else set()
        assert groups <= {record.id for record in running}
    assert sorted(_alive(engine)) == sorted(record.state.pid for record in running)
    # One end of a pair for each endpoint of what runs, one bridge for each network, and no more.
    endpoints = 0
    for record in running:
        settings = (await engine.containers.inspect(record.id))["NetworkSettings"]["Networks"]
        endpoints += sum(1 for name in settings if name != "none")
    bridges = sum(1 for network in engine.networks.list() if network["Driver"] == "bridge")
    await links_are(engine.instance, endpoints + bridges)
    volumes = {volume["Name"] for volume in engine.volumes.list()["Volumes"]}
    used = {point["Name"] for record in records for point in record.mounts if point["Type"] == "volume"}
    assert used <= volumes
    assert {name for name in volumes if not name.startswith("vol")} <= used, "an anonymous volume was left"


async def links_are(instance: Instance, number: int) -> None:
    """The kernel takes the ends of a namespace that has gone away in its own time."""

    def probe() -> bool:
        return len(leftovers.find(instance).links) == number

    await asyncio.to_thread(wait_until, probe, f"{number} interfaces", 10)


def _alive(engine: Engine) -> list[int]:
    found: set[int] = set()
    for root in engine.layout.roots():
        for directory in (root / engine.instance.cgroup).glob("*"):
            if len(directory.name) == 64:
                with contextlib.suppress(FileNotFoundError):
                    found.update(int(pid) for pid in (directory / "cgroup.procs").read_text().split())
    return list(found)


async def test_killed_in_the_middle_of_everything(instance: Instance, busybox_archive: Path) -> None:
    chance, model = random.Random(int(os.environ.get("WHERRY_CRASH_SEED", "11"))), Model()
    kills = 0
    while model.done < OPERATIONS:
        holder = Holder(instance, busybox_archive, _WORK.replace("SEED", repr(f"{chance.random()}")))
        holder.wait_for("ready")
        await asyncio.sleep(chance.uniform(0.05, 1.0))
        for line in holder.kill():
            model.hear(line)
        kills += 1
        engine = await Engine.open(instance)
        try:
            model.check(engine)
            await compare_with_the_kernel(engine)
            await use(engine)
        finally:
            await engine.close()
    engine = await Engine.open(instance)
    try:
        for container in engine.containers.all():
            await engine.containers.remove(container.id, force=True, volumes=True)
        for network in model.networks:
            await engine.networks.remove(network)
        for volume in model.volumes:
            await engine.volumes.remove(volume)
        await links_are(instance, 1)
        assert_nothing_left(engine)
    finally:
        await engine.close()
    assert kills >= 5


async def use(engine: Engine) -> None:
    """What runs can be used: a command in each, and what is stopped can be started."""
    for container in engine.containers.all():
        if container.state.running:
            exec_id = await engine.execs.create(container.id, {"Cmd": ["echo", "hi"], "AttachStdout": True})
            attachment: Any = await engine.execs.start(exec_id)
            assert b"".join([data async for _, data in attachment]) == b"hi\n"
