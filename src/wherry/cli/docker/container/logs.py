"""`docker logs`."""

from __future__ import annotations

import time

from wherry.cli.docker.errors import CliError
from wherry.cli.docker.streams import flush, write_all
from wherry.cli.format.units import parse_moment

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "[OPTIONS] CONTAINER"
ARGUMENTS = (1, 1)
FLAGS = """
  details            Show extra attributes of the log
f,follow             Keep showing what comes
  since string       Only what came after this time (RFC 3339, or a duration such as 42m)
n,tail string=all    The last lines only, this many
t,timestamps         Show times
  until string       Only what came before this time
"""


def run(cli: Cli, flags: Flags, arguments: list[str]) -> None:
    container = cli.client.get(f"/containers/{arguments[0]}/json")
    now = time.time()
    try:
        since = parse_moment(flags["since"], now) if flags["since"] else None
        until = parse_moment(flags["until"], now) if flags["until"] else None
    except ValueError as error:
        which = "since" if flags["since"] and str(error).endswith(f'"{flags["since"]}"') else "until"
        raise CliError(f'invalid value for "{which}": {error}') from None
    query = {
        "stdout": True,
        "stderr": True,
        "follow": flags["follow"] or None,
        "details": flags["details"] or None,
        "timestamps": flags["timestamps"] or None,
        "tail": flags["tail"],
        "since": since,
        "until": until,
    }
    answer = cli.client.call("GET", f"/containers/{container['Id']}/logs", query)
    flush()
    if container["Config"]["Tty"]:
        for chunk in answer.chunks():
            write_all(1, chunk)
    else:
        for stream, data in answer.frames():
            write_all(2 if stream == 2 else 1, data)
