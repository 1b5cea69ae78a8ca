"""The docker client as a coroutine."""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Ran:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


class DockerCli:
    """`await cli("ps", "-a")` runs the client on `path` against one DOCKER_HOST."""

    def __init__(self, host: str, home: Path, path: str | None = None) -> None:
        self.host = host
        self._env = {**os.environ, "DOCKER_HOST": host, "DOCKER_CONFIG": str(home), "DOCKER_BUILDKIT": "0"}
        self._env["PATH"] = path or os.environ["PATH"]

    async def __call__(self, *arguments: str, stdin: bytes = b"", fails: bool = False, timeout: float = 30.0) -> Ran:
        """Runs `docker arguments…`; fails the test when the exit code is not as expected (`fails`)."""
        ran = await self.any(*arguments, stdin=stdin, timeout=timeout)
        assert (ran.code != 0) is fails, f"docker {' '.join(arguments)}: {ran}"
        return ran

    async def any(self, *arguments: str, stdin: bytes = b"", timeout: float = 30.0) -> Ran:
        """Runs `docker arguments…`, whatever its exit code."""
        process = await self.start(*arguments)
        try:
            async with asyncio.timeout(timeout):
                out, err = await process.communicate(stdin)
        except TimeoutError:
            process.kill()
            await process.wait()
            pytest.fail(f"docker {' '.join(arguments)}: not done within {timeout:.0f} s")
        return Ran(process.returncode or 0, out.decode(errors="replace"), err.decode(errors="replace"))

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        """The client as a running process, with pipes."""
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            "docker", *arguments, env=self._env, stdin=pipe, stdout=pipe, stderr=pipe
        )
