"""The same thing done to many containers, dependents first or dependencies first."""

from collections.abc import Callable
from typing import Any, Literal

from wherry.cli.compose.session import Session
from wherry.compose import graph, names
from wherry.compose.observe import containers
from wherry.compose.project import Project
from wherry.compose.steps import Observed, name_of
from wherry.compose.teardown import stop_order

Order = Literal["dependents first", "dependencies first", "any"]


def each(
    session: Session,
    project: Project | None,
    observed: Observed,
    act: Callable[[dict[str, Any], str], None],
    order: Order = "any",
) -> None:
    """Calls `act(container, name)` for each container, in parallel as far as the order lets it."""
    before = stop_order(project, observed) if order != "any" else {}
    if order == "dependencies first":
        turned: dict[str, list[str]] = {service: [] for service in before}
        for service, dependents in before.items():
            for dependent in dependents:
                turned[dependent].append(service)
        before = turned
    by_service: dict[str, list[str]] = {}
    for container in observed.containers:
        by_service.setdefault(container["Labels"].get(names.SERVICE, ""), []).append(container["Id"])
    tasks = []
    for container in observed.containers:
        service = container["Labels"].get(names.SERVICE, "")
        after = [one for other in before.get(service, ()) for one in by_service.get(other, ())]
        run = lambda container=container: act(container, name_of(container))  # noqa: E731
        tasks.append(graph.Task(container["Id"], run, after))
    graph.run(tasks, session.parallel)


def stop_all(session: Session, project: Project, timeout: int | None) -> None:
    """Stops what runs of a project, dependents first."""
    observed = Observed(tuple(containers(session.client, project.name, running=True)))
    stopper = session.containers(project, timeout)
    session.progress.title = "Stopping"

    def stop(container: dict[str, Any], name: str) -> None:
        stopper.stop(container["Id"], container["Labels"].get(names.SERVICE, ""), name)

    each(session, project, observed, stop, "dependents first")
    session.close()
