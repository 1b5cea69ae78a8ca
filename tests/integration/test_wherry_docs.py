"""Every example of docs/wherry.md and docs/compose.md is run, in its order, by Wherry's own programs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from wherry.testing import clients
from wherry.testing.plugin import RunningWherry

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

DOCS = Path(__file__).parents[2] / "docs"


def run(cluster: RunningWherry, page: str, folder: Path) -> int:
    """Runs the `console` blocks of a page; each shown line must be part of what is printed. How many there were."""
    clients.path(cluster.instance)
    env = {
        **cluster.env,
        "WHERRY_ROOT": str(cluster.instance.root),
        "WHERRY_RUN": str(cluster.instance.run),
        "PATH": f"{cluster.instance.root / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
    }
    count = 0
    for block in re.findall(r"```console\n(.*?)```", (DOCS / page).read_text(), re.S):
        for example in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, _, shown = example.partition("\n")
            command = command.replace("/tmp/", f"{folder}/")
            done = subprocess.run(
                ["/bin/sh", "-c", command],
                env=env,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=90,
                check=False,
            )
            assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
            for line in shown.strip().splitlines():
                assert line.strip() in done.stdout + done.stderr, f"{command}\n{done.stdout}{done.stderr}"
            count += 1
    return count


def test_the_examples_of_wherry(wherry_shared_cluster: RunningWherry, busybox_archive: Path, tmp_path: Path) -> None:
    loaded = wherry_shared_cluster.run("docker", "load", "-i", str(busybox_archive))
    assert loaded.returncode == 0, loaded.stderr
    assert run(wherry_shared_cluster, "wherry.md", tmp_path) > 10


def test_the_examples_of_compose(wherry_shared_cluster: RunningWherry, busybox_archive: Path, tmp_path: Path) -> None:
    loaded = wherry_shared_cluster.run("docker", "load", "-i", str(busybox_archive))
    assert loaded.returncode == 0, loaded.stderr
    (tmp_path / "compose.yaml").write_text(
        "name: shop\nservices:\n  web: {image: busybox, command: [sh, -c, 'echo started; exec sleep 1000'], "
        "stop_signal: SIGKILL}\n"
    )
    assert run(wherry_shared_cluster, "compose.md", tmp_path) > 4
