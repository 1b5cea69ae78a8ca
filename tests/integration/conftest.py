"""Fixtures of the integration tests: the docker client against an engine in this process."""

import fcntl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from docker_client import DockerCli
from own_docker import Pair

if TYPE_CHECKING:
    from wherry.engine.engine import Engine


GUIDE_PORTS = {
    "test_cli_docker",
    "test_compose",
    "test_compose_like_docker_compose",
    "test_guide_dockerfiles",
    "test_guide_own_programs",
}
"""Modules that publish the guide's own ports (5000, 8080): one at a time on a machine."""


@pytest.fixture(scope="module", autouse=True)
def guide_ports(request: pytest.FixtureRequest) -> Iterator[None]:
    """Keeps modules that need the same published ports apart when tests run in several processes."""
    if request.module.__name__.rpartition(".")[2] not in GUIDE_PORTS:
        yield
        return
    with open("/tmp/wherry-test-guide-ports.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def busybox_archive() -> Path:
    """A `docker load`able archive of `busybox:latest`."""
    maker = Path(__file__).parents[1] / "images" / "make_images.py"
    made = subprocess.run([sys.executable, maker, "busybox"], capture_output=True, text=True, check=True)
    return Path(made.stdout.strip())


@pytest_asyncio.fixture
async def docker_cli(wherry_engine: "Engine", busybox_archive: Path, tmp_path: Path) -> AsyncIterator[DockerCli]:
    """The installed client, or else Wherry's own, on an engine of the test's own, which has the image `busybox`."""
    from wherry.docker_api import serve
    from wherry.testing import clients

    await wherry_engine.images.load(busybox_archive)
    api = await serve(wherry_engine, wherry_engine.instance.docker_socket)
    yield DockerCli(api.addresses[0], tmp_path, clients.path(wherry_engine.instance))
    await api.close()


@pytest_asyncio.fixture
async def pair(docker_cli: DockerCli, wherry_engine: "Engine", tmp_path: Path) -> Pair:
    """Docker's client and Wherry's own, on one engine."""
    from wherry.cli import launchers

    return Pair(docker_cli, launchers.write(wherry_engine.instance) / "docker", tmp_path)
