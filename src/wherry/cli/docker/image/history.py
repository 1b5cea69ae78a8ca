"""`docker history`."""

from __future__ import annotations

from wherry.cli.docker.listing import Struct, show
from wherry.cli.format.units import ago, ellipsis, human_size

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "[OPTIONS] IMAGE"
ARGUMENTS = (1, 1)
FLAGS = """
  format string    Print by this: table, json, table TEMPLATE, or a Go template
H,human=true       Sizes and dates for people
  no-trunc         Whole ids and commands
q,quiet            Only ids
"""
COLUMNS = ["ID", "CreatedSince", "CreatedBy", "Size", "Comment"]
HEADERS = {
    "ID": "IMAGE",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "CreatedBy": "CREATED BY",
    "Size": "SIZE",
    "Comment": "COMMENT",
}


class Row(Struct):
    type_name = "*image.historyContext"


def run(cli: Cli, flags: Flags, arguments: list[str]) -> None:
    human, whole = flags["human"], flags["no-trunc"]
    rows = [_row(layer, human, whole) for layer in cli.client.get(f"/images/{arguments[0]}/history")]
    if flags["quiet"]:
        for row in rows:
            cli.out(row["ID"])
        return
    columns = COLUMNS if human else ["ID", "CreatedAt", "CreatedBy", "Size", "Comment"]
    headers = HEADERS if human else HEADERS | {"CreatedAt": "CREATED AT"}
    show(cli, rows, columns, headers, flags["format"])


def _row(layer: dict[str, Any], human: bool, whole: bool) -> Row:
    identity = layer["Id"]
    created_at = _rfc3339(layer["Created"])
    command = layer["CreatedBy"].replace("\t", " ")
    return Row(
        ID=identity if whole or identity == "<missing>" else identity.removeprefix("sha256:")[:12],
        CreatedSince=lambda: (ago(layer["Created"]) or "N/A") if human else created_at,
        CreatedAt=created_at,
        CreatedBy=command if whole else ellipsis(command, 45),
        Size=human_size(layer["Size"], 3) if human else str(layer["Size"]),
        Comment=layer.get("Comment") or "",
    )


def _rfc3339(epoch: int) -> str:
    import time

    local = time.localtime(epoch)
    zone = time.strftime("%z", local)
    return time.strftime("%Y-%m-%dT%H:%M:%S", local) + ("Z" if zone == "+0000" else f"{zone[:3]}:{zone[3:]}")
