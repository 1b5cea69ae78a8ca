"""`docker system df`."""

from __future__ import annotations

from wherry.cli.docker.container.rows import container_row
from wherry.cli.docker.image.rows import image_rows
from wherry.cli.docker.listing import Struct, row_json, show, value_of
from wherry.cli.docker.volume.ls import volume_row
from wherry.cli.format.table import render
from wherry.cli.format.units import ago, ellipsis, human_size, parse_time

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "[OPTIONS]"
ARGUMENTS = (0, 0)
FLAGS = """
  format string    Print by this: table, json, table TEMPLATE, or a Go template
v,verbose          List everything that takes space
"""
COLUMNS = ["Type", "TotalCount", "Active", "Size", "Reclaimable"]
HEADERS = {
    "Type": "TYPE",
    "TotalCount": "TOTAL",
    "Active": "ACTIVE",
    "Size": "SIZE",
    "Reclaimable": "RECLAIMABLE",
}


class Row(Struct):
    type_name = "*formatter.diskUsageContext"


def run(cli: Cli, flags: Flags, arguments: list[str]) -> None:
    usage = cli.client.get("/system/df")
    if flags["verbose"]:
        _verbose(cli, usage, flags["format"])
        return
    rows = [_images(usage), _containers(usage), _volumes(usage), _cache(usage)]
    show(cli, rows, COLUMNS, HEADERS, flags["format"])


def _row(kind: str, total: int, active: int, size: float, reclaimable: float, *, share: bool = True) -> Row:
    percent = f" ({int(reclaimable * 100 / size)}%)" if share and size > 0 else ""
    return Row(
        Type=kind,
        TotalCount=str(total),
        Active=str(active),
        Size=human_size(size),
        Reclaimable=human_size(reclaimable) + percent,
    )


def _images(usage: dict[str, Any]) -> Row:
    images = usage.get("Images") or []
    used = sum(one["Size"] - max(one.get("SharedSize", 0), 0) for one in images if one["Containers"] > 0)
    size = usage.get("LayersSize") or 0
    active = sum(1 for one in images if one["Containers"] > 0)
    return _row("Images", len(images), active, size, size - used)


def _containers(usage: dict[str, Any]) -> Row:
    containers = usage.get("Containers") or []
    live = [one for one in containers if one["State"].split(" ")[0] in ("running", "paused", "restarting")]
    size = sum(one.get("SizeRw") or 0 for one in containers)
    return _row("Containers", len(containers), len(live), size, size - sum(one.get("SizeRw") or 0 for one in live))


def _volumes(usage: dict[str, Any]) -> Row:
    volumes = usage.get("Volumes") or []
    used = [one for one in volumes if one["UsageData"]["RefCount"] > 0]
    size = sum(max(one["UsageData"]["Size"], 0) for one in volumes)
    free = sum(max(one["UsageData"]["Size"], 0) for one in volumes if one["UsageData"]["RefCount"] == 0)
    return _row("Local Volumes", len(volumes), len(used), size, free)


def _cache(usage: dict[str, Any]) -> Row:
    entries = usage.get("BuildCache") or []
    size = sum(one["Size"] for one in entries if not one.get("Shared"))
    used = sum(one["Size"] for one in entries if one["InUse"] and not one.get("Shared"))
    active = sum(1 for one in entries if one["InUse"])
    return _row("Build Cache", len(entries), active, size, size - used, share=False)


def _verbose(cli: Cli, usage: dict[str, Any], form: str) -> None:
    images = [
        row
        for item in sorted(usage.get("Images") or [], key=lambda item: -item["Created"])
        for row in image_rows(item, False, False)[:1]
    ]
    containers = [container_row({**item, "SizeRootFs": 0}, False) for item in usage.get("Containers") or []]
    volumes = [volume_row(item) for item in usage.get("Volumes") or []]
    cache = usage.get("BuildCache") or []
    if form == "json":
        parts = []
        for name, rows in (("Images", images), ("Containers", containers), ("Volumes", volumes)):
            parts.append(f'"{name}":[' + ",".join(_plain(row) for row in rows) + "]")
        cli.out(
            "{" + ",".join([*parts, '"BuildCache":[' + ",".join(_plain(_cache_row(one)) for one in cache) + "]"]) + "}"
        )
        return
    sections: list[tuple[str, list[str], list[str], list[Any]]] = [
        (
            "Images space usage:",
            ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE", "SHARED SIZE", "UNIQUE SIZE", "CONTAINERS"],
            ["Repository", "Tag", "ID", "CreatedSince", "Size", "SharedSize", "UniqueSize", "Containers"],
            list(images),
        ),
        (
            "Containers space usage:",
            ["CONTAINER ID", "IMAGE", "COMMAND", "LOCAL VOLUMES", "SIZE", "CREATED", "STATUS", "NAMES"],
            ["ID", "Image", "Command", "LocalVolumes", "Size", "RunningFor", "Status", "Names"],
            list(containers),
        ),
        ("Local Volumes space usage:", ["VOLUME NAME", "LINKS", "SIZE"], ["Name", "Links", "Size"], list(volumes)),
    ]
    for title, heads, names, rows in sections:
        cli.out(f"{title}\n")
        cli.out(render([heads, *([str(value_of(row, name)) for name in names] for row in rows)]))
    size = sum(one["Size"] for one in cache if not one.get("Shared"))
    cli.out(f"Build cache usage: {human_size(size)}\n")
    heads = ["CACHE ID", "CACHE TYPE", "SIZE", "CREATED", "LAST USED", "USAGE", "SHARED"]
    names = ["ID", "CacheType", "Size", "CreatedSince", "LastUsedSince", "UsageCount", "Shared"]
    cli.out(render([heads, *([str(_cache_row(one)[name]) for name in names] for one in cache)])[:-1])


def _plain(row: Struct) -> str:
    return row_json(row, [name for name in row if name != "Label"])


def _cache_row(one: dict[str, Any]) -> Struct:
    used = one.get("LastUsedAt")
    return Struct(
        ID=ellipsis(one["ID"], 12).rstrip("…")[:12] + ("*" if one["InUse"] else ""),
        CacheType=one["Type"],
        Size=human_size(one["Size"], 3),
        CreatedSince=ago(parse_time(one["CreatedAt"])),
        LastUsedSince=ago(parse_time(used)) if used else "",
        UsageCount=str(one["UsageCount"]),
        Shared="true" if one.get("Shared") else "false",
    )
