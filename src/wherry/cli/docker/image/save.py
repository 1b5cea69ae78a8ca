"""`docker save`."""

from __future__ import annotations

from wherry.cli.docker.archives import write_archive

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "[OPTIONS] IMAGE [IMAGE...]"
ARGUMENTS = (1, None)
FLAGS = """
o,output string      Write to this file, not to standard output
  platform string    Only this platform
"""


def run(cli: Cli, flags: Flags, arguments: list[str]) -> None:
    write_archive(cli, "/images/get", {"names": arguments, "platform": flags["platform"] or None}, flags["output"])
