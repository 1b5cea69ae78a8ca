"""`compose build`."""

import click

from wherry.cli.compose.session import Session
from wherry.compose.errors import ComposeError


@click.command()
@click.option("--build-arg", "arguments", multiple=True, metavar="NAME=VALUE", help="Set build-time variables.")
@click.option("-m", "--memory", help="Set memory limit for the build container.")
@click.option("--no-cache", is_flag=True, help="Do not use cache when building the image.")
@click.option("--pull", is_flag=True, help="Always attempt to pull a newer version of the image.")
@click.option("--push", "push_after", is_flag=True, help="Push service images.")
@click.option("-q", "--quiet", is_flag=True, help="Suppress the build output.")
@click.option("--with-dependencies", is_flag=True, help="Also build dependencies (transitively).")
@click.option("--builder", hidden=True)
@click.option("--ssh", help="Not supported.")
@click.option("--progress", hidden=True)
@click.option("--print", "print_only", is_flag=True, help="Not supported.")
@click.option("--parallel", "_parallel", is_flag=True, hidden=True)
@click.option("--force-rm", is_flag=True, hidden=True)
@click.option("--no-rm", is_flag=True, hidden=True)
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@click.pass_obj
def build(
    session: Session,
    arguments: tuple[str, ...],
    memory: str | None,
    no_cache: bool,
    pull: bool,
    push_after: bool,
    quiet: bool,
    with_dependencies: bool,
    builder: str | None,
    ssh: str | None,
    progress: str | None,
    print_only: bool,
    _parallel: bool,
    force_rm: bool,
    no_rm: bool,
    services: tuple[str, ...],
) -> None:
    """Build or rebuild services."""
    from wherry.cli.compose.convergence import BuildOutput, silent_output
    from wherry.compose.build_wishes import with_context_services
    from wherry.compose.convert import size_bytes
    from wherry.compose.images import Images
    from wherry.compose.names import image_name
    from wherry.compose.plan import wanted_services
    from wherry.compose.steps import Step

    for option, given in (("--ssh", ssh), ("--print", print_only), ("--builder", builder)):
        if given:
            raise ComposeError(f"{option} is not supported: there is no BuildKit behind this builder")
    project = session.load(services)
    values: dict[str, str] = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if equals:
            values[name] = value
        elif name in project.environment:
            values[name] = project.environment[name]
    wanted = list(wanted_services(project, services, no_deps=not with_dependencies))
    chosen = [one for one in with_context_services(project, wanted) if project.services[one].get("build")]
    if not chosen:
        session.warn("No services to build")
        return
    options: dict[str, object] = {"args": values, "no_cache": no_cache, "pull": pull}
    if memory:
        try:
            options["memory"] = size_bytes(memory)
        except ValueError as error:
            raise ComposeError(str(error)) from None
    session.progress.title = "Building"
    maker = Images(
        session.client,
        project,
        session.progress,
        silent_output if quiet else BuildOutput(len(chosen) > 1),
        session.parallel,
        session.options.dry,
        options,
    )
    steps = {
        image_name(project, one): Step(f"build {one}", "build", image_name(project, one), "asked for", one)
        for one in chosen
    }
    maker.run(list(steps.values()))
    if push_after:
        for one in chosen:
            if project.services[one].get("image"):
                maker.push(one)
    session.close()
