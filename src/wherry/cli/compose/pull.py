"""`compose pull`."""

import click

from wherry.cli.compose.session import Session
from wherry.compose.errors import ComposeError


@click.command()
@click.option("--ignore-buildable", is_flag=True, help="Ignore images that can be built.")
@click.option("--ignore-pull-failures", is_flag=True, help="Pull what it can and ignore failures.")
@click.option("--include-deps", is_flag=True, help="Also pull services declared as dependencies.")
@click.option("--policy", type=click.Choice(["missing", "always"]), help="Apply pull policy.")
@click.option("-q", "--quiet", is_flag=True, help="Pull without printing progress information.")
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@click.pass_obj
def pull(
    session: Session,
    ignore_buildable: bool,
    ignore_pull_failures: bool,
    include_deps: bool,
    policy: str | None,
    quiet: bool,
    services: tuple[str, ...],
) -> None:
    """Pull service images."""
    from wherry.compose import graph
    from wherry.compose.images import Images
    from wherry.compose.names import image_name
    from wherry.compose.observe import images as present
    from wherry.compose.plan import wanted_services
    from wherry.compose.report import silent

    project = session.load(services)
    chosen: dict[str, str] = {}
    for service in wanted_services(project, services, no_deps=not include_deps):
        definition = project.services[service]
        image = image_name(project, service)
        if definition.get("build") and (ignore_buildable or not definition.get("image")):
            session.progress(service, "Skipped - No image to be pulled", "warning")
        elif definition.get("pull_policy") in ("never", "build"):
            session.progress(service, f"Skipped - pull_policy: {definition['pull_policy']}", "warning")
        elif image in chosen.values():
            session.progress(service, f"Skipped - Image is already being pulled by {next(iter(chosen))}", "done")
        else:
            chosen[service] = image
    if policy == "missing" or policy is None:
        there = present(session.client, chosen.values())
        for service, image in list(chosen.items()):
            missing_only = policy == "missing" or project.services[service].get("pull_policy") == "missing"
            if missing_only and image in there:
                del chosen[service]
                session.progress(service, "Skipped - Image is already present locally", "done")
    session.progress.title = "Pulling"
    puller = Images(
        session.client, project, silent if quiet else session.progress, parallel=session.parallel,
        dry=session.options.dry,
    )  # fmt: skip

    def act(service: str) -> None:
        try:
            puller.pull(service)
        except ComposeError as error:
            if not ignore_pull_failures:
                raise
            session.warn(str(error))

    graph.run([graph.Task(one, lambda one=one: act(one)) for one in chosen], session.parallel)  # type: ignore[misc]
    session.close()
