"""`docker export`."""

from __future__ import annotations

from wherry.cli.docker.archives import write_archive

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "[OPTIONS] CONTAINER"
ARGUMENTS = (1, 1)
FLAGS = """
o,output string    Write to this file, not to standard output
"""


def run(cli: Cli, flags: Flags, arguments: list[str]) -> None:
    write_archive(cli, f"/containers/{arguments[0]}/export", None, flags["output"])
