"""`compose stats`."""

from typing import Any

import click

from wherry.cli.compose.session import Session


def row(name: str, identity: str, service: str, now: dict[str, Any], before: dict[str, Any]) -> dict[str, str]:
    """One container's use, as `docker stats` counts it."""
    from wherry.cli.format.units import bytes_size, human_size

    cpu, earlier = now.get("cpu_stats") or {}, before.get("cpu_stats") or {}
    used = (cpu.get("cpu_usage") or {}).get("total_usage", 0) - (earlier.get("cpu_usage") or {}).get("total_usage", 0)
    passed = cpu.get("system_cpu_usage", 0) - earlier.get("system_cpu_usage", 0)
    share = used / passed * (cpu.get("online_cpus") or 1) * 100 if passed > 0 and used > 0 else 0.0
    memory = now.get("memory_stats") or {}
    details = memory.get("stats") or {}
    inactive = details.get("total_inactive_file", details.get("inactive_file", 0))
    working = max(0, memory.get("usage", 0) - inactive)
    limit = memory.get("limit", 0)
    networks = (now.get("networks") or {}).values()
    blocks = (now.get("blkio_stats") or {}).get("io_service_bytes_recursive") or []
    read = sum(one["value"] for one in blocks if one["op"].lower() == "read")
    written = sum(one["value"] for one in blocks if one["op"].lower() == "write")
    received, sent = sum(one["rx_bytes"] for one in networks), sum(one["tx_bytes"] for one in networks)
    return {
        "ID": identity[:12],
        "Container": identity[:12],
        "Name": name,
        "Service": service,
        "CPUPerc": f"{share:.2f}%",
        "MemUsage": f"{bytes_size(working)} / {bytes_size(limit)}",
        "MemPerc": f"{working / limit * 100 if limit else 0:.2f}%",
        "NetIO": f"{human_size(received, 3)} / {human_size(sent, 3)}",
        "BlockIO": f"{human_size(read, 3)} / {human_size(written, 3)}",
        "PIDs": str((now.get("pids_stats") or {}).get("current", 0)),
    }


@click.command()
@click.option("-a", "--all", "everything", is_flag=True, help="Show all containers (default shows just running).")
@click.option("--format", "form", default="table", help="table, json, or a Go template.")
@click.option("--no-stream", is_flag=True, help="Disable streaming stats and only pull the first result.")
@click.option("--no-trunc", is_flag=True, hidden=True)
@click.argument("service", required=False)
@click.pass_obj
def stats(session: Session, everything: bool, form: str, no_stream: bool, no_trunc: bool, service: str | None) -> None:
    """Display a live stream of container(s) resource usage statistics."""
    import threading

    from wherry.cli.compose.listing import formatted
    from wherry.compose import graph
    from wherry.compose.names import SERVICE
    from wherry.compose.steps import name_of

    columns = {
        "CONTAINER ID": "ID",
        "NAME": "Name",
        "CPU %": "CPUPerc",
        "MEM USAGE / LIMIT": "MemUsage",
        "MEM %": "MemPerc",
        "NET I/O": "NetIO",
        "BLOCK I/O": "BlockIO",
        "PIDS": "PIDs",
    }
    before: dict[str, dict[str, Any]] = {}
    pause = threading.Event()
    for number in range(2 if no_stream else 10**9):
        _, _, observed = session.observed([service] if service else [])
        shown = [one for one in observed.containers if everything or one["State"] == "running"]
        now: dict[str, dict[str, Any]] = {}

        def sample(identity: str, found: dict[str, dict[str, Any]]) -> None:
            found[identity] = session.client.get(f"/containers/{identity}/stats", {"stream": False, "one-shot": True})

        graph.run([graph.Task(one["Id"], lambda one=one, now=now: sample(one["Id"], now)) for one in shown])  # type: ignore[misc]
        rows = [
            row(name_of(one), one["Id"], one["Labels"].get(SERVICE, ""), now[one["Id"]], before.get(one["Id"], {}))
            for one in sorted(shown, key=name_of)
        ]
        if number or not no_stream:
            clear = "" if no_stream or not session.colour() else "\x1b[H\x1b[J"
            click.echo(clear + formatted(rows, columns, form), nl=False)
        before = now
        if not (no_stream and number):
            pause.wait(1.0)
