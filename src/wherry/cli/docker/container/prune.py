"""`docker container prune`."""

from __future__ import annotations

from wherry.cli.docker.pruning import PRUNE_FLAGS, prune

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "[OPTIONS]"
ARGUMENTS = (0, 0)
FLAGS = PRUNE_FLAGS
QUESTION = "WARNING! This will remove all stopped containers.\nAre you sure you want to continue?"


def run(cli: Cli, flags: Flags, arguments: list[str]) -> None:
    prune(cli, flags, "containers", QUESTION, "ContainersDeleted", "Deleted Containers:")
