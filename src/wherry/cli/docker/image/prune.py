"""`docker image prune`."""

from __future__ import annotations

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
a,all              All images without a container, not only those without a name
"""
)


def run(cli: Cli, flags: Flags, arguments: list[str]) -> None:
    what = "all images without at least one container associated to them" if flags["all"] else "all dangling images"
    question = f"WARNING! This will remove {what}.\nAre you sure you want to continue?"
    filters = with_config_filters(cli, flags["filter"]) or {}
    filters["dangling"] = ["false" if flags["all"] else "true"]
    prune(cli, flags, "images", question, "ImagesDeleted", "Deleted Images:", {"filters": filters})
