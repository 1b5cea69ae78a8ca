"""`compose create`."""

import click

from wherry.cli.compose.session import Session
from wherry.compose.errors import ComposeError


@click.command()
@click.option("--build/--no-build", "build", default=None, help="Build images before creating; or never.")
@click.option("--force-recreate", is_flag=True, help="Recreate containers even if nothing changed.")
@click.option("--no-recreate", is_flag=True, help="If containers already exist, don't recreate them.")
@click.option("--pull", type=click.Choice(["always", "missing", "never", "build", "policy"]), default="policy")
@click.option("--quiet-pull", is_flag=True, help="Pull without printing progress information.")
@click.option("--remove-orphans", is_flag=True, help="Remove containers for services not defined in the file.")
@click.option("--scale", multiple=True, metavar="SERVICE=NUM", help="Scale SERVICE to NUM instances.")
@click.option("-y", "--yes", is_flag=True, hidden=True)
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@click.pass_obj
def create(
    session: Session,
    build: bool | None,
    force_recreate: bool,
    no_recreate: bool,
    pull: str,
    quiet_pull: bool,
    remove_orphans: bool,
    scale: tuple[str, ...],
    yes: bool,
    services: tuple[str, ...],
) -> None:
    """Creates containers for a service."""
    from wherry.cli.compose.convergence import Convergence
    from wherry.cli.compose.up import parse_scale
    from wherry.compose.images import ImageWishes
    from wherry.compose.steps import Wishes

    if force_recreate and no_recreate:
        raise ComposeError("--force-recreate and --no-recreate are incompatible")
    project = session.load(services)
    wishes = Wishes(
        services=services,
        scale=parse_scale(scale),
        force_recreate=force_recreate,
        no_recreate=no_recreate,
        no_start=True,
        remove_orphans=remove_orphans,
    )
    images = ImageWishes(build is True or pull == "build", build is False, "" if pull in ("policy", "build") else pull)
    Convergence(session, project, wishes, images, quiet_pull=quiet_pull).run()
