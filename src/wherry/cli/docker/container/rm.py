"""`docker rm`."""

from __future__ import annotations

from wherry.cli.docker.errors import CliError
from wherry.cli.docker.targets import each

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "[OPTIONS] CONTAINER [CONTAINER...]"
ARGUMENTS = (1, None)
FLAGS = """
f,force      Kill the container first when it runs
l,link       Remove the link, not the container
v,volumes    Remove its anonymous volumes too
"""


def run(cli: Cli, flags: Flags, arguments: list[str]) -> int:
    from wherry.docker_api.client import DockerError

    query = {"force": flags["force"] or None, "link": flags["link"] or None, "v": flags["volumes"] or None}

    def remove(name: str) -> str:
        name = name.strip("/")
        if not name:
            raise CliError("container name cannot be empty")
        try:
            cli.client.delete(f"/containers/{name}", query)
            return name
        except DockerError as error:
            # Forced removal is about the result: nothing there is what was asked for.
            if not (flags["force"] and error.status == 404):
                raise
            cli.error(f"Error response from daemon: {error.message}")
            return ""

    return each(cli, arguments, remove, together=True)
