"""`docker volume create`."""

from __future__ import annotations

from wherry.cli.docker.errors import CliError

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "[OPTIONS] [VOLUME]"
ARGUMENTS = (0, 1)
FLAGS = """
d,driver string=local    Driver
  label list             Label (NAME=VALUE)
  name string            The volume's name, as its argument
o,opt map                Option of the driver
"""


def run(cli: Cli, flags: Flags, arguments: list[str]) -> None:
    if arguments and flags["name"]:
        raise CliError("conflicting options: cannot specify a volume name through both --name and as a positional arg")
    body = {
        "Name": arguments[0] if arguments else flags["name"],
        "Driver": flags["driver"],
        "DriverOpts": flags["opt"],
        "Labels": dict(label.partition("=")[::2] for label in flags["label"]),
    }
    cli.out(cli.client.post("/volumes/create", body=body)["Name"])
