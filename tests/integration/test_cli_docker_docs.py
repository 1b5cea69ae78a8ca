"""Every example of docs/cli-docker.md is run, in its order."""

import asyncio
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from docker_client import DockerCli

if TYPE_CHECKING:
    from wherry.engine.engine import Engine

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

PAGE = Path(__file__).parents[2] / "docs" / "cli-docker.md"


def examples() -> list[str]:
    text = PAGE.read_text().partition("## Examples")[2].partition("```sh\n")[2].partition("```")[0]
    return [line for line in text.splitlines() if line]


async def test_examples(docker_cli: DockerCli, wherry_engine: "Engine", tmp_path: Path) -> None:
    from wherry.cli import launchers

    place = launchers.write(wherry_engine.instance)
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "sh").symlink_to(shutil.which("sh") or "sh")
    env = {
        **os.environ,
        "DOCKER_HOST": docker_cli.host,
        "DOCKER_CONFIG": str(tmp_path),
        "PATH": f"{place}:{tools}",
    }
    lines = examples()
    assert len(lines) > 20
    for line in lines:
        process = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            line.replace("/tmp/wherry-example.tar", str(tmp_path / "example.tar")),
            env=env,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(30):
            out, _ = await process.communicate()
        assert process.returncode == 0, f"{line}: {out.decode()}"
