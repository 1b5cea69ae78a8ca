"""`docker stop`."""

from __future__ import annotations

from wherry.cli.docker.targets import each

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "[OPTIONS] CONTAINER [CONTAINER...]"
ARGUMENTS = (1, None)
FLAGS = """
s,signal string    Signal to send
t,timeout int      Seconds to wait before killing the container
"""


def run(cli: Cli, flags: Flags, arguments: list[str]) -> int:
    query = {
        "signal": flags["signal"] or None,
        "t": flags["timeout"] if flags.given("timeout") else None,
    }
    return each(cli, arguments, lambda name: cli.client.post(f"/containers/{name}/stop", query), together=True)
