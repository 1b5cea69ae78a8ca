"""`docker builder prune`."""

from __future__ import annotations

from wherry.cli.docker.pruning import PRUNE_FLAGS, show_report
from wherry.cli.format.units import human_size

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "[OPTIONS]"
ARGUMENTS = (0, 0)
FLAGS = (
    PRUNE_FLAGS
    + """
a,all                   Also what is in use
  keep-storage bytes    Keep this much
"""
)


def run(cli: Cli, flags: Flags, arguments: list[str]) -> None:
    what = "all build cache" if flags["all"] else "all dangling build cache"
    if not flags["force"] and not cli.confirm(f"WARNING! This will remove {what}.\nAre you sure you want to continue?"):
        return
    query = {
        "all": flags["all"] or None,
        "keep-storage": flags["keep-storage"] or None,
        "filters": flags["filter"] or None,
    }
    report = cli.client.post("/build/prune", query)
    show_report(cli, report, "CachesDeleted", "Deleted build cache objects:")
    cli.out(f"Total reclaimed space: {human_size(report.get('SpaceReclaimed') or 0)}")
