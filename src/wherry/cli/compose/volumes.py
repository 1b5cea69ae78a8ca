"""`compose volumes`."""

import click

from wherry.cli.compose.session import Session


@click.command()
@click.option("--format", "form", default="table", help="table, json, or a Go template.")
@click.option("-q", "--quiet", is_flag=True, help="Only display volume names.")
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@click.pass_obj
def volumes(session: Session, form: str, quiet: bool, services: tuple[str, ...]) -> None:
    """List volumes."""
    from wherry.cli.compose.listing import formatted
    from wherry.compose.names import PROJECT

    name, _, observed = session.observed(services)
    listed = session.client.get("/volumes", {"filters": {"label": [f"{PROJECT}={name}"]}})["Volumes"] or []
    if services:
        used = {mount.get("Name") for one in observed.containers for mount in one.get("Mounts") or ()}
        listed = [one for one in listed if one["Name"] in used]
    rows = [
        {
            "Driver": one["Driver"],
            "Name": one["Name"],
            "Mountpoint": one.get("Mountpoint", ""),
            "Scope": one.get("Scope", "local"),
            "Labels": ",".join(f"{key}={value}" for key, value in (one.get("Labels") or {}).items()),
        }
        for one in sorted(listed, key=lambda one: one["Name"])
    ]
    if quiet:
        click.echo("".join(f"{row['Name']}\n" for row in rows), nl=False)
    else:
        click.echo(formatted(rows, {"DRIVER": "Driver", "VOLUME NAME": "Name"}, form), nl=False)
