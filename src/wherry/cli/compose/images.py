"""`compose images`."""

import json

import click

from wherry.cli.compose.session import Session


@click.command()
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table")
@click.option("-q", "--quiet", is_flag=True, help="Only display IDs.")
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@click.pass_obj
def images(session: Session, form: str, quiet: bool, services: tuple[str, ...]) -> None:
    """List images used by the created containers."""
    from wherry.cli.compose.listing import formatted
    from wherry.cli.format.units import ago, human_size, parse_time
    from wherry.compose.images import split_reference
    from wherry.compose.observe import image_or_none
    from wherry.compose.steps import name_of

    _, _, observed = session.observed(services)
    rows = []
    for one in sorted(observed.containers, key=name_of):
        image = image_or_none(session.client, one["ImageID"]) or {}
        repository, tag = split_reference(one["Image"])
        platform = "/".join(part for part in (image.get("Os"), image.get("Architecture"), image.get("Variant")) if part)
        created = image.get("Created") or ""
        rows.append(
            {
                "ID": one["ImageID"],
                "ContainerName": name_of(one),
                "Repository": "<none>" if one["Image"].startswith("sha256:") else repository,
                "Tag": "<none>" if one["Image"].startswith("sha256:") else tag,
                "Platform": platform,
                "Size": image.get("Size", 0),
                "Created": created,
            }
        )
    if quiet:
        found = dict.fromkeys(row["ID"].removeprefix("sha256:") for row in rows)
        click.echo("".join(f"{one}\n" for one in found), nl=False)
    elif form == "json":
        click.echo(json.dumps(rows, separators=(",", ":")))
    else:
        for row in rows:
            row["ID"] = row["ID"].removeprefix("sha256:")[:12]
            row["Size"] = human_size(row["Size"], 3)
            row["Created"] = ago(parse_time(row["Created"])) if row["Created"] else "N/A"
        columns = {
            "CONTAINER": "ContainerName",
            "REPOSITORY": "Repository",
            "TAG": "Tag",
            "PLATFORM": "Platform",
            "IMAGE ID": "ID",
            "SIZE": "Size",
            "CREATED": "Created",
        }
        click.echo(formatted(rows, columns, "table"), nl=False)
