"""The Dockerfiles that people write first, built by the real client on stand-in base images, and run."""

import shutil
from pathlib import Path

import pytest
from docker_client import DockerCli
from stand_ins import stand_in

from wherry.engine.engine import Engine
from wherry.testing import clients

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

DOCKERFILES = Path(__file__).parent / "dockerfiles"
ASK = """
import time, urllib.request
deadline = time.monotonic() + 20
while True:
    try:
        print(urllib.request.urlopen("http://127.0.0.1:5000/").read().decode())
        break
    except OSError:
        if time.monotonic() > deadline:
            raise
        time.sleep(0.05)
"""


async def test_a_flask_application_is_built_and_answers(
    docker_cli: DockerCli, wherry_engine: Engine, tmp_path: Path
) -> None:
    await wherry_engine.images.load(stand_in("python"))
    context = shutil.copytree(DOCKERFILES / "flask", tmp_path / "flask")
    built = await docker_cli("build", "-t", "my-python-app", str(context), timeout=300)
    again = await docker_cli("build", "-t", "my-python-app", str(context))
    if clients.installed("docker"):
        assert "Step 7/7" in built.out
        assert "Successfully tagged my-python-app:latest" in built.out
        assert again.out.count("Using cache") == 6
    else:  # Wherry's own shows the steps that make layers, as BuildKit does
        assert "[5/5] COPY app.py ." in built.err
        assert again.err.count(" CACHED") == 4

    await docker_cli("run", "-d", "--name", "web", "my-python-app")
    ran = await docker_cli("exec", "web", "python", "-c", ASK)
    assert "Hello from Docker!" in ran.out


async def test_a_multi_stage_go_build_leaves_the_tools_behind(
    docker_cli: DockerCli, wherry_engine: Engine, tmp_path: Path
) -> None:
    await wherry_engine.images.load(stand_in("golang"))
    await wherry_engine.images.load(stand_in("alpine"))
    context = shutil.copytree(DOCKERFILES / "go", tmp_path / "go")
    await docker_cli("build", "-t", "my-go-app", str(context), timeout=300)
    ran = await docker_cli("run", "--rm", "my-go-app")
    assert ran.out == "Hello from Go\n"
    size = wherry_engine.images.inspect("my-go-app")["Size"]
    assert size < 20_000_000
