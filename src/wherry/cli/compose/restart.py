"""`compose restart`."""

from typing import Any

import click

from wherry.cli.compose.session import Session
from wherry.compose.names import SERVICE


@click.command()
@click.option("--no-deps", is_flag=True, help="Don't restart dependent services.")
@click.option("-t", "--timeout", type=int, default=None, help="Timeout in seconds for container shutdown.")
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@click.pass_obj
def restart(session: Session, no_deps: bool, timeout: int | None, services: tuple[str, ...]) -> None:
    """Restart service containers, and those that ask to restart with them."""
    from wherry.cli.compose.ordered import each
    from wherry.compose.observe import containers
    from wherry.compose.steps import Observed

    name, project = session.project_or_name(services)
    observed = Observed(tuple(containers(session.client, name)))
    wanted = set(services or observed.services)
    if project is not None and services and not no_deps:
        changed = True
        while changed:
            more = {
                service
                for service, definition in project.services.items()
                for other, how in (definition.get("depends_on") or {}).items()
                if other in wanted and how.get("restart")
            }
            changed = not more <= wanted
            wanted |= more
    chosen = Observed(tuple(one for one in observed.containers if one["Labels"].get(SERVICE) in wanted))
    acting = session.containers(project, timeout)

    def act(container: dict[str, Any], label: str) -> None:
        service = container["Labels"].get(SERVICE, "")
        session.progress(f"Container {label}", "Restarting")
        if not session.options.dry:
            if container["State"] == "running":
                acting.stop(container["Id"], service, quiet=True)
            acting.start(container["Id"], service, label, fresh=False)
        session.progress(f"Container {label}", "Started", "done")

    each(session, project, chosen, act, "dependencies first")
    session.close()
