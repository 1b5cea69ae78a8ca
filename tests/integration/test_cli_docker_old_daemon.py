"""Wherry's docker command on Debian's dockerd 20.10, whose API is older (1.41). Skipped without that."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from terminal import Terminal

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

from peer import Peer

if TYPE_CHECKING:
    from wherry.testing.instances import TestInstances

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

Docker = Callable[..., str]


@pytest.fixture(scope="module")
def environment(
    wherry_instances: "TestInstances", busybox_archive: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    from wherry.cli import launchers

    if not Peer.available():
        pytest.skip("needs Debian's docker.io and containerd")
    place = launchers.write(wherry_instances.make())
    with Peer() as peer:
        yield {
            **{name: value for name, value in os.environ.items() if not name.startswith("DOCKER_")},
            "PATH": f"{place}:{os.environ['PATH']}",
            "DOCKER_HOST": peer.host,
            "DOCKER_CONFIG": str(tmp_path_factory.mktemp("config")),
            "ARCHIVE": str(busybox_archive),
        }


@pytest.fixture(scope="module")
def docker(environment: dict[str, str]) -> Docker:
    def call(*words: str, code: int = 0, stdin: str = "", **more: str) -> str:
        done = subprocess.run(
            ["docker", *words],
            env={**environment, **more},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == code, f"docker {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + (done.stderr if code else "")

    assert "Loaded image: busybox:latest" in call("load", "-i", environment["ARCHIVE"])
    return call


def test_the_version_is_the_daemons(docker: Docker) -> None:
    shown = docker("version")
    assert re.search(r"^ API version: +1\.41 \(downgraded from 1\.\d+\)$", shown, re.M)
    assert docker("version", "--format", "{{.Client.APIVersion}}", DOCKER_API_VERSION="1.40") == "1.40\n"
    assert "client version 1.50 is too new" in docker("ps", code=1, DOCKER_API_VERSION="1.50")
    assert "Server Version: 20.10" in docker("info")


def test_daily_commands(docker: Docker, tmp_path: Path) -> None:
    docker("network", "create", "back")
    assert "already exists" in docker("network", "create", "back", code=1)
    docker("volume", "create", "data")
    docker(
        *("run", "-d", "--name", "web", "--network", "back", "--mac-address", "02:42:ac:11:00:99", "-v", "data:/data"),
        *("-p", "127.0.0.1::80", "--label", "a=b", "busybox", "sh", "-c", "echo said; echo wrong >&2; exec sleep 1000"),
    )
    assert docker("ps", "--format", "{{.Names}} {{.Image}} {{.Status}}").startswith("web busybox Up ")
    assert docker("logs", "web") == "said\n"
    assert docker("exec", "web", "sh", "-c", "echo kept > /data/file; cat /data/file") == "kept\n"
    assert docker("exec", "web", "cat", "/sys/class/net/eth0/address") == "02:42:ac:11:00:99\n"
    assert docker("exec", "-i", "web", "cat", stdin="typed") == "typed"
    assert docker("inspect", "-f", "{{.State.Status}} {{.Config.Labels.a}}", "web") == "running b\n"
    assert docker("port", "web").startswith("80/tcp -> 127.0.0.1:")
    docker("cp", "web:/data/file", str(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "kept\n"
    docker("cp", str(tmp_path / "file"), "web:/tmp/back")
    assert "C /tmp\nA /tmp/back" in docker("diff", "web")
    assert "sleep 1000" in docker("top", "web")
    assert docker("stats", "--no-stream", "--format", "{{.Name}}") == "web\n"
    docker("commit", "-m", "kept", "web", "saved:1")
    assert docker("images", "--format", "{{.Repository}}:{{.Tag}}", "saved") == "saved:1\n"
    assert "kept" in docker("history", "saved:1")
    docker("save", "-o", str(tmp_path / "saved.tar"), "saved:1")
    docker("tag", "saved:1", "saved:2")
    docker("rmi", "saved:1", "saved:2")
    assert docker("load", "-q", "-i", str(tmp_path / "saved.tar")) == "Loaded image: saved:1\n"
    docker("pause", "web")
    docker("unpause", "web")
    docker("stop", "-t", "0", "web")
    assert docker("wait", "web") == "137\n"
    docker("rm", "web")
    docker("rmi", "saved:1")
    docker("network", "rm", "back")
    assert "Images" in docker("system", "df")
    assert "container create" in docker("events", "--since", "10m", "--until", "0s")


def test_runs_end_as_the_container_does(docker: Docker) -> None:
    assert docker("run", "--rm", "busybox", "sh", "-c", "echo out; exit 7", code=7) == "out\n"
    assert docker("run", "--rm", "-i", "busybox", "cat", stdin="in") == "in"
    assert "executable file not found" in docker("run", "--rm", "busybox", "nosuch", code=127)


def test_pruning_volumes_says_that_all_of_them_go(docker: Docker) -> None:
    docker("volume", "create", "named")
    assert '"--all" requires API version 1.42' in docker("volume", "prune", "-a", code=1)
    assert "This will remove all local volumes not used" in docker("volume", "prune", stdin="n\n")
    assert "named" in docker("volume", "prune", "-f")


def test_a_build(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM busybox\nCOPY . /there\nRUN echo built > /out\nCMD cat /out\n")
    docker("build", "-t", "made", str(tmp_path))
    assert docker("run", "--rm", "made") == "built\n"
    assert "exit code: 3" in docker("build", "-", stdin="FROM busybox\nRUN exit 3\n", code=1)
    docker("rmi", "made")


async def test_a_shell_in_a_terminal(docker: Docker, environment: dict[str, str]) -> None:
    async with Terminal(["docker", "run", "--rm", "-it", "busybox", "sh"], environment) as terminal:
        await terminal.wait_for("/ #")
        terminal.type("stty size; exit 3\r")
        await terminal.wait_for("24 80")
        assert await terminal.exit_code() == 3
