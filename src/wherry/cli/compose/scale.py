"""`compose scale`."""

import click

from wherry.cli.compose.session import Session


@click.command()
@click.option("--no-deps", is_flag=True, help="Don't start linked services.")
@click.argument("scale", nargs=-1, required=True, metavar="[SERVICE=REPLICAS...]")
@click.pass_obj
def scale(session: Session, no_deps: bool, scale: tuple[str, ...]) -> None:
    """Scale services."""
    from wherry.cli.compose.convergence import Convergence
    from wherry.cli.compose.up import parse_scale
    from wherry.compose.steps import Wishes

    counts = parse_scale(scale)
    project = session.load(list(counts))
    Convergence(session, project, Wishes(services=list(counts), scale=counts, no_deps=no_deps)).run()
