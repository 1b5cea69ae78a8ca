"""`compose pause`."""

from typing import Any

import click

from wherry.cli.compose.session import Session


@click.command()
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@click.pass_obj
def pause(session: Session, services: tuple[str, ...]) -> None:
    """Pause services."""
    from wherry.cli.compose.ordered import each
    from wherry.compose.steps import Observed

    _, project, observed = session.observed(services)
    chosen = Observed(tuple(one for one in observed.containers if one["State"] == "running"))

    def act(container: dict[str, Any], name: str) -> None:
        session.progress(f"Container {name}", "Pausing")
        if not session.options.dry:
            session.client.post(f"/containers/{container['Id']}/pause")
        session.progress(f"Container {name}", "Paused", "done")

    each(session, project, chosen, act, "dependents first")
    session.close()
