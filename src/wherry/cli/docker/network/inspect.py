"""`docker network inspect`."""

from __future__ import annotations

from wherry.cli.docker.inspection import inspect

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "[OPTIONS] NETWORK [NETWORK...]"
ARGUMENTS = (1, None)
FLAGS = """
f,format string    Print by this: json, or a Go template
v,verbose          Say more
"""


def run(cli: Cli, flags: Flags, arguments: list[str]) -> int:
    query = {"verbose": flags["verbose"] or None}
    return inspect(cli, arguments, lambda name: cli.client.get(f"/networks/{name}", query), flags["format"])
