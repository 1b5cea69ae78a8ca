"""The pytest plugin: an engine, or an engine with a cluster, as a fixture.

    async def test_hello(wherry_engine): ...
    def test_nodes(wherry_cluster): subprocess.run(["kubectl", "get", "nodes"], env=wherry_cluster.env)

Needs root. At the end of the session everything that its instances made must be gone; a leak fails the session.
"""

import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from wherry.host.instance import Instance

if TYPE_CHECKING:
    from wherry.engine.engine import Engine
    from wherry.testing.instances import TestInstances


@dataclass(frozen=True)
class RunningWherry:
    """A started instance. `env` is the environment in which docker and kubectl find it (`wherry.testing.clients`)."""

    instance: Instance
    env: dict[str, str]

    def run(self, *command: str, timeout: float = 60.0, **options: Any) -> subprocess.CompletedProcess[str]:
        """Runs a client against the instance; output is captured as text, no exit code raises."""
        return subprocess.run(
            command, env=self.env, capture_output=True, text=True, timeout=timeout, check=False, **options
        )


@pytest.fixture(scope="session")
def wherry_instances() -> "Iterator[TestInstances]":
    """The session's instances. When it ends, what is left of them fails the session."""
    from wherry.testing.instances import TestInstances

    if os.geteuid() != 0:
        pytest.skip("needs root")
    instances = TestInstances()
    yield instances
    leaks = instances.close()
    if leaks:
        pytest.fail("left behind on this machine:\n" + "\n".join(leaks))


@pytest.fixture
def wherry_instance(wherry_instances: "TestInstances") -> Iterator[Instance]:
    """An instance of the test's own: nothing runs in it yet. What the test leaves running is a failure."""
    instance = wherry_instances.make()
    yield instance
    leaks = wherry_instances.discard(instance)
    wherry_instances.made.remove(instance)
    if leaks:
        pytest.fail("left behind:\n" + "\n".join(leaks))


@pytest_asyncio.fixture
async def wherry_engine(wherry_instances: "TestInstances") -> "AsyncIterator[Engine]":
    """An engine in this process, on an instance of the test's own; its containers are removed afterwards."""
    from wherry.engine.engine import Engine
    from wherry.host import leftovers

    instance = wherry_instances.make()
    engine = await Engine.open(instance)
    yield engine
    for container in await engine.containers.list(all=True):
        await engine.containers.remove(container["Id"], force=True, volumes=True)
    await engine.close()
    leftovers.purge(instance)
    wherry_instances.made.remove(instance)
    wherry_instances.discard(instance)


def start(instance: Instance, *options: str) -> RunningWherry:
    """`wherry up` on an instance; raises AssertionError with its output when it fails."""
    from wherry.testing.clients import environment
    from wherry.testing.instances import wherry

    up = wherry(instance, "up", *options)
    assert up.returncode == 0, up.stdout + up.stderr
    return RunningWherry(instance, environment(instance))


def stop(instance: Instance) -> None:
    """`wherry down --all` on an instance."""
    from wherry.testing.instances import wherry

    down = wherry(instance, "down", "--all")
    assert down.returncode == 0, down.stdout + down.stderr


@pytest.fixture(scope="session")
def wherry_shared_cluster(wherry_instances: "TestInstances") -> Iterator[RunningWherry]:
    """One engine with a cluster for the whole session: for tests that do not restart or break it."""
    instance = wherry_instances.make()
    running = start(instance)
    yield running
    stop(instance)


@pytest.fixture
def wherry_cluster(wherry_instances: "TestInstances") -> Iterator[RunningWherry]:
    """An engine with a cluster of the test's own, as separate processes, as `wherry up` starts them."""
    instance = wherry_instances.make()
    running = start(instance)
    yield running
    stop(instance)
    leaks = wherry_instances.discard(instance)
    wherry_instances.made.remove(instance)
    if leaks:
        pytest.fail("left behind:\n" + "\n".join(leaks))
