"""A network of the API's list as a row of `docker network ls`."""

from __future__ import annotations

from wherry.cli.docker.listing import Struct
from wherry.cli.format.units import go_time, parse_time

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from typing import Any

COLUMNS = ["ID", "Name", "Driver", "Scope"]
HEADERS = {
    "ID": "NETWORK ID",
    "Name": "NAME",
    "Driver": "DRIVER",
    "Scope": "SCOPE",
    "IPv4": "IPV4",
    "IPv6": "IPV6",
    "Internal": "INTERNAL",
    "Labels": "LABELS",
    "CreatedAt": "CREATED AT",
}


class Row(Struct):
    type_name = "*network.networkContext"


def network_row(item: dict[str, Any], whole: bool) -> Row:
    labels = item.get("Labels") or {}
    return Row(
        ID=item["Id"] if whole else item["Id"][:12],
        Name=item["Name"],
        Driver=item["Driver"],
        Scope=item["Scope"],
        IPv4="true" if item.get("EnableIPv4") else "false",
        IPv6="true" if item.get("EnableIPv6") else "false",
        Internal="true" if item.get("Internal") else "false",
        Labels=",".join(f"{key}={labels[key]}" for key in sorted(labels)),
        Label=lambda name: labels.get(name, ""),
        CreatedAt=lambda: _created(item["Created"]),
    )


def _created(text: str) -> str:
    fraction = text.partition(".")[2].rstrip("Z").partition("+")[0].rstrip("0")
    return go_time(int(parse_time(text)), f".{fraction}" if fraction else "")
