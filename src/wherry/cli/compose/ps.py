"""`compose ps`."""

from typing import Any

import click

from wherry.cli.compose.session import Session
from wherry.compose.errors import ComposeError

_STATES = ("paused", "restarting", "removing", "running", "dead", "created", "exited")


def ports(container: dict[str, Any]) -> str:
    """`0.0.0.0:8080->80/tcp, 81/tcp`."""
    shown = []
    for port in sorted(container.get("Ports") or (), key=lambda one: (one["PrivatePort"], one.get("IP", ""))):
        inside = f"{port['PrivatePort']}/{port['Type']}"
        host = port.get("IP", "")
        address = f"[{host}]" if ":" in host else host
        shown.append(f"{address}:{port['PublicPort']}->{inside}" if port.get("PublicPort") else inside)
    return ", ".join(dict.fromkeys(shown))


def row(container: dict[str, Any]) -> dict[str, Any]:
    """What `--format json` prints of a container."""
    from datetime import datetime

    from wherry.cli.format.units import ago
    from wherry.compose.names import PROJECT, SERVICE
    from wherry.compose.steps import name_of

    status = container["Status"]
    health = next((one for one in ("healthy", "unhealthy", "starting") if f"({one})" in status), "")
    if "(health: starting)" in status:
        health = "starting"
    code = status.partition("(")[2].partition(")")[0] if container["State"] == "exited" else "0"
    publishers = [
        {
            "URL": port.get("IP", ""),
            "TargetPort": port["PrivatePort"],
            "PublishedPort": port.get("PublicPort", 0),
            "Protocol": port["Type"],
        }
        for port in container.get("Ports") or ()
    ]
    labels = container["Labels"]
    created = datetime.fromtimestamp(container["Created"]).astimezone()
    return {
        "Command": f'"{container["Command"]}"',
        "CreatedAt": created.strftime("%Y-%m-%d %H:%M:%S %z %Z"),
        "ExitCode": int(code) if code.isdigit() else 0,
        "Health": health,
        "ID": container["Id"],
        "Image": container["Image"],
        "Labels": ",".join(f"{key}={value}" for key, value in labels.items()),
        "LocalVolumes": str(sum(one["Type"] == "volume" for one in container.get("Mounts") or ())),
        "Mounts": ",".join(one.get("Name") or one.get("Source", "") for one in container.get("Mounts") or ()),
        "Name": name_of(container),
        "Names": name_of(container),
        "Networks": ",".join((container.get("NetworkSettings") or {}).get("Networks") or {}),
        "Ports": ports(container),
        "Project": labels.get(PROJECT, ""),
        "Publishers": publishers,
        "RunningFor": ago(container["Created"]),
        "Service": labels.get(SERVICE, ""),
        "Size": "0B",
        "State": container["State"],
        "Status": status,
    }


@click.command()
@click.option("-a", "--all", "everything", is_flag=True, help="Show all stopped containers.")
@click.option("--filter", "filters", multiple=True, help="Filter services by a property (supported filters: status).")
@click.option("--format", "form", default="table", help="table, json, or a Go template.")
@click.option("--no-trunc", is_flag=True, help="Don't truncate output.")
@click.option("--orphans/--no-orphans", default=True, help="Include orphaned services (not declared by project).")
@click.option("-q", "--quiet", is_flag=True, help="Only display IDs.")
@click.option("--services", "names_only", is_flag=True, help="Display services.")
@click.option("--status", "states", multiple=True, help="Filter services by status.")
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@click.pass_obj
def ps(
    session: Session,
    everything: bool,
    filters: tuple[str, ...],
    form: str,
    no_trunc: bool,
    orphans: bool,
    quiet: bool,
    names_only: bool,
    states: tuple[str, ...],
    services: tuple[str, ...],
) -> None:
    """List containers."""
    from wherry.compose.names import SERVICE
    from wherry.compose.plan import orphans as orphans_of
    from wherry.compose.steps import name_of

    wanted = list(states)
    for text in filters:
        key, _, value = text.partition("=")
        if key != "status":
            raise ComposeError(f"unknown filter {key}")
        wanted.append(value)
    for state in wanted:
        if state not in _STATES:
            raise ComposeError(f"unknown status {state!r}: it is one of {', '.join(_STATES)}")
    _, project, observed = session.observed(services)
    strangers = {one["Id"] for one in orphans_of(project, observed)} if project and not orphans else set()
    shown = [
        one
        for one in sorted(observed.containers, key=name_of)
        if one["Id"] not in strangers
        and (one["State"] in wanted if wanted else everything or one["State"] in ("running", "paused", "restarting"))
    ]
    if names_only:
        click.echo("".join(f"{one}\n" for one in dict.fromkeys(one["Labels"][SERVICE] for one in shown)), nl=False)
    elif quiet:
        click.echo("".join(f"{one['Id']}\n" for one in shown), nl=False)
    else:
        click.echo(render(shown, form, no_trunc=no_trunc), nl=False)


def render(shown: list[dict[str, Any]], form: str, *, no_trunc: bool) -> str:
    from wherry.cli.compose.listing import formatted

    rows = []
    for container in shown:
        found = row(container)
        command = container["Command"]
        found["Command"] = f'"{command}"' if no_trunc or len(command) <= 20 else f'"{command[:19]}…"'
        if not no_trunc:
            found["ID"] = found["ID"][:12]
        rows.append(found)
    columns = {
        "NAME": "Name",
        "IMAGE": "Image",
        "COMMAND": "Command",
        "SERVICE": "Service",
        "CREATED": "RunningFor",
        "STATUS": "Status",
        "PORTS": "Ports",
    }
    return formatted(rows, columns, form)
