"""`docker volume prune`."""

from __future__ import annotations

from wherry.cli.docker.errors import CliError
from wherry.cli.docker.pruning import PRUNE_FLAGS, prune, with_config_filters

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "[OPTIONS]"
ARGUMENTS = (0, 0)
FLAGS = (
    PRUNE_FLAGS
    + """
a,all              Also volumes that have a name
"""
)


def run(cli: Cli, flags: Flags, arguments: list[str]) -> None:
    # Before API 1.42 the daemon takes those with a name as well, and cannot be told otherwise.
    knows_all = cli.client.at_least("1.42")
    if flags["all"] and not knows_all:
        raise CliError(
            f'"--all" requires API version 1.42, but the Docker daemon API version is {cli.client.api_version}'
        )
    what = "all local volumes" if flags["all"] or not knows_all else "anonymous local volumes"
    question = (
        f"WARNING! This will remove {what} not used by at least one container.\nAre you sure you want to continue?"
    )
    filters = with_config_filters(cli, flags["filter"]) or {}
    if flags["all"]:
        filters["all"] = ["1"]
    prune(cli, flags, "volumes", question, "VolumesDeleted", "Deleted Volumes:", {"filters": filters or None})
