"""`docker cp`."""

from __future__ import annotations

import os
import sys

from wherry.cli.docker.copying import copy_in, copy_out
from wherry.cli.docker.errors import CliError
from wherry.cli.format.units import human_size

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n[OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH"
LONG = """
Copy files between a container and this machine

With '-' as the source, a tar archive is read from standard input and unpacked into a directory of the container.
With '-' as the target, a tar archive of the source is written to standard output.
"""
ARGUMENTS = (2, 2)
FLAGS = """
a,archive        Keep owners
L,follow-link    Follow a link that is the source
q,quiet          Do not say what was copied
"""


def split(argument: str) -> tuple[str, str]:
    """(container, path); the container is empty for a path of this machine."""
    if os.path.isabs(argument):
        return "", argument
    container, colon, path = argument.partition(":")
    if not colon or container.startswith("."):
        return "", argument
    return container, path


def run(cli: Cli, flags: Flags, arguments: list[str]) -> None:
    (source_in, source), (target_in, target) = split(arguments[0]), split(arguments[1])
    if source_in and target_in:
        raise CliError("copying between containers is not supported")
    if not source_in and not target_in:
        raise CliError("must specify at least one container source")
    if not source and not source_in:
        raise CliError("source can not be empty")
    if not target:
        raise CliError("destination can not be empty")
    quiet = flags["quiet"] or not sys.stderr.isatty()
    if source_in:
        size = copy_out(cli, source_in, source, target, follow=flags["follow-link"], owners=flags["archive"])
        if target != "-" and not quiet:
            cli.error(f"Successfully copied {human_size(size)} to {os.path.abspath(target)}")
    else:
        size = copy_in(cli, source, target_in, target, follow=flags["follow-link"], owners=flags["archive"])
        if source != "-" and not quiet:
            cli.error(f"Successfully copied {human_size(size)} to {target_in}:{target}")
