"""`docker context show`."""

from __future__ import annotations

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = ""
ARGUMENTS = (0, 0)
FLAGS = ""


def run(cli: Cli, flags: Flags, arguments: list[str]) -> None:
    cli.out(cli.context)
