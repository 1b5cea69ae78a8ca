"""`compose ls`."""

import json

import click

from wherry.cli.compose.session import Session
from wherry.compose.errors import ComposeError


@click.command()
@click.option("-a", "--all", "everything", is_flag=True, help="Show all stopped Compose projects.")
@click.option("--filter", "filters", multiple=True, help="Filter output based on conditions provided (name).")
@click.option("--format", "form", type=click.Choice(["table", "pretty", "json"]), default="table")
@click.option("-q", "--quiet", is_flag=True, help="Only display project names.")
@click.pass_obj
def ls(session: Session, everything: bool, filters: tuple[str, ...], form: str, quiet: bool) -> None:
    """List running compose projects."""
    from wherry.cli.compose.listing import formatted
    from wherry.compose.names import CONFIG_FILES
    from wherry.compose.observe import project_names

    wanted = []
    for text in filters:
        key, _, value = text.partition("=")
        if key != "name":
            raise ComposeError(f"unknown filter {key}")
        wanted.append(value)
    rows = []
    for name, containers in sorted(project_names(session.client).items()):
        states = sorted(one["State"] for one in containers)
        if not everything:
            states = [one for one in states if one not in ("exited", "created", "dead")]
        if not states or (wanted and not any(one in name for one in wanted)):
            continue
        counted = ", ".join(f"{state}({states.count(state)})" for state in dict.fromkeys(states))
        files = ",".join(dict.fromkeys(one["Labels"].get(CONFIG_FILES, "") for one in containers))
        rows.append({"Name": name, "Status": counted, "ConfigFiles": files})
    if quiet:
        click.echo("".join(f"{row['Name']}\n" for row in rows), nl=False)
    elif form == "json":
        click.echo(json.dumps(rows, separators=(",", ":")))
    else:
        click.echo(
            formatted(rows, {"NAME": "Name", "STATUS": "Status", "CONFIG FILES": "ConfigFiles"}, "table"), nl=False
        )
