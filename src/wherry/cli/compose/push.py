"""`compose push`."""

import click

from wherry.cli.compose.session import Session
from wherry.compose.errors import ComposeError


@click.command()
@click.option("--ignore-push-failures", is_flag=True, help="Push what it can and ignore failures.")
@click.option("--include-deps", is_flag=True, help="Also push images of services declared as dependencies.")
@click.option("-q", "--quiet", is_flag=True, help="Push without printing progress information.")
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@click.pass_obj
def push(
    session: Session, ignore_push_failures: bool, include_deps: bool, quiet: bool, services: tuple[str, ...]
) -> None:
    """Push service images."""
    from wherry.compose import graph
    from wherry.compose.images import Images
    from wherry.compose.plan import wanted_services
    from wherry.compose.report import silent

    project = session.load(services)
    wanted = wanted_services(project, services, no_deps=not include_deps)
    chosen = [one for one in wanted if project.services[one].get("build") and project.services[one].get("image")]
    session.progress.title = "Pushing"
    pusher = Images(
        session.client, project, silent if quiet else session.progress, parallel=session.parallel,
        dry=session.options.dry,
    )  # fmt: skip

    def act(service: str) -> None:
        try:
            pusher.push(service)
        except ComposeError as error:
            if not ignore_push_failures:
                raise
            session.warn(str(error))

    graph.run([graph.Task(one, lambda one=one: act(one)) for one in chosen], session.parallel)  # type: ignore[misc]
    session.close()
