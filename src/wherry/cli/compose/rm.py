"""`compose rm`."""

from typing import Any

import click

from wherry.cli.compose.session import Session


@click.command()
@click.option("-f", "--force", is_flag=True, help="Don't ask to confirm removal.")
@click.option("-s", "--stop", "stop_first", is_flag=True, help="Stop the containers, if required, before removing.")
@click.option("-v", "--volumes", is_flag=True, help="Remove any anonymous volumes attached to containers.")
@click.option("-a", "--all", "everything", is_flag=True, hidden=True)
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@click.pass_obj
def rm(
    session: Session, force: bool, stop_first: bool, volumes: bool, everything: bool, services: tuple[str, ...]
) -> None:
    """Removes stopped service containers."""
    from wherry.cli.compose.ordered import each
    from wherry.compose.names import SERVICE
    from wherry.compose.steps import Observed, name_of

    _, project, observed = session.observed(services)
    acting = session.containers(project)
    live = ("running", "paused", "restarting")
    chosen = [one for one in observed.containers if stop_first or one["State"] not in live]
    if not chosen:
        click.echo("No stopped containers", err=True)
        return
    if not force:
        listed = ", ".join(name_of(one) for one in chosen)
        click.echo(f"? Going to remove {listed}", err=True)
        if not click.confirm("Are you sure?", default=False, err=True):
            return

    def act(container: dict[str, Any], name: str) -> None:
        if session.options.dry:
            session.progress(f"Container {name}", "Removed", "done")
            return
        if container["State"] in live:
            acting.stop(container["Id"], container["Labels"].get(SERVICE, ""), name)
        acting.remove(container["Id"], name, volumes=volumes)

    each(session, project, Observed(tuple(chosen)), act, "dependents first")
    session.close()
