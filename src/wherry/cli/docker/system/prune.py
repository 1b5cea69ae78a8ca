"""`docker system prune`."""

from __future__ import annotations

from wherry.cli.docker.errors import CliError
from wherry.cli.docker.pruning import PRUNE_FLAGS, show_report, with_config_filters
from wherry.cli.format.units import human_size

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "[OPTIONS]"
ARGUMENTS = (0, 0)
FLAGS = (
    PRUNE_FLAGS
    + """
a,all              All images without a container, not only those without a name
  volumes          Also anonymous volumes
"""
)


def run(cli: Cli, flags: Flags, arguments: list[str]) -> None:
    everything, volumes = flags["all"], flags["volumes"]
    if volumes and "until" in flags["filter"]:
        raise CliError('ERROR: The "until" filter is not supported with "--volumes"')
    if not flags["force"] and not cli.confirm(_question(cli, everything, volumes, flags["filter"])):
        return
    filters = with_config_filters(cli, flags["filter"]) or {}
    dangling = ["false" if everything else "true"]
    steps: list[tuple[str, dict[str, Any], str, str]] = [
        ("containers", filters, "ContainersDeleted", "Deleted Containers:"),
        ("networks", filters, "NetworksDeleted", "Deleted Networks:"),
    ]
    if volumes:
        steps.append(("volumes", filters, "VolumesDeleted", "Deleted Volumes:"))
    steps.append(("images", {**filters, "dangling": dangling}, "ImagesDeleted", "Deleted Images:"))
    freed = 0
    for kind, chosen, key, title in steps:
        report = cli.client.post(f"/{kind}/prune", {"filters": chosen or None})
        freed += report.get("SpaceReclaimed") or 0
        show_report(cli, report, key, title)
    until = {key: value for key, value in filters.items() if key == "until"}
    if "label" not in filters and "label!" not in filters:
        report = cli.client.post("/build/prune", {"all": everything or None, "filters": until or None})
        freed += report.get("SpaceReclaimed") or 0
        show_report(cli, report, "CachesDeleted", "Deleted build cache objects:")
    cli.out(f"Total reclaimed space: {human_size(freed)}")


def _question(cli: Cli, everything: bool, volumes: bool, filters: dict[str, list[str]]) -> str:
    lines = ["WARNING! This will remove:", "  - all stopped containers"]
    lines.append("  - all networks not used by at least one container")
    if volumes:
        # Before API 1.42 the daemon takes those with a name as well.
        which = "anonymous volumes" if cli.client.at_least("1.42") else "volumes"
        lines.append(f"  - all {which} not used by at least one container")
    if everything:
        lines += ["  - all images without at least one container associated to them", "  - all build cache"]
    else:
        lines += ["  - all dangling images", "  - unused build cache"]
    if filters:
        lines += ["", "  Items to be pruned will be filtered with:"]
        lines += [f"  - {key}={value}" for key in sorted(filters) for value in filters[key]]
    return "\n".join([*lines, "", "Are you sure you want to continue?"])
