"""`docker network prune`."""

from __future__ import annotations

from wherry.cli.docker.pruning import PRUNE_FLAGS, show_report, with_config_filters

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "[OPTIONS]"
ARGUMENTS = (0, 0)
FLAGS = PRUNE_FLAGS
QUESTION = (
    "WARNING! This will remove all custom networks not used by at least one container.\n"
    "Are you sure you want to continue?"
)


def run(cli: Cli, flags: Flags, arguments: list[str]) -> None:
    if not flags["force"] and not cli.confirm(QUESTION):
        return
    report = cli.client.post("/networks/prune", {"filters": with_config_filters(cli, flags["filter"])})
    show_report(cli, report, "NetworksDeleted", "Deleted Networks:")
