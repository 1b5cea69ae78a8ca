"""`docker stats`."""

from __future__ import annotations

import sys
import time

from wherry.cli.docker.listing import Struct, show
from wherry.cli.format.units import bytes_size, human_size

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "[OPTIONS] [CONTAINER...]"
ARGUMENTS = (0, None)
FLAGS = """
a,all              Also containers that do not run
  format string    Print by this: table, json, table TEMPLATE, or a Go template
  no-stream        Show them once
  no-trunc         Whole ids
"""
COLUMNS = ["ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"]
HEADERS = {
    "Container": "CONTAINER",
    "ID": "CONTAINER ID",
    "Name": "NAME",
    "CPUPerc": "CPU %",
    "MemUsage": "MEM USAGE / LIMIT",
    "MemPerc": "MEM %",
    "NetIO": "NET I/O",
    "BlockIO": "BLOCK I/O",
    "PIDs": "PIDS",
}


class Row(Struct):
    type_name = "*container.statsContext"


def run(cli: Cli, flags: Flags, arguments: list[str]) -> None:
    form = flags["format"] or str(cli.config.values.get("statsFormat") or "")
    # All at once: the engine needs a second per answer to know how busy a CPU was.
    from concurrent.futures import ThreadPoolExecutor

    from wherry.docker_api.client import DockerError

    for name in arguments:
        cli.client.get(f"/containers/{name}/json")
    with ThreadPoolExecutor(32) as pool:
        while True:
            started = time.monotonic()
            names = arguments or [
                item["Id"][:12] for item in cli.client.get("/containers/json", {"all": flags["all"] or None}) or []
            ]

            def one(name: str) -> Row | None:
                try:
                    return stats_row(
                        name, cli.client.get(f"/containers/{name}/stats", {"stream": False}), flags["no-trunc"]
                    )
                except DockerError:
                    return None  # gone in the meantime

            rows = [row for row in pool.map(one, names) if row is not None]
            if not flags["no-stream"] and sys.stdout.isatty():
                sys.stdout.write("\x1b[H\x1b[J")
            show(cli, rows, COLUMNS, HEADERS, form)
            sys.stdout.flush()
            if flags["no-stream"]:
                return
            time.sleep(max(0.0, 1.0 - (time.monotonic() - started)))


def stats_row(name: str, stats: dict[str, Any], whole: bool) -> Row:
    """The API's answer as `--format` sees it."""
    memory, used, limit = stats.get("memory_stats") or {}, 0, 0
    if memory:
        extra = memory.get("stats") or {}
        inactive = extra.get("total_inactive_file", extra.get("inactive_file", 0))
        used = memory.get("usage", 0)
        used = used - inactive if inactive < used else used
        limit = memory.get("limit", 0)
    received = sum(one["rx_bytes"] for one in (stats.get("networks") or {}).values())
    sent = sum(one["tx_bytes"] for one in (stats.get("networks") or {}).values())
    read = written = 0
    for entry in (stats.get("blkio_stats") or {}).get("io_service_bytes_recursive") or []:
        kind = entry["op"][:1].lower()
        read += entry["value"] if kind == "r" else 0
        written += entry["value"] if kind == "w" else 0
    identity = stats.get("id") or name
    return Row(
        Container=name,
        ID=identity if whole else identity[:12],
        Name=str(stats.get("name") or "--").removeprefix("/"),
        CPUPerc=f"{_cpu(stats):.2f}%",
        MemUsage=f"{bytes_size(used)} / {bytes_size(limit)}",
        MemPerc=f"{used / limit * 100 if limit else 0:.2f}%",
        NetIO=f"{human_size(received, 3)} / {human_size(sent, 3)}",
        BlockIO=f"{human_size(read, 3)} / {human_size(written, 3)}",
        PIDs=str((stats.get("pids_stats") or {}).get("current", 0)),
    )


def _cpu(stats: dict[str, Any]) -> float:
    now, before = stats.get("cpu_stats") or {}, stats.get("precpu_stats") or {}
    used = (now.get("cpu_usage") or {}).get("total_usage", 0) - (before.get("cpu_usage") or {}).get("total_usage", 0)
    passed = now.get("system_cpu_usage", 0) - before.get("system_cpu_usage", 0)
    count = now.get("online_cpus") or len((now.get("cpu_usage") or {}).get("percpu_usage") or []) or 1
    return used / passed * count * 100.0 if passed > 0 and used > 0 else 0.0
