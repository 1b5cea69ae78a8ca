"""`compose wait`."""

import queue
import threading

import click

from wherry.cli.compose.session import Session
from wherry.compose.errors import ComposeError


@click.command()
@click.option("--down-project", is_flag=True, help="Drops project when the first container stops.")
@click.argument("services", nargs=-1, required=True, metavar="SERVICE [SERVICE...]")
@click.pass_context
def wait(context: click.Context, down_project: bool, services: tuple[str, ...]) -> None:
    """Block until containers of all (or specified) services stop."""
    from wherry.compose.conditions import wait_completed
    from wherry.docker_api.client import DockerError

    session: Session = context.obj
    name, project, observed = session.observed(services)
    chosen = [one for service in services for one in observed.of_service(service)]
    if not chosen:
        raise ComposeError(f'no containers for project "{name}"')
    ended: queue.SimpleQueue[int | DockerError] = queue.SimpleQueue()

    def watch(container: str) -> None:
        try:
            ended.put(wait_completed(session.client, container))
        except DockerError as error:
            ended.put(error)

    for one in chosen:
        threading.Thread(target=watch, args=(one["Id"],), daemon=True).start()
    code = 0
    for _ in chosen:
        result = ended.get()
        if isinstance(result, DockerError):
            raise result
        click.echo(str(result))
        code = result
        if down_project:
            break
    if down_project:
        from wherry.compose.apply import Applier
        from wherry.compose.observe import observe
        from wherry.compose.teardown import TeardownWishes, plan_down

        steps = plan_down(name, project, observe(session.client, name, project), TeardownWishes())
        Applier(session.client, project, session.containers(project), session.progress).run(steps)
    session.close()
    context.exit(code)
