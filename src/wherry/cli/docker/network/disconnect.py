"""`docker network disconnect`."""

from __future__ import annotations

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "[OPTIONS] NETWORK CONTAINER"
ARGUMENTS = (2, 2)
FLAGS = """
f,force    Disconnect it although the network does not know it
"""


def run(cli: Cli, flags: Flags, arguments: list[str]) -> None:
    network, container = arguments
    cli.client.post(f"/networks/{network}/disconnect", body={"Container": container, "Force": flags["force"]})
