"""Fixtures of the integration tests: the real docker client against an engine in this process."""

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from docker_client import DockerCli

if TYPE_CHECKING:
    from wherry.engine.engine import Engine


@pytest.fixture(scope="session")
def busybox_archive() -> Path:
    """A `docker load`able archive of `busybox:latest`."""
    maker = Path(__file__).parents[1] / "images" / "make_images.py"
    made = subprocess.run([sys.executable, maker, "busybox"], capture_output=True, text=True, check=True)
    return Path(made.stdout.strip())


@pytest_asyncio.fixture
async def docker_cli(wherry_engine: "Engine", busybox_archive: Path, tmp_path: Path) -> AsyncIterator[DockerCli]:
    """The real client on an engine of the test's own, which has the image `busybox`."""
    from wherry.docker_api import serve

    await wherry_engine.images.load(busybox_archive)
    api = await serve(wherry_engine, wherry_engine.instance.docker_socket)
    yield DockerCli(api.addresses[0], tmp_path)
    await api.close()
