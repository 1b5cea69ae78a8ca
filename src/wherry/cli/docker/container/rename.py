"""`docker rename`."""

from __future__ import annotations

from wherry.cli.docker.errors import CliError

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "CONTAINER NEW_NAME"
ARGUMENTS = (2, 2)
FLAGS = ""


def run(cli: Cli, flags: Flags, arguments: list[str]) -> None:
    old, new = (name.strip() for name in arguments)
    if not old or not new:
        raise CliError("Error: Neither old nor new names may be empty")
    cli.client.post(f"/containers/{old}/rename", {"name": new})
