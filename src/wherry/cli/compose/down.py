"""`compose down`."""

import click

from wherry.cli.compose.session import Session
from wherry.compose.errors import ComposeError


@click.command()
@click.option("--remove-orphans", is_flag=True, help="Remove containers for services not defined in the file.")
@click.option("--rmi", type=click.Choice(["local", "all"]), help="Remove images used by services.")
@click.option("-t", "--timeout", type=int, default=None, help="Timeout in seconds for container shutdown.")
@click.option("-v", "--volumes", is_flag=True, help="Remove named volumes of the file, and anonymous ones.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@click.pass_obj
def down(
    session: Session,
    remove_orphans: bool,
    rmi: str | None,
    timeout: int | None,
    volumes: bool,
    dry_run: bool,
    services: tuple[str, ...],
) -> None:
    """Stop and remove containers, networks."""
    from wherry.compose.apply import Applier
    from wherry.compose.observe import observe
    from wherry.compose.teardown import TeardownWishes, plan_down

    name, project = session.project_or_name(services)
    wanted = list(project.services) if project and rmi else []
    observed = observe(session.client, name, project, wanted)
    if rmi and project is None:
        raise ComposeError("--rmi needs the Compose file: only it says which images the services use")
    dry = session.options.dry or dry_run
    wishes = TeardownWishes(
        services=services,
        volumes=volumes,
        remove_orphans=remove_orphans or session.environment.get("COMPOSE_REMOVE_ORPHANS", "") in ("1", "true"),
        images="all" if rmi == "all" else "local" if rmi else "",
    )
    steps = plan_down(name, project, observed, wishes)
    if not steps:
        session.warn("No resource found to remove for project " + f'"{name}".')
        return
    containers = session.containers(project, timeout)
    session.progress.dry = dry
    Applier(session.client, project, containers, session.progress, dry=dry, parallel=session.parallel).run(steps)
    session.close()
