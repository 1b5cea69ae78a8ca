"""`docker volume rm`."""

from __future__ import annotations

from wherry.cli.docker.targets import each

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "[OPTIONS] VOLUME [VOLUME...]"
ARGUMENTS = (1, None)
FLAGS = """
f,force    Say nothing about volumes that do not exist
"""


def run(cli: Cli, flags: Flags, arguments: list[str]) -> int:
    query = {"force": flags["force"] or None}
    return each(cli, arguments, lambda name: cli.client.delete(f"/volumes/{name}", query))
