"""`compose stop`."""

from typing import Any

import click

from wherry.cli.compose.session import Session


@click.command()
@click.option("-t", "--timeout", type=int, default=None, help="Timeout in seconds for container shutdown.")
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@click.pass_obj
def stop(session: Session, timeout: int | None, services: tuple[str, ...]) -> None:
    """Stop services."""
    from wherry.cli.compose.ordered import each
    from wherry.compose.steps import Observed

    _, project, observed = session.observed(services)
    running = Observed(tuple(one for one in observed.containers if one["State"] not in ("exited", "created", "dead")))
    stopper = session.containers(project, timeout)

    def act(container: dict[str, Any], name: str) -> None:
        if session.options.dry:
            session.progress(f"Container {name}", "Stopped", "done")
        else:
            stopper.stop(container["Id"], container["Labels"].get("com.docker.compose.service", ""), name)

    each(session, project, running, act, "dependents first")
    session.close()
