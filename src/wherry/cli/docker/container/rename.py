"""`docker rename`."""

from __future__ import annotations

from wherry.cli.docker.errors import CliError
from wherry.docker_api.client import DockerError

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
    try:
        cli.client.post(f"/containers/{old}/rename", {"name": new})
    except DockerError as error:
        raise CliError(
            f"Error response from daemon: {error.message}\nError: failed to rename container named {old}"
        ) from None
