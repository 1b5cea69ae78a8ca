"""Docker's own client and Wherry's docker command, on the same engine."""

import asyncio
import os
from pathlib import Path

from docker_client import DockerCli, Ran
from terminal import Terminal


class Pair:
    """Docker's client and ours, in the same environment."""

    def __init__(self, real: DockerCli, program: Path, home: Path) -> None:
        self.real = real
        self.program = program
        self.env = {**os.environ, "DOCKER_HOST": real.host, "DOCKER_CONFIG": str(home), "DOCKER_BUILDKIT": "0"}

    async def ours(self, *arguments: str, stdin: bytes = b"", timeout: float = 30.0) -> Ran:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            self.program, *arguments, env=self.env, stdin=pipe, stdout=pipe, stderr=pipe
        )
        async with asyncio.timeout(timeout):
            out, err = await process.communicate(stdin)
        return Ran(process.returncode or 0, out.decode(errors="replace"), err.decode(errors="replace"))

    def terminal(self, *arguments: str, rows: int = 24, columns: int = 80) -> Terminal:
        return Terminal([str(self.program), *arguments], self.env, rows=rows, columns=columns)
