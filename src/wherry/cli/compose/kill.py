"""`compose kill`."""

from typing import Any

import click

from wherry.cli.compose.session import Session


@click.command()
@click.option("--remove-orphans", is_flag=True, help="Remove containers for services not defined in the file.")
@click.option("-s", "--signal", default="SIGKILL", help="SIGNAL to send to the container.")
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@click.pass_obj
def kill(session: Session, remove_orphans: bool, signal: str, services: tuple[str, ...]) -> None:
    """Force stop service containers."""
    from wherry.cli.compose.ordered import each
    from wherry.compose.plan import orphans
    from wherry.compose.steps import Observed

    _, project, observed = session.observed(services)
    running = Observed(tuple(one for one in observed.containers if one["State"] in ("running", "paused", "restarting")))

    def act(container: dict[str, Any], name: str) -> None:
        session.progress(f"Container {name}", "Killing")
        if not session.options.dry:
            session.client.post(f"/containers/{container['Id']}/kill", {"signal": signal})
        session.progress(f"Container {name}", "Killed", "done")

    each(session, project, running, act)
    if remove_orphans and project is not None:
        for one in orphans(project, observed):
            session.containers(project).remove(one["Id"], one["Names"][0][1:])
    session.close()
