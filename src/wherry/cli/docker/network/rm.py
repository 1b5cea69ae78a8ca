"""`docker network rm`."""

from __future__ import annotations

from wherry.cli.docker.errors import CliError

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "NETWORK [NETWORK...]"
ARGUMENTS = (1, None)
FLAGS = """
f,force    Say nothing about networks that do not exist
"""


def run(cli: Cli, flags: Flags, arguments: list[str]) -> None:
    from wherry.docker_api.client import DockerError

    failed = False
    for name in arguments:
        try:
            cli.client.delete(f"/networks/{name}")
        except DockerError as error:
            if flags["force"] and error.status == 404:
                continue
            cli.error(f"Error response from daemon: {error.message}")
            failed = True
            continue
        cli.out(name)
    if failed:
        raise CliError("exit status 1")
