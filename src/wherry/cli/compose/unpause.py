"""`compose unpause`."""

from typing import Any

import click

from wherry.cli.compose.session import Session


@click.command()
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@click.pass_obj
def unpause(session: Session, services: tuple[str, ...]) -> None:
    """Unpause services."""
    from wherry.cli.compose.ordered import each
    from wherry.compose.steps import Observed

    _, project, observed = session.observed(services)
    chosen = Observed(tuple(one for one in observed.containers if one["State"] == "paused"))

    def act(container: dict[str, Any], name: str) -> None:
        session.progress(f"Container {name}", "Unpausing")
        if not session.options.dry:
            session.client.post(f"/containers/{container['Id']}/unpause")
        session.progress(f"Container {name}", "Unpaused", "done")

    each(session, project, chosen, act, "dependencies first")
    session.close()
