"""`compose start`."""

import click

from wherry.cli.compose.session import Session
from wherry.compose.errors import ComposeError


@click.command()
@click.option("--wait", is_flag=True, help="Wait for services to be running|healthy.")
@click.option("--wait-timeout", type=int, default=None, help="Maximum duration in seconds to wait.")
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@click.pass_obj
def start(session: Session, wait: bool, wait_timeout: int | None, services: tuple[str, ...]) -> None:
    """Start services."""
    from wherry.cli.compose.convergence import Convergence
    from wherry.compose.apply import Applier
    from wherry.compose.observe import containers
    from wherry.compose.plan import wanted_services
    from wherry.compose.project import Project
    from wherry.compose.steps import Observed, Step, name_of, number_of

    name, project = session.project_or_name(services)
    observed = Observed(tuple(containers(session.client, name)))
    order = wanted_services(project, services) if project else list(observed.services)
    steps: list[Step] = []
    for service in order:
        if not observed.of_service(service):
            if not services or service in services:
                raise ComposeError(f'service "{service}" has no container to start')
            continue
        needed = set(project.dependencies(service)) if project else set()
        after = tuple(step.id for step in steps if step.service in needed)
        for one in observed.of_service(service):
            if project is None and services and service not in services:
                continue
            action = "keep" if one["State"] == "running" else "start"
            label, number = name_of(one), number_of(one)
            steps.append(
                Step(f"{service} {number}", "keep" if action == "keep" else "start", label, f"it is {one['State']}",
                     service, number, one["Id"], after=after)
            )  # fmt: skip
    acting = session.containers(project)
    applier = Applier(
        session.client, project, acting, session.progress, dry=session.options.dry, parallel=session.parallel
    )
    applier.run([step for step in steps if step.action == "start"] if not wait else steps)
    if wait and isinstance(project, Project):
        convergence = Convergence(session, project)
        convergence.containers = acting
        convergence.wait_ready(wait_timeout)
    session.close()
