"""`docker unpause`."""

from __future__ import annotations

from wherry.cli.docker.targets import each

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "CONTAINER [CONTAINER...]"
ARGUMENTS = (1, None)
FLAGS = """"""


def run(cli: Cli, flags: Flags, arguments: list[str]) -> int:
    return each(cli, arguments, lambda name: cli.client.post(f"/containers/{name}/unpause"), together=True)
