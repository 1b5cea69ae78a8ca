"""`compose top`."""

import click

from wherry.cli.compose.session import Session


@click.command()
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@click.pass_obj
def top(session: Session, services: tuple[str, ...]) -> None:
    """Display the running processes."""
    from wherry.cli.compose.listing import table
    from wherry.compose.names import SERVICE
    from wherry.compose.steps import name_of, number_of

    _, _, observed = session.observed(services)
    rows: list[list[str]] = []
    for one in sorted(observed.containers, key=name_of):
        if one["State"] not in ("running", "paused"):
            continue
        found = session.client.get(f"/containers/{one['Id']}/top")
        if not rows:
            rows.append(["SERVICE", "#", *found["Titles"]])
        rows += [[one["Labels"][SERVICE], str(number_of(one)), *process] for process in found["Processes"]]
    click.echo(table(rows), nl=False)
