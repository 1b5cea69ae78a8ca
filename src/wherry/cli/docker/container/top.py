"""`docker top`."""

from __future__ import annotations

from wherry.cli.format.table import render

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "CONTAINER [ps OPTIONS]"
ARGUMENTS = (1, None)
FLAGS = ""
INTERSPERSED = False


def run(cli: Cli, flags: Flags, arguments: list[str]) -> None:
    options = " ".join(arguments[1:])
    answer = cli.client.get(f"/containers/{arguments[0]}/top", {"ps_args": options or None})
    cli.out(render([answer["Titles"], *answer["Processes"]], minimum=20)[:-1])
