"""`docker volume ls`."""

from __future__ import annotations

from wherry.cli.docker.listing import Struct, show
from wherry.cli.docker.network.ls import natural
from wherry.cli.format.units import human_size

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "[OPTIONS]"
ARGUMENTS = (0, 0)
FLAGS = """
f,filter filter    Only those that match
  format string    Print by this: table, json, table TEMPLATE, or a Go template
q,quiet            Only names
"""
COLUMNS = ["Driver", "Name"]
HEADERS = {
    "Name": "VOLUME NAME",
    "Driver": "DRIVER",
    "Scope": "SCOPE",
    "Availability": "AVAILABILITY",
    "Mountpoint": "MOUNTPOINT",
    "Labels": "LABELS",
    "Links": "LINKS",
    "Size": "SIZE",
    "Group": "GROUP",
    "Status": "STATUS",
}


class Row(Struct):
    type_name = "*formatter.volumeContext"


def volume_row(item: dict[str, Any]) -> Row:
    """A volume of the API as `--format` sees it."""
    labels, usage = item.get("Labels") or {}, item.get("UsageData")
    return Row(
        Name=item["Name"],
        Driver=item["Driver"],
        Scope=item["Scope"],
        Mountpoint=item["Mountpoint"],
        Labels=",".join(f"{key}={labels[key]}" for key in sorted(labels)),
        Label=lambda name: labels.get(name, ""),
        Links=str(usage["RefCount"]) if usage else "N/A",
        Size=human_size(usage["Size"]) if usage else "N/A",
        Availability="N/A",
        Group="N/A",
        Status="N/A",
    )


def run(cli: Cli, flags: Flags, arguments: list[str]) -> None:
    form = flags["format"]
    if not form and not flags["quiet"]:
        form = str(cli.config.values.get("volumesFormat") or "")
    items = cli.client.get("/volumes", {"filters": flags["filter"] or None})["Volumes"] or []
    rows = [volume_row(item) for item in sorted(items, key=lambda item: natural(item["Name"]))]
    if flags["quiet"] and form in ("", "table"):
        for row in rows:
            cli.out(row["Name"])
        return
    show(cli, rows, COLUMNS, HEADERS, form)
